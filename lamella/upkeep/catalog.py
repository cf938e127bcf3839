"""Catalog rows: each is what its attributes make it, and some commit's tree asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from pyroaring import BitMap

from lamella.archive.attribute_index import (
    list_row_entries,
    list_written,
    load_indexes,
    row_entry,
    write_entries,
)
from lamella.archive.catalog import (
    decode_attributes,
    make_series_values,
    make_study_values,
    series_row,
    study_row,
)
from lamella.archive.levels import Level
from lamella.archive.tables import dataset as dataset_table
from lamella.archive.upsert import split_batches
from lamella.errors import InvalidInstance
from lamella.upkeep.derivation import Wanted
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind
from lamella.vcs.refs import DatasetRow, lock_dataset

TABLES = (study_row, series_row)
PAGE_ROWS = 500
PAGE_IDS = 20_000


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row whose columns do not go together: any of them may be the wrong one."""

    uid: str
    digests: frozenset[bytes]


@dataclass(slots=True)
class CatalogRows:
    """What is known of one dataset's rows.

    Attributes:
        limit: Rows below this id belong to commits that are walked; later ones may be of
            commits that were made meanwhile.
        damaged: By table name and row id.
        claimed: Rows that some commit asks for, by table name.
        reported: (table name, row id) of rows about which something was said.
    """

    limit: int
    damaged: dict[str, dict[int, DamagedRow]] = field(
        default_factory=lambda: {table.name: {} for table in TABLES}
    )
    claimed: dict[str, BitMap] = field(
        default_factory=lambda: {table.name: BitMap() for table in TABLES}
    )
    reported: set[tuple[str, int]] = field(default_factory=set)


async def examine_rows(run: Examination, dataset: DatasetRow) -> CatalogRows:
    """Check that each row is consistent in itself; the walk through the commits does the rest."""
    rows = CatalogRows(await _examine_counter(run, dataset))
    for table in TABLES:
        columns = [
            column for column in table.columns if column.name not in ("dataset_id", "row_id")
        ]
        query = sa.select(table.c.row_id, *columns).where(
            table.c.dataset_id == dataset.id, table.c.row_id < rows.limit
        )
        work = partial(_find_damaged, table=table)
        pages = run.scan(query, [table.c.row_id], lambda _, p, w=work: w(p), page_rows=PAGE_ROWS)  # type: ignore[misc]
        async for _, (count, damaged) in pages:
            rows.damaged[table.name].update(damaged)
            run.count("catalog rows", count)
    return rows


async def _examine_counter(run: Examination, dataset: DatasetRow) -> int:
    """Check that no row id can be given twice; return the id behind the last row."""

    def read_ids(connection: sa.Connection) -> tuple[int, int]:
        highest = max(
            connection.scalar(
                sa.select(sa.func.max(table.c.row_id)).where(table.c.dataset_id == dataset.id)
            )
            or 0
            for table in TABLES
        )
        query = sa.select(dataset_table.c.next_row_id).where(dataset_table.c.id == dataset.id)
        return highest, connection.execute(query).scalar_one_or_none() or highest + 1

    def raise_counter(connection: sa.Connection) -> None:
        lock_dataset(connection, dataset.id)
        highest, _ = read_ids(connection)
        statement = sa.update(dataset_table).where(
            dataset_table.c.id == dataset.id, dataset_table.c.next_row_id <= highest
        )
        connection.execute(statement.values(next_row_id=highest + 1))

    highest, next_id = await run.read(read_ids)
    if next_id <= highest:
        if run.repair:
            await run.write(raise_counter)
        sentence = f"Dataset {dataset.name} would give catalog row id {next_id} a second time."
        run.add(Kind.CATALOG_COUNTER, dataset.name, sentence, repaired=run.repair)
    return max(next_id, highest + 1)


def _find_damaged(rows: Sequence[Row], table: sa.Table) -> tuple[int, dict[int, DamagedRow]]:
    uid_name = "study_uid" if table is study_row else "series_uid"
    damaged = {}
    for row in rows:
        stored = dict(row._mapping)
        row_id = stored.pop("row_id")
        true_digest = hashlib.sha256(stored["attributes"]).digest()
        if true_digest != stored["digest"] or _make_values(table, stored) != stored:
            digests = frozenset({true_digest, bytes(stored["digest"])})
            damaged[row_id] = DamagedRow(stored[uid_name], digests)
    return len(rows), damaged


def _make_values(table: sa.Table, stored: Mapping[str, Any]) -> Mapping[str, Any] | None:
    make = make_study_values if table is study_row else make_series_values
    try:
        return make(decode_attributes(stored["attributes"]))
    except (InvalidInstance, KeyError, TypeError, AttributeError, ValueError):
        return None  # not the attributes of a row


