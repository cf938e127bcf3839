"""fsck and rejections: what is hidden and the masks that hide it are checked, and made right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lamella.archive.tables import dataset
from lamella.upkeep.fsck import check
from lamella.upkeep.report import Kind
from lamella.vcs.repository import Repository
from lamella.vcs.tables import commit, mask
from lamella.vcs.tree import InstanceKey
from lamella.vcs.view import View, read_view
from tests.harness.rejection_notes import make_note
from tests.integration.small_installation import (
    ROOT,
    Installation,
    fill,
    make_file,
    open_installation,
)

FIRST = (f"{ROOT}.1", f"{ROOT}.1.1", f"{ROOT}.1.1.1")


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    """Yield an installation in which an instance is hidden, and was asked for."""
    made = await open_installation(tmp_path / "data")
    try:
        await fill(made)
        await made.store([make_note("113037", [FIRST], sop="1.2.9.1", patient_id="P1")])
        assert FIRST not in await list_held(made, "v1")
        yield made
    finally:
        await made.archive.close()


async def list_held(it: Installation, revision: str) -> set[InstanceKey]:
    repository = Repository(it.archive)  # which has cached nothing

    def read(connection: sa.Connection, view: View) -> set[InstanceKey]:
        return {names[:3] for names in view.tree(connection, repository).walk()}

    return (await read_view(repository, "default", revision, read))[1]


async def examine(it: Installation, *, repair: bool = False) -> list[tuple[Kind, bool]]:
    report = await check(it.repository, repair=repair)
    return [(finding.kind, finding.repaired) for finding in report.findings]


async def test_nothing_is_wrong(installation: Installation) -> None:
    assert await installation.fetch(sa.select(mask)) != []
    assert await examine(installation) == []


@pytest.mark.parametrize("digest", [None, bytes(32)])
async def test_a_dataset_that_forgot_what_is_hidden(
    installation: Installation, digest: bytes | None
) -> None:
    await installation.change(sa.update(dataset).values(hidden=digest))
    assert (Kind.HIDDEN_WRONG, False) in await examine(installation)
    assert (Kind.HIDDEN_WRONG, True) in await examine(installation, repair=True)
    assert await examine(installation) == []
    assert FIRST not in await list_held(installation, "v1")


@pytest.mark.parametrize("shown", ["itself", "another", "nothing"])
async def test_a_mask_that_does_not_hide(installation: Installation, shown: str) -> None:
    (row,) = await installation.fetch(sa.select(mask))
    others = await installation.fetch(sa.select(commit.c.id).where(commit.c.first_parent.is_(None)))
    target = {"itself": row.commit_id, "another": others[0].id, "nothing": bytes(32)}[shown]
    await installation.change(sa.update(mask).values(shown_id=target))
    assert await examine(installation) == [(Kind.MASK_WRONG, False)]
    assert await examine(installation, repair=True) == [(Kind.MASK_WRONG, True)]
    assert await examine(installation) == []
    held = await list_held(installation, "v1")
    assert FIRST not in held
    assert len(held) == 9


async def test_masks_of_other_days_are_right(installation: Installation) -> None:
    other = (f"{ROOT}.1", f"{ROOT}.1.1", f"{ROOT}.1.1.2")
    note = make_note("113038", [other], sop="1.2.9.2", patient_id="P1")
    await installation.store([note, make_file(4, 1, 1)])
    assert {FIRST, other}.isdisjoint(await list_held(installation, "v1"))
    assert len(await installation.fetch(sa.select(mask))) == 2
    assert await examine(installation) == []
