"""Indexes of attributes: what is stored has its entries, and there are no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
import zstandard

from lamella.archive.attribute_index import (
    NAMES,
    READY,
    AttributeIndex,
    instance_entry,
    list_row_entries,
    list_written,
    load_indexes,
    row_entry,
    write_entries,
)
from lamella.archive.catalog import decode_attributes, series_row, study_row
from lamella.archive.levels import Level
from lamella.archive.tables import dataset as dataset_table
from lamella.archive.tables import derived
from lamella.archive.upsert import split_batches
from lamella.upkeep.catalog import CatalogRows
from lamella.upkeep.examination import Examination, Row
from lamella.upkeep.report import Kind
from lamella.upkeep.seen import Seen
from lamella.vcs.indexing import count_written
from lamella.vcs.instance_entries import InstanceIndexer
from lamella.vcs.refs import DatasetRow, find_dataset

TABLES = {Level.STUDY: study_row, Level.SERIES: series_row}
PAGE_DOCUMENTS = 100
LOOKED_UP_AT_ONCE = 100

Entry = tuple[int, str, Any]
"""Index id, term, and the row id or instance key."""


async def examine_indexes(
    run: Examination, dataset: DatasetRow, rows: CatalogRows, committed: Seen[bytes]
) -> None:
    """Check the entries of a dataset.

    Args:
        run: The run.
        dataset: Whose entries.
        rows: What is known of its catalog rows; of those that are wrong nothing is said here.
        committed: Keys of the instances that commits hold.
    """
    await _examine_number(run, dataset)
    unsure = {row_id for _, row_id in rows.reported}
    unsure |= {row_id for damaged in rows.damaged.values() for row_id in damaged}
    for level, table in TABLES.items():
        query = sa.select(table.c.row_id, table.c.attributes).where(
            table.c.dataset_id == dataset.id
        )
        work = partial(_find_unlisted_rows, dataset_id=dataset.id, level=level, unsure=unsure)
        async for _, missing in run.scan(query, [table.c.row_id], work):
            await _mend_missing(run, dataset, row_entry, missing)
    await _examine_instances(run, dataset, committed)
    for entries, read in (
        (row_entry, partial(_read_row_entries, unsure=unsure)),
        (instance_entry, _read_instance_entries),
    ):
        await _examine_entries(run, dataset, entries, read)


async def _examine_number(run: Examination, dataset: DatasetRow) -> None:
    """Check that stores enter what they bring into all indexes that there are."""

    def read(connection: sa.Connection) -> tuple[int, int]:
        return find_dataset(connection, dataset.name).n_indexes, count_written(
            connection, dataset.id
        )

    def write(connection: sa.Connection) -> None:
        here = dataset_table.c.id == dataset.id
        number = count_written(connection, dataset.id)
        connection.execute(sa.update(dataset_table).where(here).values(n_indexes=number))

    stated, true = await run.read(read)
    if stated != true:
        if run.repair:
            await run.write(write)
        sentence = f"Dataset {dataset.name} has {true} attribute indexes, and says {stated}."
        run.add(Kind.INDEX_COUNT, dataset.name, sentence, repaired=run.repair)


async def _examine_instances(run: Examination, dataset: DatasetRow, committed: Seen[bytes]) -> None:
    declared = await run.read(lambda c: _list_ready(c, dataset.id, Level.INSTANCE))
    if not declared:
        return
    query = sa.select(derived.c.key, derived.c.dicom_json).where(derived.c.dataset_id == dataset.id)
    work = partial(_find_unlisted_instances, dataset_id=dataset.id, committed=committed)
    pages = run.scan(query, [derived.c.key], work, page_rows=PAGE_DOCUMENTS)
    async for _, missing in pages:
        await _mend_missing(run, dataset, instance_entry, missing)


def _list_ready(connection: sa.Connection, dataset_id: int, level: Level) -> list[AttributeIndex]:
    indexes = list_written(load_indexes(connection, dataset_id), level)
    return [index for index in indexes if index.state == READY]


def _find_unlisted_rows(
    connection: sa.Connection,
    rows: Sequence[Row],
    dataset_id: int,
    level: Level,
    unsure: set[int],
) -> list[Mapping[str, Any]]:
    indexes = _list_ready(connection, dataset_id, level)
    wanted = [
        entry
        for row_id, data in rows
        if row_id not in unsure
        for entry in list_row_entries(dataset_id, row_id, decode_attributes(data), indexes)
    ]
    return _find_missing(connection, row_entry, wanted)


def _find_unlisted_instances(
    connection: sa.Connection, rows: Sequence[Row], dataset_id: int, committed: Seen[bytes]
) -> list[Mapping[str, Any]]:
    indexes = _list_ready(connection, dataset_id, Level.INSTANCE)
    unseen = set(committed.list_unseen([key for key, _ in rows]))
    indexer = InstanceIndexer(dataset_id, indexes)
    wanted: list[dict[str, Any]] = []
    for key, data in rows:
        if key not in unseen:
            wanted += _try_to_list(indexer, key, data) or ()
    return _find_missing(connection, instance_entry, wanted)


def _try_to_list(indexer: InstanceIndexer, key: bytes, data: bytes) -> list[dict[str, Any]] | None:
    """Return the entries of an instance; None if its document is damaged, as others will say."""
    try:
        return indexer.list_entries(key, zstandard.decompress(data))
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _find_missing(
    connection: sa.Connection, table: sa.Table, wanted: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return those of some entries that are not there."""
    columns = list(table.primary_key.columns)
    names = [column.name for column in columns]
    there: set[tuple[Any, ...]] = set()
    for batch in split_batches(wanted, LOOKED_UP_AT_ONCE):
        places = [tuple(entry[name] for name in names) for entry in batch]
        query = sa.select(*columns).where(sa.tuple_(*columns).in_(places))
        there.update(map(tuple, connection.execute(query)))
    return [entry for entry in wanted if tuple(entry[name] for name in names) not in there]


