"""Frame tables of instances, found without their documents and read ahead for a series.

Whoever asks for frames of two instances of a series is about to ask for the others: their tables,
and where their bytes lie, are then read in one transaction, and their first frames need none.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import sqlalchemy as sa

from lamella.archive.blobs import find_locations
from lamella.archive.frames import FrameTable
from lamella.dicomweb.pinned import Pinned
from lamella.vcs.selection import Selected
from lamella.vcs.stored import key_of_entry, load_frame_tables
from lamella.vcs.tree import Entry, Tree

AHEAD = 500  # instances
SHORT_TABLE_BYTES = 1024  # a longer one, of many fragments, is read when it is asked for
_TABLE_BYTES, _FRAGMENT_BYTES = 400, 150  # what CPython takes, about


async def find_frame_table(pinned: Pinned, instance: Selected) -> FrameTable | None:
    """Return the frame table of an instance, or None if it has none."""
    services = pinned.services
    name = (pinned.view.dataset.id, instance.key)
    known = services.frame_tables.get(name)
    if known is not None:
        return known
    series = (pinned.view.dataset.id, instance.study_uid, instance.series_uid)
    if services.opened_series.get(series) is None:
        services.opened_series.put(series, True)
        return await _read(pinned, instance, 1)
    async with services.reading_ahead:  # what many wait for is read once
        return services.frame_tables.get(name) or await _read(pinned, instance, AHEAD)


async def _read(pinned: Pinned, instance: Selected, n_instances: int) -> FrameTable | None:
    """Read and keep the tables of an instance and of those behind it in the tree."""
    services, dataset_id = pinned.services, pinned.view.dataset.id
    repository = services.repository

    def read(connection: sa.Connection) -> dict[bytes, FrameTable]:
        entries = {instance.key: instance.entry}
        if n_instances > 1:
            tree = pinned.view.tree(connection, repository)
            entries |= _list_neighbours(tree, instance, n_instances)
        repository.blobs.keep(find_locations(connection, _list_digests(entries)))
        longest = SHORT_TABLE_BYTES if n_instances > 1 else None
        return load_frame_tables(connection, dataset_id, list(entries), longest)

    tables = await repository.archive.database.read(read)
    for key, table in tables.items():
        weight = _TABLE_BYTES + _FRAGMENT_BYTES * len(table.fragments)
        services.frame_tables.put((dataset_id, key), table, weight)
    if instance.key not in tables and n_instances > 1:
        return await _read(pinned, instance, 1)
    return tables.get(instance.key)


def _list_neighbours(tree: Tree, instance: Selected, n_instances: int) -> dict[bytes, Entry]:
    """Return the instances of a series by key; of a long one those behind an instance."""
    names = instance.study_uid, instance.series_uid
    series = tree.find_series(*names)
    is_long = series is not None and series.summary.n_instances > n_instances
    found = tree.instances(*names, instance.sop_uid if is_long else None)
    return {key_of_entry(entry): entry for _, entry in islice(found, n_instances)}


def _list_digests(entries: Mapping[bytes, Entry]) -> list[bytes]:
    return [digest for entry in entries.values() for digest, _ in entry.segments]
