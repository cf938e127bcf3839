"""Rejections and lifts in any order: every commit shows what it holds without what is hidden."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamella.archive.levels import SERIES_RELATED_INSTANCES, Level
from lamella.archive.query import Query
from lamella.upkeep.fsck import check
from lamella.vcs.finder import Found, find
from lamella.vcs.history import load_commit, walk_first_parents
from lamella.vcs.lifts import LiftRequest, lift_rejection
from lamella.vcs.refs import read_head
from lamella.vcs.rejection_notes import Reason
from lamella.vcs.rejections import list_rejections
from lamella.vcs.repository import Repository
from lamella.vcs.tree import InstanceKey
from lamella.vcs.view import View, read_view
from tests.harness.rejection_notes import make_note
from tests.harness.samples import make_instance
from tests.integration.small_installation import Installation, open_installation

NAMES = [("1.2", f"1.2.{n % 2}", f"1.2.9.{n}") for n in range(5)]
numbers = st.sets(st.integers(0, len(NAMES) - 1), min_size=1, max_size=3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("store"), numbers, st.integers(0, 1)),
        st.tuples(st.just("reject"), numbers, st.sampled_from(Reason)),
        st.tuples(st.just("lift"), st.integers(0, 9)),
    ),
    min_size=1,
    max_size=8,
)


class Trial:
    """An installation, and which rejections are in force by a plain list."""

    def __init__(self, it: Installation) -> None:
        self.it = it
        self.notes: list[tuple[set[InstanceKey], Reason]] = []
        self.lifted: set[int] = set()

    @property
    def hidden(self) -> set[InstanceKey]:
        """What is hidden at every revision."""
        return self.list_in_force(hides_everywhere=True)

    def list_in_force(self, *, hides_everywhere: bool = False) -> set[InstanceKey]:
        """Return what rejections in force name."""
        return {
            names
            for number, (rejected, reason) in enumerate(self.notes)
            if number not in self.lifted and reason.hides_everywhere >= hides_everywhere
            for names in rejected
        }

    async def store(self, wanted: set[int], header: int) -> None:
        """Store instances: what is hidden is refused, the rest is there."""
        before, hidden = await self.list_head(), self.hidden
        files = [
            make_instance(*NAMES[n], fill=n, rows=2, columns=2, SeriesDescription=f"{header}")
            for n in sorted(wanted)
        ]
        await self.it.store(files)
        stored = {NAMES[n] for n in wanted} - hidden
        assert await self.list_head() == before | stored

    async def reject(self, wanted: set[int], reason: Reason) -> None:
        """Store a note: what it names is gone from the head."""
        names = {NAMES[n] for n in wanted}
        before, sop_uid = await self.list_head(), f"1.2.8.{len(self.notes)}"
        await self.it.store([make_note(reason.value, sorted(names), sop=sop_uid)])
        self.notes.append((names, reason))
        assert await self.list_head() == (before - names) | {("1.2", "1.2.99", sop_uid)}

    async def lift(self, pick: int) -> None:
        """Lift a rejection: its note goes, and nothing that another one names comes."""
        if not self.notes:
            return
        number = pick % len(self.notes)
        before, is_first = await self.list_head(), number not in self.lifted
        rejections = await self.it.archive.database.read(list_rejections)
        await lift_rejection(self.it.repository, rejections[number].id, LiftRequest("test"))
        self.lifted.add(number)
        back = {n for n, key in rejections[number].instances.items() if key is not None}
        after = await self.list_head()
        if not is_first:
            assert after == before
            return
        assert ("1.2", "1.2.99", f"1.2.8.{number}") not in after
        assert after >= {n for n in before if n[1] != "1.2.99"} | (back - self.list_in_force())
        assert after & self.list_in_force() <= before

    async def list_head(self) -> set[InstanceKey]:
        """Return what the head holds, hidden or not."""

        def read(connection: sa.Connection) -> set[InstanceKey]:
            dataset_id = self.it.dataset.id
            head = load_commit(connection, dataset_id, read_head(connection, dataset_id, "main"))
            tree = Repository(self.it.archive).tree(connection, dataset_id, head.commit.tree)
            return {names[:3] for names in tree.walk()}

        return await self.it.archive.database.read(read)

    async def compare(self) -> None:
        """Compare what every commit holds with what it shows, by tree and by search."""

        def walk(connection: sa.Connection) -> list[tuple[str, set[InstanceKey]]]:
            dataset_id = self.it.dataset.id
            head = read_head(connection, dataset_id, "main")
            repository, found = Repository(self.it.archive), []
            for one in walk_first_parents(connection, dataset_id, head):
                tree = repository.tree(connection, dataset_id, one.commit.tree)
                found.append((one.id.hex(), {names[:3] for names in tree.walk()}))
            return found

        for commit_id, held in await self.it.archive.database.read(walk):
            await self.compare_view(commit_id, held - self.hidden)

    async def compare_view(self, revision: str, expected: set[InstanceKey]) -> None:
        """Compare what a revision shows with what it should."""
        repository = self.it.repository

        def read(connection: sa.Connection, view: View) -> tuple[set[InstanceKey], Found, Found]:
            tree = {names[:3] for names in view.tree(connection, repository).walk()}
            levels = (Level.SERIES, Level.INSTANCE)
            series, instances = (
                find(connection, repository, view, Query(level=level)) for level in levels
            )
            return tree, series, instances

        _, (tree, series, instances) = await read_view(repository, "default", revision, read)
        assert tree == expected
        found = {(one.study_uid, one.series_uid, one.sop_uid) for one in instances.matches}
        assert found == expected
        counts = {one.series_uid: one.counts[SERIES_RELATED_INSTANCES] for one in series.matches}
        assert counts == {
            uid: sum(names[1] == uid for names in expected) for uid in {n[1] for n in expected}
        }


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_every_commit_shows_what_it_holds_without_what_is_hidden(
    taken: list[tuple[object, ...]],
) -> None:
    async def run(folder: Path) -> None:
        it = await open_installation(folder)
        try:
            trial = Trial(it)
            for verb, *arguments in taken:
                await getattr(trial, str(verb))(*arguments)
                await trial.compare()
            assert (await check(it.repository)).findings == []
        finally:
            await it.archive.close()

    with tempfile.TemporaryDirectory(prefix="lamella-rejections-") as folder:
        asyncio.run(run(Path(folder) / "data"))
