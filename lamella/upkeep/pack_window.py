"""Reading a pack from its store in large pieces, past whatever is kept of it elsewhere."""

from __future__ import annotations

from lamella.archive.packs.store import PackStore
from lamella.errors import IntegrityError

WINDOW_BYTES = 8 << 20


class PackWindow:
    """A part of a pack that was read at once: a store far away takes long to begin an answer.

    Args:
        packs: Where the pack is; what is kept of it elsewhere does not count.
        name: Of the pack.
        end_bytes: Where the last of its blobs ends.
    """

    def __init__(self, packs: PackStore, name: str, end_bytes: int) -> None:
        self._packs = packs
        self._name = name
        self._end = end_bytes
        self._start = 0
        self._view = memoryview(b"")

    def read(self, offset_bytes: int, length_bytes: int) -> memoryview:
        """Return bytes of the pack.

        Raises:
            IntegrityError: They are not there.
        """
        start = offset_bytes - self._start
        if not 0 <= start <= len(self._view) - length_bytes:
            self._start, start = offset_bytes, 0
            self._view = memoryview(self._read_ahead(offset_bytes, length_bytes))
        return self._view[start : start + length_bytes]

    def _read_ahead(self, offset_bytes: int, length_bytes: int) -> bytes:
        ahead = min(WINDOW_BYTES, self._end - offset_bytes)
        if ahead > length_bytes:
            try:
                return self._packs.read_stored(self._name, offset_bytes, ahead)
            except IntegrityError:  # of these bytes, or only of those behind them
                pass
        return self._packs.read_stored(self._name, offset_bytes, length_bytes)
