"""Pixels of one instance: text is found, blacked, and looked for once more.

boxes that its device is known for, the banner of an ultrasound image
  ∪ lines that an engine reads and that must go
  → blacked → read again → what is still there is blacked, twice at most → REVIEW
"""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import FileDataset

from lamella.deid.codes import CLEAN_PIXELS, Code
from lamella.deid.identifiers import Identifiers
from lamella.deid.pixels import engines
from lamella.deid.pixels.boxes import Box, drop_covered
from lamella.deid.pixels.device_rules import find_banner, open_rules, require_rules
from lamella.deid.pixels.engines import BurnedInTextFinder, open_engine
from lamella.deid.pixels.frames import Array, Frames, put
from lamella.deid.pixels.pictures import cut_tiles, make_pictures
from lamella.deid.pixels.scrubbing import black, scrub
from lamella.deid.pixels.words import must_go, tells_who
from lamella.deid.profiles import PixelPolicy, Profile, TextPolicy
from lamella.deid.results import Reason, Verdict
from lamella.deid.walk import inherit_encoding
from lamella.errors import BrokenInstance

_ROUNDS = 3
_LEAST_MARGIN = 2  # pixels; edges of letters are soft
_MARGIN = 0.15  # of a line's height
_LEAST_SIDE = 12  # pixels of a frame on which a word can be written
_NEAR = 8  # values of 8 bits
_FLAT_SHARE = 0.8  # of a screen's pixels around its texts
_SAME = 0.7  # of a box: the same line, read again


