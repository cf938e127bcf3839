"""Multi-frame instances of any length, made while they are sent."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from tests.harness.samples import make_instance

SIDE = 512
_EMPTY_PIXELS = struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", 0)


@dataclass(frozen=True)
class MultiFrame:
    """A native 16-bit multi-frame instance; no two of its frames are equal.

    Attributes:
        sop_uid: SOP Instance UID; study and series are named after it.
        n_frames: Of 512 KiB each, unless they have another side.
        side: Rows and columns of a frame.
    """

    sop_uid: str
    n_frames: int
    side: int = SIDE

    @property
    def frame_bytes(self) -> int:
        """Length of a frame."""
        return self.side * self.side * 2

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return f"{self.sop_uid}.1"

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return f"{self.sop_uid}.2"

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return len(self._head()) + self.n_frames * self.frame_bytes

    def frame(self, frame_index: int) -> bytes:
        """Return one frame (0-based)."""
        return self._frame(self._block(), frame_index)

    def chunks(self) -> Iterator[bytes]:
        """Yield the Part 10 file, frame by frame."""
        yield self._head()
        block = self._block()
        for frame_index in range(self.n_frames):
            yield self._frame(block, frame_index)

    def digest(self) -> str:
        """Return the SHA-256 of the file, in hex."""
        total = hashlib.sha256()
        for chunk in self.chunks():
            total.update(chunk)
        return total.hexdigest()

    def _block(self) -> bytes:
        return Random(self.sop_uid).randbytes(self.frame_bytes - 4)

    def _frame(self, block: bytes, frame_index: int) -> bytes:
        return struct.pack("<I", frame_index) + block

    def _head(self) -> bytes:
        """Return everything up to the pixels' first byte."""
        file = make_instance(
            self.study_uid,
            self.series_uid,
            self.sop_uid,
            SOPClassUID=MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
            NumberOfFrames=self.n_frames,
            Rows=self.side,
            Columns=self.side,
            PixelData=b"",
        )
        head, empty, rest = file.rpartition(_EMPTY_PIXELS)
        assert empty
        assert not rest
        return head + empty[:-4] + struct.pack("<I", self.n_frames * self.frame_bytes)