def find_disguised(
    connection: sa.Connection,
    dataset_id: int,
    wanted: Wanted,
    rows: CatalogRows,
    shown: BitMap,
) -> int | None:
    """Return the id of the row that was the wanted one before it was altered, or None.

    It is shown by the commit that asks for the wanted one, asked for by no commit before, and
    still has the UID or one of the digests.

    Args:
        shown: The rows of that table that the commit shows.
    """
    table = wanted.table
    here = (table.c.dataset_id == dataset_id) & (_uid_column(table) == wanted.uid)
    query = sa.select(table.c.row_id).where(here).order_by(table.c.row_id)
    candidates = list(connection.execute(query).scalars())
    candidates += [
        row_id
        for row_id, damaged in rows.damaged[table.name].items()
        if wanted.digest in damaged.digests
    ]
    unclaimed = shown - rows.claimed[table.name]
    return next((row_id for row_id in candidates if row_id in unclaimed), None)


def find_lost_id(
    connection: sa.Connection, dataset_id: int, table: sa.Table, rows: CatalogRows, shown: BitMap
) -> int | None:
    """Return an id that a commit shows, that no commit before asks for and no row has, or None.

    Args:
        shown: The rows of that table that the commit shows.
    """
    for batch in split_batches(sorted(shown - rows.claimed[table.name])):
        query = sa.select(table.c.row_id).where(
            table.c.dataset_id == dataset_id, table.c.row_id.in_(batch)
        )
        lost = set(batch) - set(connection.execute(query).scalars())
        if lost:
            return min(lost)
    return None


def write_row(
    connection: sa.Connection,
    dataset_id: int,
    wanted: Wanted,
    values: Mapping[str, Any],
    row_id: int | None,
) -> None:
    """Write a wanted row: over the row `row_id` or under that id; with None, under a new one."""
    owner = lock_dataset(connection, dataset_id)
    table = wanted.table
    if row_id is not None:
        here = (table.c.dataset_id == dataset_id) & (table.c.row_id == row_id)
        if connection.execute(sa.update(table).where(here).values(values)).rowcount == 0:
            row = {"dataset_id": dataset_id, "row_id": row_id, **values}
            connection.execute(sa.insert(table).values(row))
        _enter_row(connection, dataset_id, table, row_id, values)
        return
    same = (_uid_column(table) == wanted.uid) & (table.c.digest == wanted.digest)
    query = sa.select(table.c.row_id).where(table.c.dataset_id == dataset_id, same)
    if connection.execute(query).first() is not None:
        return  # a commit made it meanwhile
    next_id = owner.next_row_id
    connection.execute(sa.insert(table).values(dataset_id=dataset_id, row_id=next_id, **values))
    statement = sa.update(dataset_table).where(dataset_table.c.id == dataset_id)
    connection.execute(statement.values(next_row_id=next_id + 1))
    _enter_row(connection, dataset_id, table, next_id, values)


def _enter_row(
    connection: sa.Connection,
    dataset_id: int,
    table: sa.Table,
    row_id: int,
    values: Mapping[str, Any],
) -> None:
    level = Level.STUDY if table is study_row else Level.SERIES
    indexes = list_written(load_indexes(connection, dataset_id), level)
    attributes = decode_attributes(values["attributes"])
    entries = list_row_entries(dataset_id, row_id, attributes, indexes)
    write_entries(connection, row_entry, entries)


async def examine_stray_rows(run: Examination, dataset: DatasetRow, rows: CatalogRows) -> None:
    """Report rows that no commit asks for; with `--repair`, delete them."""
    for table in TABLES:
        query = sa.select(table.c.row_id).where(
            table.c.dataset_id == dataset.id, table.c.row_id < rows.limit
        )
        ids = BitMap()
        async for _, page in run.scan(query, [table.c.row_id], _list_ids, page_rows=PAGE_IDS):
            ids.update(page)
        for row_id in ids - rows.claimed[table.name]:
            if (table.name, row_id) in rows.reported:
                continue
            if run.repair:
                await run.write(
                    partial(_delete_row, dataset_id=dataset.id, table=table, row_id=row_id)
                )
            sentence = f"Row {row_id} of {table.name} of {dataset.name} belongs to no commit."
            name = f"{table.name} {row_id}"
            run.add(Kind.CATALOG_ROW_ALTERED, name, sentence, repaired=run.repair)


def _uid_column(table: sa.Table) -> sa.Column[Any]:
    return table.c.study_uid if table is study_row else table.c.series_uid


def _list_ids(_connection: sa.Connection, rows: Sequence[Row]) -> list[int]:
    return [row[0] for row in rows]


def _delete_row(connection: sa.Connection, dataset_id: int, table: sa.Table, row_id: int) -> None:
    here = (table.c.dataset_id == dataset_id) & (table.c.row_id == row_id)
    connection.execute(sa.delete(table).where(here))
