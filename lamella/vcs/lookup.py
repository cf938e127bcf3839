"""Resolving a revision by one statement, where the database has no version number.

A revision that is a name, or a full commit id, needs the rows of the dataset and of the ref as they
are now; all that follows from them never changes, and has been read before as a rule. So one way to
the server tells what three and a transaction around them would.
"""

from __future__ import annotations

import sqlalchemy as sa

from lamella.archive.statements import Statement
from lamella.archive.tables import dataset
from lamella.vcs.history import StoredCommit
from lamella.vcs.refs import BRANCH, COMMIT_ID, DATASET_COLUMNS, NAME, TAG, DatasetRow
from lamella.vcs.repository import Repository
from lamella.vcs.revision import Resolved
from lamella.vcs.tables import ref

_LOOK_UP = Statement(
    sa.select(*DATASET_COLUMNS, ref.c.kind, ref.c.commit_id)
    .select_from(
        dataset.outerjoin(
            ref,
            sa.and_(
                ref.c.dataset_id == dataset.c.id,
                sa.or_(ref.c.kind == TAG, ref.c.kind == BRANCH),
                ref.c.name
                == sa.func.coalesce(
                    sa.bindparam("revision", type_=sa.Text), dataset.c.default_branch
                ),
            ),
        )
    )
    .where(dataset.c.name == sa.bindparam("dataset"))
)


async def look_up(
    repository: Repository, name: str, text: str | None
) -> tuple[DatasetRow, Resolved, StoredCommit] | None:
    """Return what a revision stands for now: dataset, commit, and the commit that is shown for it.

    Args:
        repository: What to read.
        name: Of the dataset.
        text: The revision as typed; None for the default branch.

    Returns:
        None if that takes more than one statement, or if there is no such thing.
    """
    if text is not None and not NAME.fullmatch(text):
        return None
    names = {"dataset": name, "revision": text}
    rows = await repository.archive.database.fetch(_LOOK_UP, names)
    if not rows:
        return None
    owner = DatasetRow(*rows[0][:-2])
    resolved = _resolve(owner, text, {kind: commit_id for *_, kind, commit_id in rows})
    found = None if resolved is None else repository.commits.get((owner.id, resolved.commit_id))
    if found is not None and owner.hidden is not None:
        found = repository.shown.get((owner.id, owner.hidden, found.id))
    if resolved is None or found is None:
        return None
    return owner, resolved, found


def _resolve(owner: DatasetRow, text: str | None, refs: dict[str | None, bytes]) -> Resolved | None:
    if text is not None and COMMIT_ID.fullmatch(text.lower()):
        return Resolved(text, bytes.fromhex(text), None, True)
    kind = TAG if TAG in refs else BRANCH
    if kind not in refs:
        return None
    named = owner.default_branch if text is None else text
    return Resolved(named, refs[kind], named if kind == BRANCH else None, False)