@dataclass(frozen=True, slots=True)
class CleanedPixels:
    """What became of an instance's pixels.

    Attributes:
        attributes: The very data set that came where nothing was done, else a copy.
        boxes: What was blacked, of each frame; empty if nothing was.
        codes: What was done, for (0012,0064).
        reasons: Why a person has to look.
    """

    attributes: FileDataset
    boxes: tuple[tuple[Box, ...], ...] = ()
    codes: tuple[Code, ...] = ()
    reasons: tuple[Reason, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether pixels are others now."""
        return any(self.boxes)


def find_engine(profile: Profile) -> BurnedInTextFinder | None:
    """Return the engine that a profile asks for, loaded; None if it reads no pixels.

    Make it once in a process. Also loads the rules for devices if the profile uses them.

    Raises:
        InvalidRequest: What the profile needs is not installed.
    """
    if profile.pixels.text is TextPolicy.NONE:
        return None
    if profile.pixels.boxes:
        open_rules()
    return open_engine(profile.pixels.finder)


def describe_engine(profile: Profile) -> str:
    """Return the name of what `find_engine` loads, without loading it; empty for none.

    Raises:
        InvalidRequest: What the profile needs is not installed.
    """
    if profile.pixels.text is TextPolicy.NONE:
        return ""
    if profile.pixels.boxes:
        require_rules()
    return engines.describe_engine(profile.pixels.finder)


def clean_pixels(
    attributes: FileDataset,
    profile: Profile,
    identifiers: Identifiers,
    engine: BurnedInTextFinder | None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> CleanedPixels:
    """Take text out of an instance's pixels.

    Args:
        attributes: The source; stays as it is.
        profile: Says which text goes.
        identifiers: What the header told.
        engine: From `find_engine`.
        is_stopped: Asked before each frame; an instance may have thousands.

    Raises:
        InterruptedError: It was stopped.
    """
    if engine is None or not _may_have_text(attributes):
        return CleanedPixels(attributes)
    try:
        frames = Frames(attributes)
        if not frames.can_be_read():
            return CleanedPixels(attributes, reasons=(_tell("unreadable-pixels"),))
        reader = _Reader(attributes, profile.pixels, identifiers, engine)
        found = reader.read(frames, is_stopped)
    except BrokenInstance:
        return CleanedPixels(attributes, reasons=(_tell("broken-pixels"),))
    reasons = (_tell("residual-text"),) if reader.is_unsure else ()
    cleaned = _copy(attributes)
    put(cleaned, "BurnedInAnnotation", "NO")
    if not any(found):
        return CleanedPixels(cleaned, (), (CLEAN_PIXELS,), reasons)
    scrub(cleaned, frames, found)
    return CleanedPixels(cleaned, found, (CLEAN_PIXELS,), reasons)


def black_boxes(attributes: FileDataset, boxes: Sequence[Sequence[Box]]) -> CleanedPixels:
    """Black boxes that a person drew.

    Args:
        attributes: Stay as they are.
        boxes: Of each frame; one list for all of them is taken for each.

    Raises:
        BrokenInstance: A frame cannot be decoded.
    """
    frames = Frames(attributes)
    pixel = frames.pixel
    each = list(boxes) * pixel.frames if len(boxes) == 1 else list(boxes)
    clipped = tuple(
        drop_covered(box.clip(pixel.columns, pixel.rows) for box in own) for own in each
    )
    cleaned = _copy(attributes)
    scrub(cleaned, frames, clipped)
    put(cleaned, "BurnedInAnnotation", "NO")
    return CleanedPixels(cleaned, clipped, (CLEAN_PIXELS,))


class _Reader:
    """Finds what has to be blacked in the frames of one instance."""

    def __init__(
        self,
        attributes: FileDataset,
        policy: PixelPolicy,
        identifiers: Identifiers,
        engine: BurnedInTextFinder,
    ) -> None:
        self.is_unsure = False
        self._attributes = attributes
        self._policy = policy
        self._identifiers = identifiers
        self._engine = engine
        self._modality = str(attributes.get("Modality") or "OT")
        self._known: dict[bytes, tuple[Box, ...]] = {}
        self._fixed: tuple[Box, ...] = ()
        self._banner: tuple[Box, ...] = ()
        self._is_screen = False
        if policy.boxes:
            self._fixed = open_rules().find_boxes(attributes)
            self._banner = find_banner(attributes)

    def read(self, frames: Frames, is_stopped: Callable[[], bool]) -> tuple[tuple[Box, ...], ...]:
        found = []
        self._is_screen = all(self._is_flat(frames, stored) for stored in frames.stored())
        for stored in frames.stored():
            if is_stopped():
                raise InterruptedError
            digest = hashlib.sha256(stored).digest()
            if digest not in self._known:  # equal frames are read once
                self._known[digest] = self._find_boxes(*frames.samples(stored))
            found.append(self._known[digest])
        return tuple(found)

    def _find_boxes(self, samples: Array, photometric: str) -> tuple[Box, ...]:
        rows, columns = samples.shape[:2]
        if min(rows, columns) < _LEAST_SIDE:
            return ()
        banner = tuple(one for one in self._banner if self._is_banner(samples, photometric, one))
        boxes = [
            box
            for one in self._fixed + banner
            if (box := one.clip(columns, rows)).area and not _is_even(samples, box)
        ]
        cleared: list[Box] = []
        for _ in range(_ROUNDS):
            lines = self._find_lines(black(samples, boxes, photometric), photometric, cleared)
            if not lines:
                return drop_covered(boxes)
            boxes += [box.clip(columns, rows) for box in lines]
        self.is_unsure = True
        return drop_covered(boxes)

    def _is_banner(self, samples: Array, photometric: str, strip: Box) -> bool:
        """Tell whether the strip above the regions is a screen's, rather than a part of the image.

        Some devices tell of regions that begin within their image.
        """
        if self._is_screen:
            return True
        pictures = make_pictures(samples, photometric, self._attributes)
        tiles = (tile for picture in pictures for tile in cut_tiles(picture))
        return any(
            strip.overlap(line.box.shift(left, top))
            for left, top, tile in tiles
            for line in self._engine.find(tile)
        )

    def _is_flat(self, frames: Frames, stored: bytes) -> bool:
        """Tell whether the strip above the regions is mostly of one colour in a frame.

        A screen's strip is that in each frame of a loop: where one is not, what lies there moves.
        """
        if not self._banner:
            return False
        samples, _ = frames.samples(stored)
        return all(
            _is_mostly_flat(samples[strip.top : strip.bottom, strip.left : strip.right])
            for strip in self._banner
        )

    def _find_lines(self, samples: Array, photometric: str, cleared: list[Box]) -> list[Box]:
        """Return where lines are that must go, and note where others are that may stay.

        A line that may stay is not judged anew when it is read for the second time, between black
        boxes and worse: then only an identifier in it counts.
        """
        known, found = tuple(cleared), []
        for picture in make_pictures(samples, photometric, self._attributes):
            for left, top, tile in cut_tiles(picture):
                for line in self._engine.find(tile):
                    box = line.box.shift(left, top)
                    if any(box.overlap(other) > _SAME * box.area for other in known):
                        goes = tells_who(line.text, self._identifiers)
                    else:
                        goes = must_go(line, self._policy, self._modality, self._identifiers)
                    if goes:
                        found.append(box.pad(max(_LEAST_MARGIN, round(_MARGIN * box.height))))
                    else:
                        cleared.append(box)
        return found


def _is_mostly_flat(part: Array) -> bool:
    pixels = part.reshape(-1, part.shape[2] if part.ndim == 3 else 1).astype(float)
    if not len(pixels):
        return False
    near = np.abs(pixels - np.median(pixels, axis=0)) <= _NEAR
    return bool(near.all(axis=1).mean() >= _FLAT_SHARE)


def _is_even(samples: Array, box: Box) -> bool:
    """Tell whether a box holds one value, so that nothing can stand there."""
    part = samples[box.top : box.bottom, box.left : box.right]
    return bool(np.all(part == part[0, 0]))


def _may_have_text(attributes: FileDataset) -> bool:
    if "PixelData" not in attributes or not attributes.PixelData:
        return False
    is_mask = attributes.get("Modality") == "SEG" and attributes.get("BitsAllocated") == 1
    return not is_mask


def _tell(code: str) -> Reason:
    return Reason(Verdict.REVIEW, code, "7FE00010")


def _copy(attributes: FileDataset) -> FileDataset:
    """Return a data set whose elements can be replaced without touching the source's.

    (`copy.copy` of pydicom's shares them.)
    """
    implicit, little_endian = attributes.original_encoding
    copied = FileDataset(
        io.BytesIO(),
        {tag: attributes.get_item(tag) for tag in list(attributes.keys())},
        file_meta=copy.deepcopy(attributes.file_meta),
        preamble=attributes.preamble,
        is_implicit_VR=bool(implicit),
        is_little_endian=little_endian is not False,
    )
    inherit_encoding(attributes, copied)
    return copied
