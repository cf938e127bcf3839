"""What waits: staged instances have a session and bytes, and so do instances in conflict.

Nothing of this can be derived: these instances were acknowledged and are in no commit yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from lamella.archive.tables import instance
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind
from lamella.vcs.tables import conflict, session, staged


async def examine_staged(run: Examination) -> None:
    """Check staged rows and the conflict queue."""
    for check in (_examine_staged_rows, _examine_conflicts):
        await check(run)


async def _examine_staged_rows(run: Examination) -> None:
    same = (instance.c.dataset_id == staged.c.dataset_id) & (instance.c.key == staged.c.key)
    query = (
        sa.select(
            staged.c.id,
            staged.c.session_id,
            staged.c.sop_uid,
            staged.c.dataset_id,
            staged.c.key,
            session.c.dataset_id.label("session_dataset_id"),
            instance.c.sop_uid.label("instance_sop_uid"),
        )
        .outerjoin(session, session.c.id == staged.c.session_id)
        .outerjoin(instance, same)
    )
    async for _, rows in run.scan(query, [staged.c.id], _pass_on):
        for row in rows:
            fault = _find_staged_fault(row)
            if fault:
                sentence = f"Instance {row.sop_uid} is staged {fault}."
                run.add(Kind.STAGED_STRAY, row.sop_uid, sentence)
        run.count("staged", len(rows))


def _find_staged_fault(row: Row) -> str:
    if row.session_dataset_id is None:
        return f"in session {row.session_id}, which is not there: it will never be committed"
    if row.session_dataset_id != row.dataset_id:
        return f"in session {row.session_id}, which belongs to another dataset"
    if row.key is not None and row.instance_sop_uid is None:
        return f"under key {row.key.hex()}, which has no row"
    if row.key is not None and row.instance_sop_uid != row.sop_uid:
        return f"under key {row.key.hex()}, which is another instance's"
    return ""


async def _examine_conflicts(run: Examination) -> None:
    same = (instance.c.dataset_id == conflict.c.dataset_id) & (instance.c.key == conflict.c.key)
    query = sa.select(
        conflict.c.id,
        conflict.c.sop_uid,
        conflict.c.key,
        instance.c.sop_uid.label("instance_sop_uid"),
    ).outerjoin(instance, same)
    async for _, rows in run.scan(query, [conflict.c.id], _pass_on):
        for row in rows:
            if row.instance_sop_uid != row.sop_uid:
                sentence = (
                    f"Instance {row.sop_uid} is in conflict under key {row.key.hex()}, which has "
                    "no row of that instance."
                )
                run.add(Kind.CONFLICT_STRAY, row.sop_uid, sentence)
        run.count("conflicts", len(rows))


def _pass_on(_connection: sa.Connection, rows: Sequence[Row]) -> Sequence[Row]:
    return rows
