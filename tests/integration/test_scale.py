"""The short form of `python -m bench scale`: what a store and a search cost follows what they
ask for, not how long the history is.

Counts, never times: rows, nodes, bytes, statements, index entries that are looked at. The
history is written through the real path, by the generator that the long form uses.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import sqlalchemy as sa

from bench.growth import Store, generate_commits
from bench.trickle import make_series, trickle
from bench.workload import Slice, list_tiny_studies, make_tiny, make_uid
from lamella.archive.levels import Level
from lamella.qido.parameters import parse_search
from lamella.vcs.finder import find
from lamella.vcs.repository import Repository
from lamella.vcs.view import open_view
from tests.harness.database_work import DatabaseWork, watch_database

COMMITS = 200
STUDIES_A_COMMIT = 10
SERIES_LENGTH = 10
STUDIES = COMMITS * STUDIES_A_COMMIT
INSTANCES = STUDIES * SERIES_LENGTH
PARTS = 4
BACK = COMMITS // 2
LEVEL_STEPS = 20  # what reading one more level of the tree takes
PROBE = 900_000  # studies of probes are numbered from here

LEVELS_OF_STUDY_MAP = 3
NODES_A_STUDY = 2  # its map of series, and its series' map of instances
MOST_NODES_A_COMMIT = 1 + STUDIES_A_COMMIT * (LEVELS_OF_STUDY_MAP - 1 + NODES_A_STUDY)
SPLITS = 16 * 16 / (COMMITS / PARTS)
"""Nodes a commit of the part of history in which the study map gets its third level."""

Counts = dict[str, int]


@dataclass(frozen=True)
class History:
    """A long history in the dataset `default`.

    Attributes:
        commit_ids: Oldest first.
        counts: What there was before, and after each of the parts.
    """

    folder: Path
    commit_ids: list[str]
    counts: list[Counts]

    def growths(self) -> list[Counts]:
        """Return what each part added."""
        return [
            {name: after[name] - before[name] for name in after}
            for before, after in zip(self.counts, self.counts[1:], strict=False)
        ]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """20,000 instances in 200 commits."""
    folder = tmp_path_factory.mktemp("scale")
    yield asyncio.run(grow(folder / "data"))
    shutil.rmtree(folder)  # pytest would keep three runs of it


async def grow(folder: Path) -> History:
    """Make the history."""
    store = await Store.open(folder)
    ids: list[str] = []
    counts = [await store.count()]
    try:
        for number, (_, instances) in enumerate(generate_commits(STUDIES, INSTANCES, COMMITS), 1):
            ids.append((await store.put("default", instances)).commit_id.hex())
            if number % (COMMITS // PARTS) == 0:
                counts.append(await store.count())
    finally:
        await store.close()
    return History(folder, ids, counts)


def test_rows_are_those_of_what_was_stored(history: History) -> None:
    first, last = history.counts[0], history.counts[-1]
    grown = {name: last[name] - first[name] for name in last}

    exact = {
        "instance": INSTANCES,
        "derived": INSTANCES,
        "study_row": STUDIES,
        "series_row": STUDIES,
        "commit": COMMITS,
        "reflog": COMMITS,
        "visible_set": COMMITS,
        "ref": 0,
        "session": 0,
        "staged": 0,
        "conflict": 0,
    }
    assert {name: grown[name] for name in exact} == exact
    assert grown["pack"] <= COMMITS
    assert grown["location"] <= 2 * INSTANCES


def test_every_part_of_a_history_adds_the_same_rows(history: History) -> None:
    bounded = {"node", "pack"}  # by the other tests
    rows = [
        {name: n for name, n in part.items() if name not in bounded and " " not in name}
        for part in history.growths()
    ]

    assert all(part == rows[0] for part in rows)


def test_a_commit_writes_nodes_on_the_way_to_what_it_changes(history: History) -> None:
    parts = [part["node"] / (COMMITS / PARTS) for part in history.growths()]

    assert max(parts) <= MOST_NODES_A_COMMIT + SPLITS
    assert parts[-1] <= MOST_NODES_A_COMMIT  # splits are over


def test_bytes_a_commit(history: History) -> None:
    for part in history.growths():
        per_commit = {
            name: part[f"{name} bytes"] / (COMMITS / PARTS)
            for name in ("node", "study_row", "series_row", "visible_set")
        }
        assert per_commit["node"] <= STUDIES_A_COMMIT * 4_000
        assert per_commit["study_row"] <= STUDIES_A_COMMIT * 1_000
        assert per_commit["series_row"] <= STUDIES_A_COMMIT * 800
        assert per_commit["visible_set"] <= 400  # rows of a commit are consecutive: two runs


def test_a_store_asks_the_database_as_often_in_a_long_history(history: History) -> None:
    large, empty = asyncio.run(count_stores(history.folder))

    more = {name: n - empty[name] for name, n in large.items() if n > empty[name]}

    assert large["INSERT instance"] == empty["INSERT instance"] == 1
    assert set(more) <= {"INSERT node", "SELECT node"}
    assert large["INSERT node"] <= LEVELS_OF_STUDY_MAP + NODES_A_STUDY
    assert more.get("SELECT node", 0) <= 2 * LEVELS_OF_STUDY_MAP


async def count_stores(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Return the statements of a store of one instance into the long history, and into nothing."""
    with watch_database() as work:
        store = await Store.open(folder)
        counted = []
        try:
            await store.put("default", [make_probe(0)])  # what a process asks once
            await store.make_dataset("empty")
            for number, dataset in ((1, "default"), (2, "empty")):
                work.reset()
                await store.put(dataset, [make_probe(number)])
                counted.append(Counter(work.statements))
        finally:
            await store.close()
    return counted[0], counted[1]


