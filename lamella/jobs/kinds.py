"""The kinds of work that there are: each room's own, entered here."""

from __future__ import annotations

from collections.abc import Mapping

from lamella.jobs import webhooks
from lamella.upkeep import gc
from lamella.vcs.work import JobKind


def list_kinds() -> Mapping[str, JobKind]:
    """Return all kinds by name."""
    from lamella.deid import work as deid
    from lamella.dimse_gateway import forwarding, reporting

    kinds: tuple[JobKind, ...] = (
        deid.KIND,
        forwarding.KIND,
        gc.KIND,
        reporting.KIND,
        webhooks.KIND,
    )
    return {kind.name: kind for kind in kinds}
