"""Where a run with `--bytes` stands, so that one that was interrupted goes on from there.

The file `fsck.progress` lies in the spool folder, is replaced by rename every few seconds and
once more when a run is interrupted, and is removed when a run comes to its end. Packs are read
in the order of their ids and never change, so all that is needed is the last id, and which of
the packs before it had damage: those are read again, since a report names everything.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

FILE_NAME = "fsck.progress"
FORMAT = 1
SAVE_EVERY_S = 5.0
OUTDATED_AFTER_S = 7 * 24 * 3600.0
"""A disk can lose bytes after they were read: what was read a week ago is read again."""


class Position(msgspec.Struct):
    """How far the bytes have been read.

    Attributes:
        began_s: When the run began that is being continued, in seconds since 1970.
        pack_id: Packs up to this id have been read.
        damaged_pack_ids: Those of them that had damage.
        dataset_id: Instances up to (dataset_id, key) have been read again and compared.
        key: See `dataset_id`; hex.
        faulty: (dataset id, key in hex) of those of them that had something to say.
    """

    began_s: float
    pack_id: int = 0
    damaged_pack_ids: list[int] = []
    dataset_id: int = 0
    key: str = ""
    faulty: list[tuple[int, str]] = []
    format: int = FORMAT


class Bookmark:
    """Keeps a `Position` in a file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._saved_s = time.monotonic()
        found = self._load()
        self.is_continued = found is not None
        self.position = found or Position(began_s=time.time())

    def note(self) -> None:
        """Save the position if the last time is some seconds ago."""
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Save the position now."""
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(self.position))
        os.replace(draft, self._path)
        self._saved_s = time.monotonic()

    def remove(self) -> None:
        """Forget the position: the run came to its end."""
        self._path.unlink(missing_ok=True)

    def _load(self) -> Position | None:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Position)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None  # a damaged bookmark costs time, never a finding
        age_s = time.time() - found.began_s
        return found if found.format == FORMAT and 0 <= age_s < OUTDATED_AFTER_S else None
