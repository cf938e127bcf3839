"""The queue of instances that were refused as conflicts and wait for a person."""

from __future__ import annotations

import sqlalchemy as sa

from lamella.archive.tables import dataset
from lamella.vcs.commit_object import format_time
from lamella.vcs.tables import conflict


def list_conflicts(
    connection: sa.Connection, dataset_id: int | None = None
) -> list[dict[str, object]]:
    """Return the conflict queue, oldest first, in the JSON shape of API and `--json`.

    Args:
        dataset_id: One dataset, or None for all.
    """
    columns = conflict.c
    query = (
        sa.select(
            columns.id,
            dataset.c.name.label("dataset"),
            columns.branch,
            columns.study_uid.label("study"),
            columns.series_uid.label("series"),
            columns.sop_uid.label("instance"),
            columns.reason,
            columns.time_us,
        )
        .join(dataset, dataset.c.id == columns.dataset_id)
        .order_by(columns.id)
    )
    if dataset_id is not None:
        query = query.where(columns.dataset_id == dataset_id)
    return [_describe(dict(row)) for row in connection.execute(query).mappings()]


def _describe(row: dict[str, object]) -> dict[str, object]:
    time_us = row.pop("time_us")
    assert isinstance(time_us, int)
    return {**row, "time": format_time(time_us)}
