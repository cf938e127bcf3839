"""The queue of instances that were refused as conflicts and wait for a person.

What a person has decided moves from `conflict` to `resolution`, under the same id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lamella.archive.tables import dataset
from lamella.errors import ResourceNotFound
from lamella.vcs.commit_object import format_time
from lamella.vcs.tables import conflict, resolution

LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ConflictRow:
    """An instance in the queue, or one that was in it.

    Attributes:
        id: Never given twice.
        key: Under which the instance's rows are kept.
        head: The commit that it was in conflict with.
        resolution: `accept`, `as-version` or `discard`; '' while it waits. What follows is
            None until then.
        commit_id: The commit that holds the result; None if it was discarded.
    """

    id: int
    dataset_id: int
    dataset: str
    branch: str
    study_uid: str
    series_uid: str
    sop_uid: str
    key: bytes
    reason: str
    head: bytes
    time_us: int
    resolution: str = ""
    author: str | None = None
    commit_id: bytes | None = None
    resolved_us: int | None = None

    def describe(self) -> dict[str, object]:
        """Return it in the JSON shape of API and `--json`."""
        shown: dict[str, object] = {
            "id": self.id,
            "dataset": self.dataset,
            "branch": self.branch,
            "study": self.study_uid,
            "series": self.series_uid,
            "instance": self.sop_uid,
            "reason": self.reason,
            "time": format_time(self.time_us),
        }
        if self.resolved_us is not None:
            shown["resolution"] = self.resolution
            shown["author"] = self.author
            shown["commit"] = None if self.commit_id is None else self.commit_id.hex()
            shown["resolved"] = format_time(self.resolved_us)
        return shown


def list_conflicts(
    connection: sa.Connection, dataset_id: int | None = None, *, is_resolved: bool = False
) -> list[ConflictRow]:
    """Return conflicts, oldest first.

    Args:
        connection: In any transaction.
        dataset_id: One dataset, or None for all.
        is_resolved: Those that were decided, rather than those that wait.
    """
    table = resolution if is_resolved else conflict
    query = _select(table).order_by(table.c.id)
    if dataset_id is not None:
        query = query.where(table.c.dataset_id == dataset_id)
    return [ConflictRow(*row) for row in connection.execute(query)]


def find_conflict(
    connection: sa.Connection, conflict_id: int, dataset_id: int | None = None
) -> ConflictRow:
    """Return a conflict that waits or was decided.

    Args:
        connection: In any transaction.
        conflict_id: Its id.
        dataset_id: The dataset that it has to be of, or None for any.

    Raises:
        ResourceNotFound: There is none.
    """
    for table in (conflict, resolution) if conflict_id <= LARGEST_ID else ():
        query = _select(table).where(table.c.id == conflict_id)
        if dataset_id is not None:
            query = query.where(table.c.dataset_id == dataset_id)
        row = connection.execute(query).one_or_none()
        if row is not None:
            return ConflictRow(*row)
    raise ResourceNotFound(f"There is no conflict {conflict_id}.")


def _select(table: sa.Table) -> sa.Select[Any]:
    columns = table.c
    names = ("branch", "study_uid", "series_uid", "sop_uid", "key", "reason", "head", "time_us")
    decided = ("resolution", "author", "commit_id", "resolved_us") if table is resolution else ()
    return sa.select(
        columns.id,
        columns.dataset_id,
        dataset.c.name,
        *(columns[name] for name in names),
        *(columns[name] for name in decided),
    ).join(dataset, dataset.c.id == columns.dataset_id)
