"""Visible sets: each commit shows the catalog rows that its tree asks for, and no others.

Commits are taken parents first. What a commit should show is what its first parent should
show, with the rows of the studies that differ between their trees exchanged; so one set that
was altered is named once, however many deltas build on it, and a snapshot is compared whole.

Before a row or set is called wrong, the documents that say so are parsed again from bytes: a
repair must not carry damage from derived data into the catalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
import sqlalchemy as sa
from pyroaring import BitMap

from lamella.archive.catalog import series_row, study_row
from lamella.archive.search import Visible
from lamella.errors import IntegrityError, InvalidInstance
from lamella.upkeep.catalog import CatalogRows, find_disguised, find_lost_id, write_row
from lamella.upkeep.commits import CommitRow, History
from lamella.upkeep.derivation import Chunk, Derivation, First, Wanted
from lamella.upkeep.derived import parse_again, save_again
from lamella.upkeep.examination import Examination
from lamella.upkeep.report import Kind
from lamella.vcs.cache import LeastRecent
from lamella.vcs.nodes import EMPTY_ROOT
from lamella.vcs.refs import DatasetRow
from lamella.vcs.stored import load_documents
from lamella.vcs.tables import commit, visible_set
from lamella.vcs.visible import RowDelta, encode_snapshot, load_visible, read_set, save_snapshot

REMEMBERED_SETS = 64


class SetExamination:
    """The walk through one dataset's commits.

    Attributes:
        is_complete: Whether what every commit should show could be worked out.
    """

    def __init__(
        self, run: Examination, dataset: DatasetRow, history: History, rows: CatalogRows
    ) -> None:
        self.is_complete = True
        self._run = run
        self._dataset = dataset
        self._history = history
        self._rows = rows
        self._derivation = Derivation(dataset.id)
        self._confirmed: set[bytes] = set()
        self._reported: set[tuple[str, str, bytes]] = set()
        self._disguised: dict[tuple[str, str, bytes], int] = {}  # altered rows, by what they were
        self._expected: LeastRecent[bytes, Visible] = LeastRecent(REMEMBERED_SETS)
        self._unrepaired: dict[bytes, Visible] = {}
        self._settled: set[int] = set()
        self._cache: LeastRecent[int, Visible] = LeastRecent(REMEMBERED_SETS)

    async def examine(self, one: CommitRow) -> None:
        """Check what one commit shows; its first parent must have been checked before."""
        parent = None if one.first_parent is None else self._history.get(one.first_parent)
        base = _make_empty() if parent is None else await self._recall(parent)
        self._run.count("visible sets", 1)
        try:
            if base is None:
                raise IntegrityError("what the parent shows is unknown")
            expected = await self._derive(one, EMPTY_ROOT if parent is None else parent.tree, base)
        except IntegrityError:
            self.is_complete = False  # its cause is a finding of another check
            return
        if not await self._is_right(one, parent, base, expected):
            await self._mend(one, parent, expected)
        self._expected.put(one.id, expected)

    async def _recall(self, one: CommitRow) -> Visible | None:
        """Return what a commit that was checked before should show; None if nobody knows."""
        known = self._unrepaired.get(one.id) or self._expected.get(one.id)
        return known or await self._load_shown(one)

    async def _load_shown(self, one: CommitRow) -> Visible | None:
        """Return what a commit shows, right or wrong."""
        try:
            return await self._run.read(lambda c: load_visible(c, one.visible_id, self._cache))
        except IntegrityError:
            return None

    async def _derive(self, one: CommitRow, old_root: bytes, base: Visible) -> Visible:
        """Return what a commit should show."""
        studies, series = BitMap(base.studies), BitMap(base.series)
        after: str | None = None
        while one.tree != old_root:
            chunk = await self._derive_chunk(one, old_root, after)
            if chunk.last is None:
                break
            after = chunk.last
            shown = await self._load_shown(one) if chunk.unknown else None
            for table, ids in ((study_row, studies), (series_row, series)):
                right = self._pick(chunk, table, shown)
                self._rows.claimed[table.name] |= right
                ids -= chunk.list_ids(table)
                ids |= right
        return Visible(studies=studies, series=series)

    def _pick(self, chunk: Chunk, table: sa.Table, shown: Visible | None) -> BitMap:
        """Return the rows that a chunk's studies should show; of unknown studies, those shown."""
        right = BitMap([i for w, i in chunk.present if w.table is table])
        if shown is None:
            return right
        has = shown.studies if table is study_row else shown.series
        unknown = chunk.list_ids(table, unknown=True)
        return (right - unknown) | (unknown & has)

    async def _derive_chunk(self, one: CommitRow, old_root: bytes, after: str | None) -> Chunk:
        """Derive some studies of a commit; report and mend catalog rows that are wrong."""
        work = partial(self._derivation.derive, old_root=old_root, new_root=one.tree, after=after)
        chunk = await self._run.read(work)
        suspects = [*chunk.doubtful, *(w.first for w in self._list_wrong(chunk))]
        if await self._confirm(suspects):
            chunk = await self._run.read(work)
        wrong = self._list_wrong(chunk)
        for wanted in wrong:
            await self._mend_row(one, wanted, chunk)
        if wrong and self._run.repair:
            chunk = await self._run.read(work)
        chunk.present += [
            (wanted, self._disguised[wanted.identity])
            for wanted in chunk.missing
            if wanted.identity in self._disguised
        ]
        chunk.unknown |= {w.study_uid for w in chunk.missing if w.identity not in self._disguised}
        if chunk.unknown and chunk.doubtful:
            self.is_complete = False
        return chunk

    def _list_wrong(self, chunk: Chunk) -> list[Wanted]:
        """Return the wanted rows that are missing or damaged."""
        damaged = self._rows.damaged
        return chunk.missing + [w for w, i in chunk.present if i in damaged[w.table.name]]

    async def _confirm(self, firsts: Sequence[First]) -> bool:
        """Parse instances again; tell whether one's document was another than the bytes'."""
        changed = False
        for first in firsts:
            if first.key not in self._confirmed:
                self._confirmed.add(first.key)
                changed |= await self._confirm_one(first)
        return changed

    async def _confirm_one(self, first: First) -> bool:
        run, dataset_id = self._run, self._dataset.id
        try:
            facts = await parse_again(run, first.entry.segments)
        except (IntegrityError, InvalidInstance):
            return False  # which other checks say
        try:
            kept = (await run.read(lambda c: load_documents(c, dataset_id, [first.key])))[first.key]
            if kept.dicom_json == facts.dicom_json:
                return False
        except (IntegrityError, ValueError):
            pass  # missing or undecodable: said when the instances were checked
        if (dataset_id, first.key) not in run.said:
            if run.repair:
                await run.write(lambda c: save_again(c, dataset_id, first.key, facts))
            else:
                run.said.add((dataset_id, first.key))
            sentence = f"The derived data of {first.sop_uid} are not what its bytes say."
            run.add(Kind.DERIVED_ALTERED, first.sop_uid, sentence, repaired=run.repair)
        self._derivation.trust(first.key, msgspec.json.decode(facts.dicom_json))
        return True

    async def _mend_row(self, one: CommitRow, wanted: Wanted, chunk: Chunk) -> None:
        """Report a row that is missing or damaged; with `--repair`, write it."""
        if wanted.identity in self._reported:
            return
        self._reported.add(wanted.identity)
        run, rows, table = self._run, self._rows, wanted.table
        row_id = next((i for w, i in chunk.present if w is wanted), None)
        is_altered = row_id is not None
        if row_id is None:
            row_id, is_altered = await self._find_traces(one, wanted)
        if run.repair:
            values = await run.read(lambda c: self._derivation.make_values(c, wanted))
            await run.write(lambda c: write_row(c, self._dataset.id, wanted, values, row_id))
        if row_id is not None:
            self._disguised[wanted.identity] = row_id
            rows.damaged[table.name].pop(row_id, None)
            rows.reported.add((table.name, row_id))
        what = "study" if table is study_row else "series"
        where = f"{what} {wanted.uid} in commit {one.id.hex()} of {self._dataset.name}"
        kind = Kind.CATALOG_ROW_ALTERED if is_altered else Kind.CATALOG_ROW_MISSING
        sentence = f"The catalog row of {where} is missing."
        if is_altered:
            sentence = f"Row {row_id} of {table.name}, for {where}, is not what the tree derives."
        run.add(kind, wanted.uid, sentence, repaired=run.repair)

    async def _find_traces(self, one: CommitRow, wanted: Wanted) -> tuple[int | None, bool]:
        """Return the id that a wanted row had, if it left traces, and whether a row has it."""
        shown = await self._load_shown(one)
        if shown is None:
            return None, False
        dataset_id, rows, table = self._dataset.id, self._rows, wanted.table
        ids = shown.studies if table is study_row else shown.series
        altered = await self._run.read(lambda c: find_disguised(c, dataset_id, wanted, rows, ids))
        if altered is not None:
            return altered, True
        return await self._run.read(lambda c: find_lost_id(c, dataset_id, table, rows, ids)), False

    async def _is_right(
        self, one: CommitRow, parent: CommitRow | None, base: Visible, expected: Visible
    ) -> bool:
        if parent is not None and one.visible_id == parent.visible_id:
            return expected == base
        if parent is None or one.visible_id in self._settled:
            return await self._load_shown(one) == expected
        try:
            base_id, kept = await self._run.read(lambda c: read_set(c, one.visible_id))
        except IntegrityError:
            return False
        if isinstance(kept, RowDelta):
            return base_id == parent.visible_id and kept.apply_to(base) == expected
        return kept == expected

    async def _mend(self, one: CommitRow, parent: CommitRow | None, expected: Visible) -> None:
        """Report a set that is wrong; with `--repair`, write it anew, whole."""
        run = self._run
        is_shared = one.visible_id in self._settled
        if parent is not None and one.visible_id == parent.visible_id:
            is_shared = True
        sentence = (
            f"Visible set {one.visible_id} of commit {one.id.hex()} of {self._dataset.name} does "
            "not show what the commit's tree asks for."
        )
        name = f"visible set {one.visible_id}"
        if run.repair and is_shared:
            one.visible_id = await run.write(
                lambda c: _write_own_set(c, self._dataset.id, one, expected)
            )
        elif run.repair:
            await run.write(lambda c: _rewrite_set(c, self._dataset.id, one.visible_id, expected))
        else:
            self._unrepaired[one.id] = expected
        self._cache = LeastRecent(REMEMBERED_SETS)
        run.add(Kind.VISIBLE_SET_ALTERED, name, sentence, repaired=run.repair)

    def settle(self, one: CommitRow) -> None:
        """Remember that a commit's set has been compared."""
        self._settled.add(one.visible_id)


