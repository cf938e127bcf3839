"""Which series each blob belongs to: sixteen bytes a blob, in order."""

from __future__ import annotations

from array import array
from hashlib import blake2b

import msgspec
import numpy as np

from lamella.archive.database import Database
from lamella.archive.tables import instance
from lamella.upkeep.used_blobs import scan_instances

_PREFIX_BYTES = 8
NO_SERIES = 0


class SeriesOfBlobs:
    """Numbers that stand for series, by the first eight bytes of digests; good for an order.

    Args:
        prefixes: The first eight bytes of each digest, as they lie in memory.
        series: What stands for its series.
    """

    def __init__(self, prefixes: array[int], series: array[int]) -> None:
        unordered = np.frombuffer(prefixes, dtype=np.uint64)
        order = np.argsort(unordered, kind="stable")
        self._prefixes = unordered[order]
        self._series = np.frombuffer(series, dtype=np.uint64)[order]

    def find(self, digest: bytes) -> int:
        """Return what stands for the series of a blob; of those of several, for one of them."""
        prefix = np.frombuffer(digest[:_PREFIX_BYTES], dtype=np.uint64)[0]
        index = int(np.searchsorted(self._prefixes, prefix))
        if index < len(self._prefixes) and self._prefixes[index] == prefix:
            return int(self._series[index])
        return NO_SERIES


async def read_series_of_blobs(database: Database) -> SeriesOfBlobs:
    """Read which series all blobs belong to."""
    prefixes, series = array("Q"), array("Q")
    async for rows in scan_instances(database, instance.c.series_uid, instance.c.segments):
        for series_uid, segments in rows:
            number = blake2b(series_uid.encode(), digest_size=_PREFIX_BYTES).digest()
            for digest, _ in msgspec.msgpack.decode(segments):
                prefixes.frombytes(digest[:_PREFIX_BYTES])
                series.frombytes(number)
    return SeriesOfBlobs(prefixes, series)
