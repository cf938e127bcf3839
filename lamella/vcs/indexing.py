"""Declaring indexes of attributes, filling them while others write, and removing them.

    declare   the row, under the dataset's lock: whatever is committed from now on is entered
    build     page by page enter what was there before; each page remembers how far it came
    remove    no longer written nor asked; then page by page delete the entries

A search asks an index that is ready. Whoever builds holds a lease on the index; if it is killed,
the server, or the next who asks for the same, goes on behind the last page. Two who build one
index at a time do no harm: entries are a function of what they are made from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
import zstandard

from lamella.archive.attribute_index import (
    BUILDING,
    READY,
    REMOVING,
    AttributeIndex,
    attribute_index,
    instance_entry,
    list_row_entries,
    load_indexes,
    write_entries,
)
from lamella.archive.catalog import decode_attributes, series_row, study_row
from lamella.archive.database import read_clock_us
from lamella.archive.levels import Level
from lamella.archive.tables import dataset, derived
from lamella.errors import AlreadyExists, ResourceNotFound
from lamella.vcs.instance_entries import InstanceIndexer
from lamella.vcs.refs import find_dataset, lock_dataset
from lamella.vcs.repository import Repository

LEASE_US = 15_000_000
ROWS_A_PAGE = 500
INSTANCES_A_PAGE = 200  # some 20 ms of reading; writers wait for its entries alone
ENTRIES_A_PAGE = 5_000

Entries = list[dict[str, Any]]
Progress = Callable[[int, int], None]
"""Told how many rows or instances have been gone through, and of how many."""


def ignore_progress(_done: int, _total: int) -> None:
    """Show nothing."""


def list_indexes(connection: sa.Connection, dataset_name: str) -> list[AttributeIndex]:
    """Return the declared indexes of a dataset.

    Raises:
        RevisionNotFound: There is no such dataset.
    """
    return load_indexes(connection, find_dataset(connection, dataset_name).id)


def find_index(connection: sa.Connection, dataset_id: int, index_id: int) -> AttributeIndex:
    """Return an index by its id.

    Raises:
        ResourceNotFound: The dataset has none of that id.
    """
    for index in load_indexes(connection, dataset_id):
        if index.id == index_id:
            return index
    raise ResourceNotFound(f"The dataset has no index {index_id}.")


def find_same(
    connection: sa.Connection, dataset_id: int, wanted: AttributeIndex
) -> AttributeIndex | None:
    """Return the index of the same attribute and level, or None."""
    for index in load_indexes(connection, dataset_id):
        if (index.path, index.creators, index.level) == (
            wanted.path,
            wanted.creators,
            wanted.level,
        ):
            return index
    return None


def declare_index(
    connection: sa.Connection, dataset_name: str, wanted: AttributeIndex, lease_us: int = 0
) -> AttributeIndex:
    """Make an index that new rows and instances are entered in from this transaction on.

    Args:
        connection: In a write transaction.
        dataset_name: The dataset.
        wanted: What `parse_index` returned.
        lease_us: For how long nobody else is to build it.

    Returns:
        The index, still to be built. One that is declared but not built yet is returned as it is.

    Raises:
        AlreadyExists: There is such an index, or it is being removed.
        RevisionNotFound: There is no such dataset.
    """
    owner = lock_dataset(connection, find_dataset(connection, dataset_name).id)
    known = find_same(connection, owner.id, wanted)
    if known is not None and known.state != BUILDING:
        state = "an index of" if known.state == READY else "an index that is being removed of"
        raise AlreadyExists(f"There is {state} {wanted.name}.")
    until_us = read_clock_us(connection) + lease_us
    if known is not None:
        _take_lease(connection, known.id, until_us)
        return known
    row = {
        "dataset_id": owner.id,
        "path": wanted.encode_path(),
        "vr": wanted.vr,
        "level": wanted.level.name.lower(),
        "state": BUILDING,
        "position": "",
        "done": 0,
        "total": _count_targets(connection, owner.id, wanted.level),
        "lease_us": until_us,
    }
    connection.execute(sa.insert(attribute_index).values(row))
    _count_indexes(connection, owner.id)
    made = find_same(connection, owner.id, wanted)
    assert made is not None
    return made


def withdraw_index(
    connection: sa.Connection, dataset_id: int, index_id: int, lease_us: int = 0
) -> None:
    """Let nobody ask or write an index any more; its entries remain to be deleted.

    Raises:
        ResourceNotFound: The dataset has none of that id.
    """
    lock_dataset(connection, dataset_id)
    find_index(connection, dataset_id, index_id)
    until_us = read_clock_us(connection) + lease_us
    here = attribute_index.c.id == index_id
    connection.execute(
        sa.update(attribute_index).where(here).values(state=REMOVING, lease_us=until_us)
    )
    _count_indexes(connection, dataset_id)


def count_written(connection: sa.Connection, dataset_id: int) -> int:
    """Return how many indexes new rows and instances are to be entered in."""
    return sum(index.is_written for index in load_indexes(connection, dataset_id))


def list_unfinished(connection: sa.Connection, *, leased: bool = False) -> list[tuple[int, int]]:
    """Return (dataset id, index id) of those that somebody began, and nobody works on.

    Args:
        connection: In any transaction.
        leased: Those too on which somebody works, or did until a moment ago.
    """
    query = sa.select(attribute_index.c.dataset_id, attribute_index.c.id).where(
        attribute_index.c.state != READY
    )
    if not leased:
        query = query.where(attribute_index.c.lease_us <= read_clock_us(connection))
    return [(row[0], row[1]) for row in connection.execute(query.order_by(attribute_index.c.id))]


async def finish_index(
    repository: Repository, dataset_id: int, index_id: int, progress: Progress = ignore_progress
) -> None:
    """Build an index to its end, or delete the entries of one that is being removed.

    Raises:
        OutOfResources: The database cannot be reached, or is full; what was done stays done.
    """
    database = repository.archive.database
    while True:
        page = await database.read(partial(_read_page, dataset_id=dataset_id, index_id=index_id))
        if page is None:
            return
        progress(page.index.done, page.index.total)
        if page.index.state == REMOVING:
            is_gone = await database.write(partial(_delete_page, page=page))
            if is_gone:
                return
        else:
            await database.write(partial(_write_page, page=page))


class _Page(msgspec.Struct, frozen=True):
    """What one transaction does about an index.

    Attributes:
        entries: To be written.
        position: Behind what has been gone through; None at the end.
        count: How many rows or instances the entries are from.
    """

    dataset_id: int
    index: AttributeIndex
    entries: Entries
    position: str | None
    count: int


def _read_page(connection: sa.Connection, dataset_id: int, index_id: int) -> _Page | None:
    """Return the next page of an index; None if it needs none."""
    query = sa.select(attribute_index.c.position).where(
        attribute_index.c.id == index_id,
        attribute_index.c.dataset_id == dataset_id,
        attribute_index.c.state != READY,
    )
    position = connection.execute(query).scalar_one_or_none()
    if position is None:
        return None
    index = find_index(connection, dataset_id, index_id)
    if index.state == REMOVING:
        return _Page(dataset_id, index, [], None, 0)
    if index.level is Level.INSTANCE:
        return _read_instances(connection, dataset_id, index, position)
    return _read_rows(connection, dataset_id, index, position)


def _read_rows(
    connection: sa.Connection, dataset_id: int, index: AttributeIndex, position: str
) -> _Page:
    table = study_row if index.level is Level.STUDY else series_row
    query = (
        sa.select(table.c.row_id, table.c.attributes)
        .where(table.c.dataset_id == dataset_id, table.c.row_id > int(position or 0))
        .order_by(table.c.row_id)
        .limit(ROWS_A_PAGE)
    )
    rows = connection.execute(query).all()
    entries = [
        entry
        for row_id, data in rows
        for entry in list_row_entries(dataset_id, row_id, decode_attributes(data), [index])
    ]
    last = str(rows[-1][0]) if rows else None
    return _Page(dataset_id, index, entries, last, len(rows))


def _read_instances(
    connection: sa.Connection, dataset_id: int, index: AttributeIndex, position: str
) -> _Page:
    query = (
        sa.select(derived.c.key, derived.c.dicom_json)
        .where(derived.c.dataset_id == dataset_id, derived.c.key > bytes.fromhex(position))
        .order_by(derived.c.key)
        .limit(INSTANCES_A_PAGE)
    )
    rows = connection.execute(query).all()
    indexer = InstanceIndexer(dataset_id, [index])
    decompress = zstandard.ZstdDecompressor().decompress
    entries = [entry for key, data in rows for entry in indexer.list_entries(key, decompress(data))]
    last = rows[-1][0].hex() if rows else None
    return _Page(dataset_id, index, entries, last, len(rows))


def _write_page(connection: sa.Connection, page: _Page) -> None:
    """Write a page's entries, unless the index is being removed meanwhile."""
    is_last = page.position is None
    values = {
        "state": READY if is_last else BUILDING,
        "lease_us": read_clock_us(connection) + LEASE_US,
        "done": attribute_index.c.done + page.count,
    }
    if not is_last:
        values["position"] = page.position
    here = (attribute_index.c.id == page.index.id) & (attribute_index.c.state == BUILDING)
    if connection.execute(sa.update(attribute_index).where(here).values(values)).rowcount:
        write_entries(connection, page.index.table, page.entries)