async def _mend_missing(
    run: Examination,
    dataset: DatasetRow,
    table: sa.Table,
    missing: Sequence[Mapping[str, Any]],
) -> None:
    """Report entries that are missing; with `--repair`, write them."""
    if run.repair and missing:
        await run.write(lambda c: write_entries(c, table, missing))
    target = _name_target(table)
    for index_id, key in dict.fromkeys((entry["index_id"], entry[target]) for entry in missing):
        name = _name_object(table, key)
        sentence = f"Index {index_id} of {dataset.name} does not find {name}."
        run.add(Kind.INDEX_ENTRY_MISSING, name, sentence, repaired=run.repair)


async def _examine_entries(
    run: Examination,
    dataset: DatasetRow,
    table: sa.Table,
    read: Callable[[sa.Connection, int, Iterable[Any]], dict[Any, set[Entry] | None]],
) -> None:
    """Report entries of nothing, or of what has no such value; with `--repair`, delete them.

    Args:
        run: The run.
        dataset: Whose entries.
        table: Of entries.
        read: Returns the true entries of rows or instances; None where nobody knows.
    """
    columns = [table.c.index_id, table.c.term, table.c[_name_target(table)]]
    query = sa.select(*columns).where(table.c.dataset_id == dataset.id)

    def find_wrong(connection: sa.Connection, rows: Sequence[Row]) -> tuple[int, list[Entry]]:
        true = read(connection, dataset.id, {row[2] for row in rows})
        known = {index.id for index in load_indexes(connection, dataset.id)} | {NAMES.id}
        wrong = [(row[0], row[1], row[2]) for row in rows if _is_wrong(row, true, known)]
        return len(rows), wrong

    async for _, (count, wrong) in run.scan(query, columns, find_wrong):
        run.count("index entries", count)
        for entry in wrong:
            if run.repair:
                await run.write(partial(_delete_entry, dataset.id, table, entry))
            name = _name_object(table, entry[2])
            sentence = f"Index {entry[0]} of {dataset.name} finds {name} by a value it has not."
            run.add(Kind.INDEX_ENTRY_WRONG, name, sentence, repaired=run.repair)


def _is_wrong(row: Row, true: Mapping[Any, set[Entry] | None], known: set[int]) -> bool:
    entries = true.get(row[2], set())
    return row[0] not in known or (entries is not None and tuple(row) not in entries)


def _read_row_entries(
    connection: sa.Connection, dataset_id: int, ids: Iterable[int], unsure: set[int]
) -> dict[Any, set[Entry] | None]:
    true: dict[Any, set[Entry] | None] = dict.fromkeys(unsure)
    indexes = load_indexes(connection, dataset_id)
    for (level, table), batch in (
        (one, part) for one in TABLES.items() for part in split_batches(sorted(ids))
    ):
        here = (table.c.dataset_id == dataset_id) & table.c.row_id.in_(batch)
        wanted = [i for i in (NAMES, *indexes) if i.level is level]
        query = sa.select(table.c.row_id, table.c.attributes).where(here)
        for row_id, data in connection.execute(query):
            if row_id not in unsure:
                entries = list_row_entries(dataset_id, row_id, decode_attributes(data), wanted)
                true[row_id] = {(e["index_id"], e["term"], row_id) for e in entries}
    return true


def _read_instance_entries(
    connection: sa.Connection, dataset_id: int, keys: Iterable[bytes]
) -> dict[Any, set[Entry] | None]:
    true: dict[Any, set[Entry] | None] = {}
    indexes = load_indexes(connection, dataset_id)
    indexer = InstanceIndexer(dataset_id, [i for i in indexes if i.level is Level.INSTANCE])
    for batch in split_batches(sorted(keys), PAGE_DOCUMENTS):
        true.update(dict.fromkeys(batch))  # one without a document is said to have none elsewhere
        query = sa.select(derived.c.key, derived.c.dicom_json).where(
            derived.c.dataset_id == dataset_id, derived.c.key.in_(batch)
        )
        for key, data in connection.execute(query):
            entries = _try_to_list(indexer, key, data)
            if entries is not None:
                true[key] = {(e["index_id"], e["term"], key) for e in entries}
    return true


def _delete_entry(
    dataset_id: int, table: sa.Table, entry: Entry, connection: sa.Connection
) -> None:
    index_id, term, key = entry
    connection.execute(
        sa.delete(table).where(
            table.c.dataset_id == dataset_id,
            table.c.index_id == index_id,
            table.c.term == term,
            table.c[_name_target(table)] == key,
        )
    )


def _name_target(table: sa.Table) -> str:
    return "key" if table is instance_entry else "row_id"


def _name_object(table: sa.Table, key: Any) -> str:
    return f"instance {key.hex()[:16]}" if table is instance_entry else f"row {key}"
