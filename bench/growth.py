"""Storing in-process through the real path: intake, pack, staging, commit. No step is skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import sqlalchemy as sa

from bench.workload import Slice, TinyStudy, list_tiny_studies, make_tiny
from lamella.archive.catalog import series_row, study_row
from lamella.archive.database import metadata
from lamella.archive.installation import open_archive
from lamella.archive.instances import Received
from lamella.archive.intake import Intake
from lamella.settings import load_settings
from lamella.vcs.commits import commit_session
from lamella.vcs.datasets import create_dataset, ensure_default
from lamella.vcs.refs import find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.staging import Session, stage
from lamella.vcs.tables import node, visible_set

TREE = (node,)
CATALOG = (study_row, series_row, visible_set)
"""Tables of which a commit should write little, whatever came before it."""


@dataclass(frozen=True)
class Cost:
    """What one store took.

    Attributes:
        commit_s: The commit transaction.
        total_s: From the first byte to the end of the commit.
    """

    commit_s: float
    total_s: float
    commit_id: bytes


@dataclass(frozen=True)
class Incoming:
    """Instances that have been taken in, and how long that took."""

    work: Session
    intake: Intake
    received: list[Received]
    seconds: float


class Store:
    """An installation that this process writes to."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository

    @classmethod
    async def open(cls, folder: Path, **settings: str) -> Store:
        """Open a data folder, a new one or one of an earlier run.

        Args:
            folder: Where it is.
            settings: Where its rows and packs are, by lower-case name; else in the folder.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        archive = await open_archive(load_settings({"data_dir": str(folder), **settings}, {}))
        await archive.database.write(ensure_default)
        return cls(Repository(archive))

    async def close(self) -> None:
        """Close it."""
        await self.repository.archive.close()

    async def make_dataset(self, name: str) -> None:
        """Make a dataset."""
        await self.repository.archive.database.write(lambda c: create_dataset(c, name))

    async def put(self, dataset: str, instances: Sequence[Slice]) -> Cost:
        """Store instances as one commit."""
        return await self.keep(await self.receive(dataset, instances))

    async def receive(self, dataset: str, instances: Sequence[Slice]) -> Incoming:
        """Take instances in: hash, parse, spool."""
        begun = perf_counter()
        owner = await self.repository.archive.database.read(lambda c: find_dataset(c, dataset))
        work = Session(owner, "main", kind="store", author="bench")
        intake = Intake(self.repository.archive)
        received = [await intake.add(_one_chunk(one.data)) for one in instances]
        return Incoming(work, intake, received, perf_counter() - begun)

    async def keep(self, incoming: Incoming) -> Cost:
        """Make what was taken in durable, and commit it."""
        begun = perf_counter()
        await stage(self.repository, incoming.work, incoming.intake, incoming.received)
        staged_at = perf_counter()
        made = await commit_session(self.repository, incoming.work)
        ended = perf_counter()
        if not made.created:
            raise RuntimeError("nothing was committed: these instances are stored already")
        return Cost(ended - staged_at, incoming.seconds + ended - begun, made.commit_id)

    async def count(self) -> dict[str, int]:
        """Return rows by table, and bytes of what history is made of."""
        return await self.repository.archive.database.read(count_rows)


def count_rows(connection: sa.Connection) -> dict[str, int]:
    """Return rows by table, and bytes of what history is made of (as `node bytes`, …)."""
    counts = {
        table.name: int(
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        )
        for table in metadata.sorted_tables
    }
    measure = measure_column if connection.dialect.name == "sqlite" else _measure_kept
    for table in (*TREE, *CATALOG):
        lengths = " + ".join(measure(column.name) for column in table.columns)
        query = f"SELECT coalesce(sum({lengths}), 0) FROM {table.name}"
        counts[f"{table.name} bytes"] = int(connection.exec_driver_sql(query).scalar_one())
    return counts


def measure_column(name: str) -> str:
    """Return SQL for the bytes that a column takes."""
    return f"coalesce(length(CAST({name} AS BLOB)), 0)"


def _measure_kept(name: str) -> str:
    """Return SQL for the bytes that a column takes in PostgreSQL, compressed where it does that."""
    return f"coalesce(pg_column_size({name}), 0)"


def generate_commits(
    studies: int, instances: int, commits: int, first: int = 0, series: int = 1
) -> Iterator[tuple[list[TinyStudy], list[Slice]]]:
    """Yield what each commit stores: whole new studies.

    Args:
        studies: In all.
        instances: In all.
        commits: In all.
        first: How many commits were made before.
        series: Of a study; its instances are dealt out to them.
    """
    each, per_study = studies // commits, instances // studies
    for index in range(first, commits):
        group = list_tiny_studies(each, first=index * each)
        yield (
            group,
            [
                make_tiny(study, n % series, n // series)
                for study in group
                for n in range(per_study)
            ],
        )


async def _one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data