async def examine_visible_sets(
    run: Examination, dataset: DatasetRow, history: History, rows: CatalogRows
) -> bool:
    """Check what all commits show; tell whether it could be worked out for every one."""
    sets = SetExamination(run, dataset, history, rows)
    for one in history.values():
        await sets.examine(one)
        sets.settle(one)
    return sets.is_complete


def _make_empty() -> Visible:
    return Visible(studies=BitMap(), series=BitMap())


def _rewrite_set(
    connection: sa.Connection, dataset_id: int, visible_id: int, expected: Visible
) -> None:
    """Write a set whole under the id it has, whatever its row is like now, if it has one."""
    values = {"base_id": None, "depth": 0, "data": encode_snapshot(expected)}
    here = (visible_set.c.id == visible_id) & (visible_set.c.dataset_id == dataset_id)
    if connection.execute(sa.update(visible_set).where(here).values(values)).rowcount == 0:
        row = {"id": visible_id, "dataset_id": dataset_id, **values}
        connection.execute(sa.insert(visible_set).values(row))


def _write_own_set(
    connection: sa.Connection, dataset_id: int, one: CommitRow, expected: Visible
) -> int:
    """Give a commit that shares another's set one of its own."""
    visible_id = save_snapshot(connection, dataset_id, expected)
    here = (commit.c.dataset_id == dataset_id) & (commit.c.id == one.id)
    connection.execute(sa.update(commit).where(here).values(visible_id=visible_id))
    return visible_id