def _delete_page(connection: sa.Connection, page: _Page) -> bool:
    """Delete some entries of an index, with the last of them its row; tell if that is done."""
    table = page.index.table
    target = table.c.key if table is instance_entry else table.c.row_id
    here = (table.c.dataset_id == page.dataset_id) & (table.c.index_id == page.index.id)
    order = (table.c.term, target)
    query = sa.select(*order).where(here).order_by(*order).offset(ENTRIES_A_PAGE).limit(1)
    last = connection.execute(query).one_or_none()
    if last is None:
        connection.execute(sa.delete(table).where(here))
        row = attribute_index.c.id == page.index.id
        connection.execute(sa.delete(attribute_index).where(row))
        return True
    end = sa.tuple_(
        *(sa.literal(value, column.type) for value, column in zip(last, order, strict=True))
    )
    connection.execute(sa.delete(table).where(here, sa.tuple_(*order) < end))
    _take_lease(connection, page.index.id, read_clock_us(connection) + LEASE_US)
    return False


def _take_lease(connection: sa.Connection, index_id: int, until_us: int) -> None:
    here = attribute_index.c.id == index_id
    connection.execute(sa.update(attribute_index).where(here).values(lease_us=until_us))


def _count_targets(connection: sa.Connection, dataset_id: int, level: Level) -> int:
    tables = {Level.STUDY: study_row, Level.SERIES: series_row, Level.INSTANCE: derived}
    table = tables[level]
    query = sa.select(sa.func.count()).select_from(table).where(table.c.dataset_id == dataset_id)
    return int(connection.execute(query).scalar_one())


def _count_indexes(connection: sa.Connection, dataset_id: int) -> None:
    """Note in the dataset's row how many indexes are written."""
    number = count_written(connection, dataset_id)
    here = dataset.c.id == dataset_id
    connection.execute(sa.update(dataset).where(here).values(n_indexes=number))
