"""The trickle mode: one instance a commit into one series, and the bytes that costs.

A trigger on each table of the throw-away installation notes the size of every row as it is
written, so that a commit's cost is read off rather than estimated.
"""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path

import sqlalchemy as sa

from bench.client import build_get, run_load
from bench.growth import CATALOG, TREE, Store, measure_column
from bench.servers import Lamella
from bench.workload import Slice, list_tiny_studies, make_tiny

STUDY = 6_000_000


def measure_trickle(folder: Path, stores: int, rounds: int) -> list[str]:
    """Trickle a series in, store another at once, and compare; return the report's lines."""
    costs = asyncio.run(_trickle(folder, stores))
    server = Lamella(folder)
    server.start()
    try:
        return format_costs(costs) + _measure_searches(server, rounds)
    finally:
        server.stop()


async def _trickle(folder: Path, stores: int) -> list[tuple[int, int]]:
    store = await Store.open(folder / "lamella")
    try:
        await store.make_dataset("trickled")
        await store.make_dataset("at-once")
        instances = make_series(stores)
        await store.put("at-once", instances)
        return await trickle(store, "trickled", instances)
    finally:
        await store.close()


def make_series(length: int) -> list[Slice]:
    """Return the instances that are trickled."""
    (study,) = list_tiny_studies(1, first=STUDY)
    return [make_tiny(study, 0, number) for number in range(length)]


async def trickle(store: Store, dataset: str, instances: list[Slice]) -> list[tuple[int, int]]:
    """Store instances one a commit; return (tree bytes, catalog bytes) of each commit."""
    database = store.repository.archive.database
    await database.write(_watch)
    costs = []
    for one in instances:
        await store.put(dataset, [one])
        costs.append(await database.write(_read_watch))
    await database.write(_unwatch)
    return costs


def format_costs(costs: list[tuple[int, int]]) -> list[str]:
    """Return the table of bytes."""
    lines = [
        f"## {len(costs)} stores of one instance to one series: bytes a commit",
        "",
        "| what | mean | most |",
        "|---|---|---|",
    ]
    for name, part in (("tree nodes", 0), ("catalog rows and visible sets", 1)):
        found = [cost[part] for cost in costs]
        lines.append(f"| {name} | {statistics.mean(found):,.0f} | {max(found):,} |")
    return lines


def _measure_searches(server: Lamella, rounds: int) -> list[str]:
    (study,) = list_tiny_studies(1, first=STUDY)
    one = make_tiny(study, 0, 0)
    instances = f"/studies/{one.study_uid}/series/{one.series_uid}/instances"
    targets = {
        "study by PatientID": f"/studies?PatientID={study.patient_id}",
        "series of the study": f"/studies/{one.study_uid}/series",
        "100 instances of the series": f"{instances}?limit=100",
        "all instances of the series": instances,
    }
    lines = [
        "",
        "## Searches at head, p50 ms",
        "",
        "| search | trickled | at once | ratio |",
        "|---|---|---|---|",
    ]
    for name, target in targets.items():
        p50: dict[str, list[float]] = {"trickled": [], "at-once": []}
        for _ in range(rounds):
            for dataset, found in p50.items():
                request = build_get(f"/dicomweb/{dataset}/main{target}", "application/dicom+json")
                load = run_load(server.port, [request], concurrency=1, seconds=1.0, keep=0)
                found.append(statistics.median(load.latencies_s) * 1000)
        slow, fast = (statistics.median(found) for found in p50.values())
        lines.append(f"| {name} | {slow:.2f} | {fast:.2f} | {slow / fast:.2f} |")
    return lines


def _watch(connection: sa.Connection) -> None:
    _unwatch(connection)
    connection.exec_driver_sql("CREATE TABLE bench_written (kind INTEGER, bytes INTEGER)")
    for kind, tables in enumerate((TREE, CATALOG)):
        for table in tables:
            columns = " + ".join(measure_column(f"NEW.{column.name}") for column in table.columns)
            connection.exec_driver_sql(
                f"CREATE TRIGGER bench_{table.name} AFTER INSERT ON {table.name} BEGIN "
                f"INSERT INTO bench_written VALUES ({kind}, {columns}); END"
            )


def _unwatch(connection: sa.Connection) -> None:
    for table in (*TREE, *CATALOG):
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS bench_{table.name}")
    connection.exec_driver_sql("DROP TABLE IF EXISTS bench_written")


def _read_watch(connection: sa.Connection) -> tuple[int, int]:
    query = "SELECT kind, sum(bytes) FROM bench_written GROUP BY kind"
    found = {row[0]: row[1] for row in connection.exec_driver_sql(query)}
    connection.exec_driver_sql("DELETE FROM bench_written")
    return int(found.get(0, 0)), int(found.get(1, 0))