def make_probe(number: int) -> Slice:
    """Return an instance of a study that the history does not hold."""
    (study,) = list_tiny_studies(1, first=PROBE + number)
    return make_tiny(study, 0, 0)


def list_searches(index: int) -> dict[str, tuple[Level, str, str | None, str | None]]:
    """Return searches about a study: level, query string, study and series in the path."""
    (study,) = list_tiny_studies(1, first=index)
    series_uid = make_uid(4, 0, 0, index)
    return {
        "first page": (Level.STUDY, "limit=101&includefield=00081030", None, None),
        "PatientID": (Level.STUDY, f"PatientID={study.patient_id}", None, None),
        "name": (Level.STUDY, f"PatientName={study.patient_name}", None, None),
        "a day": (Level.STUDY, f"StudyDate={study.study_date}&limit=101", None, None),
        "series": (Level.SERIES, "", study.study_uid, None),
        "instances": (Level.INSTANCE, "", study.study_uid, series_uid),
    }


def test_a_search_looks_at_what_it_finds_however_long_the_history(history: History) -> None:
    revisions = ["main", history.commit_ids[-1 - BACK], history.commit_ids[COMMITS // PARTS]]
    at_head, at_old, at_young = asyncio.run(count_searches(history.folder, revisions))

    for name, (found, steps) in at_head.items():
        assert found > 0, name
        assert (found, found) == (at_old[name][0], at_young[name][0]), name
        assert steps <= 1.2 * at_young[name][1] + LEVEL_STEPS, name
        if name != "first page":
            assert at_old[name][1] <= 1.2 * steps, name
    # half of what the page comes by is newer than the old commit, and the page is read in batches
    assert at_old["first page"][1] <= 2 * at_head["first page"][1]


async def count_searches(folder: Path, revisions: list[str]) -> list[dict[str, tuple[int, int]]]:
    """Return (results, steps) of each search at each revision, with nothing cached before."""
    with watch_database() as work:
        store = await Store.open(folder)
        try:
            return [await count_searches_at(store, work, revision) for revision in revisions]
        finally:
            await store.close()


async def count_searches_at(
    store: Store, work: DatabaseWork, revision: str
) -> dict[str, tuple[int, int]]:
    archive = store.repository.archive
    counted = {}
    for name, (level, text, study_uid, series_uid) in list_searches(7).items():
        query = parse_search(parse_qsl(text), level, study_uid, series_uid)

        def search(connection: sa.Connection, query=query) -> tuple[int, int]:
            repository = Repository(archive)
            view = open_view(connection, repository, "default", revision)
            view.visible(connection, repository)  # deltas since the last snapshot: up to 64 reads
            work.reset()
            found = find(connection, repository, view, query)
            return len(found.matches), work.steps

        counted[name] = await archive.database.read(search)
    return counted


def test_a_trickle_writes_little_and_ends_where_one_store_does(tmp_path: Path) -> None:
    instances = make_series(2_000)

    early, late, trees, rows = asyncio.run(trickle_in(tmp_path / "data", instances))

    for costs in (early, late):
        tree_bytes = [cost[0] for cost in costs]
        catalog_bytes = [cost[1] for cost in costs]
        assert sum(tree_bytes) / len(costs) <= 8_192
        assert max(tree_bytes) <= 16_384
        assert sum(catalog_bytes[1:]) / len(costs) <= 1_024
        assert max(catalog_bytes[1:]) <= 1_024  # the first store makes the series' rows
    assert trees[0] == trees[1]
    assert rows == {"study_row": 2, "series_row": 2}


async def trickle_in(
    folder: Path, instances: list[Slice]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[bytes], Counts]:
    """Trickle a series' first and last instances, the others at once; store it at once as well."""
    store = await Store.open(folder)
    try:
        for name in ("trickled", "at-once"):
            await store.make_dataset(name)
        early = await trickle(store, "trickled", instances[:140])
        await store.put("trickled", instances[140:1_900])
        late = await trickle(store, "trickled", instances[1_900:])
        await store.put("at-once", instances)
        trees = [await read_tree(store, name) for name in ("trickled", "at-once")]
        counts = await store.count()
    finally:
        await store.close()
    return early, late, trees, {name: counts[name] for name in ("study_row", "series_row")}


async def read_tree(store: Store, dataset: str) -> bytes:
    """Return the root of a dataset's head."""
    return await store.repository.archive.database.read(
        lambda c: open_view(c, store.repository, dataset, "main").root
    )
