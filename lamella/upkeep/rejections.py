"""Rejections: a dataset knows what is hidden in it, and its masks leave out that and no more.

All of this can be derived from the rejections on record: a wrong digest is written again, and a
wrong mask is forgotten, to be made anew by who reads its commit next.
"""

from __future__ import annotations

from functools import partial

import sqlalchemy as sa

from lamella.errors import IntegrityError, RevisionNotFound
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind
from lamella.vcs.cache import LeastRecent
from lamella.vcs.history import load_commit
from lamella.vcs.nodes import Node
from lamella.vcs.refs import DatasetRow, read_dataset
from lamella.vcs.rejections import compute_hidden_digest, list_hidden, save_hidden_digest
from lamella.vcs.repository import NODE_CACHE_BYTES, DatabaseNodes
from lamella.vcs.tables import mask
from lamella.vcs.tree import Tree

PAGE_ROWS = 20  # trees are compared for each


async def examine_rejections(run: Examination, dataset: DatasetRow) -> None:
    """Check what is hidden in a dataset, and the masks that hide it."""
    if not await run.read(lambda c: _knows_hidden(c, dataset.id)):
        if run.repair:
            await run.write(lambda c: save_hidden_digest(c, dataset.id))
        sentence = f"Dataset {dataset.name} does not know what its rejections hide."
        run.add(Kind.HIDDEN_WRONG, dataset.name, sentence, repaired=run.repair)
    await _examine_masks(run, dataset)


def _knows_hidden(connection: sa.Connection, dataset_id: int) -> bool:
    digest = compute_hidden_digest(list_hidden(connection, dataset_id))
    return read_dataset(connection, dataset_id).hidden == digest


async def _examine_masks(run: Examination, dataset: DatasetRow) -> None:
    """Check the masks of today; those of other days stand for what was hidden then."""
    query = sa.select(mask.c.commit_id, mask.c.hidden, mask.c.shown_id).where(
        mask.c.dataset_id == dataset.id
    )
    nodes: LeastRecent[bytes, Node] = LeastRecent(NODE_CACHE_BYTES)
    work = partial(_find_wrong, dataset_id=dataset.id, nodes=nodes)
    keys = [mask.c.commit_id, mask.c.hidden]
    async for _, (count, wrong) in run.scan(query, keys, work, page_rows=PAGE_ROWS):
        for commit_id, hidden in wrong:
            if run.repair:
                await run.write(partial(_forget, dataset_id=dataset.id, row=(commit_id, hidden)))
            sentence = (
                f"The mask of commit {commit_id.hex()} leaves out what it should not, or less."
            )
            run.add(Kind.MASK_WRONG, commit_id.hex(), sentence, repaired=run.repair)
        run.count("masks", count)


def _find_wrong(
    connection: sa.Connection,
    rows: list[Row],
    dataset_id: int,
    nodes: LeastRecent[bytes, Node],
) -> tuple[int, list[tuple[bytes, bytes]]]:
    hidden = set(list_hidden(connection, dataset_id))
    digest = compute_hidden_digest(sorted(hidden))
    reader = DatabaseNodes(connection, dataset_id, nodes)
    wrong = []
    for row in rows:
        try:
            trees = [
                Tree(reader, load_commit(connection, dataset_id, commit_id).commit.tree)
                for commit_id in (row.commit_id, row.shown_id)
            ]
            gone = {(c.study_uid, c.series_uid, c.sop_uid): c.new for c in trees[0].diff(trees[1])}
        except RevisionNotFound:
            wrong.append((row.commit_id, row.hidden))
            continue
        except IntegrityError:
            continue  # a node, which other checks say
        held = {names for names in hidden if trees[0].entry(*names) is not None}
        is_right = all(entry is None for entry in gone.values()) and gone.keys() == held
        if row.hidden == digest and not is_right:
            wrong.append((row.commit_id, row.hidden))
    return len(rows), wrong


def _forget(connection: sa.Connection, dataset_id: int, row: tuple[bytes, bytes]) -> None:
    commit_id, hidden = row
    connection.execute(
        sa.delete(mask).where(
            mask.c.dataset_id == dataset_id,
            mask.c.commit_id == commit_id,
            mask.c.hidden == hidden,
        )
    )
