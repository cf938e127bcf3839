"""Boxes that a person drew, blacked in a copy, which is then read again like any new one.

Runs in a process of its own (`crew.run_apart`): what it decodes may be broken.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pydicom
from pydicom import FileDataset

from lamella.deid.codes import CLEAN_PIXELS
from lamella.deid.identifiers import collect
from lamella.deid.lenient import lenient
from lamella.deid.marks import mark_more
from lamella.deid.pixels.boxes import Box
from lamella.deid.pixels.cleaning import black_boxes, clean_pixels, find_engine
from lamella.deid.pixels.frames import describe_pixels
from lamella.deid.profiles import Profile
from lamella.deid.results import Cleaned, Verdict
from lamella.deid.verification import verify
from lamella.deid.writing import write
from lamella.errors import BrokenInstance, Conflict, InvalidRequest

EVERY_FRAME = 0


@dataclass(frozen=True, slots=True)
class Redacted:
    """What became of a copy.

    Attributes:
        data: Its new file.
        drawn: What was blacked now, of each frame.
        left: What an engine still takes for text that has to go, of each frame.
    """

    data: bytes
    drawn: tuple[tuple[Box, ...], ...]
    left: tuple[tuple[Box, ...], ...]


def redact(
    copy: bytes, original: bytes, profile: Profile, boxes: Mapping[int, Sequence[Box]]
) -> Redacted:
    """Black boxes in a copy and examine it as a new one.

    Args:
        copy: The file of a de-identified instance.
        original: The file that it was made of: nothing that it tells may be in the copy.
        profile: What it was made by.
        boxes: By frame number from 1; those of `EVERY_FRAME` count for all.

    Raises:
        InvalidRequest: A box lies outside of its frame, or the frame is not there.
        Conflict: The pixels cannot be decoded, or the result does not pass.
    """
    with lenient():
        attributes = pydicom.dcmread(io.BytesIO(copy))
        source = pydicom.dcmread(io.BytesIO(original))
    identifiers = collect(source, profile)
    try:
        blacked = black_boxes(attributes, _spread(attributes, boxes))
    except BrokenInstance as error:
        raise Conflict("The pixels cannot be decoded, so that nothing can be blacked.") from error
    mark_more(blacked.attributes, CLEAN_PIXELS)
    again = clean_pixels(blacked.attributes, profile, identifiers, find_engine(profile))
    cleaned = Cleaned(
        attributes=blacked.attributes,
        changes=(),
        verdict=Verdict.PASS,
        reasons=(),
        codes=(),
        uids={},
        kept_uids=collect(attributes, profile).uids,  # they are new since it was made
        patients={},
        identifiers=identifiers,
    )
    written = write(cleaned)
    _check(written, cleaned)
    return Redacted(written, blacked.boxes, again.boxes)


def _check(written: bytes, cleaned: Cleaned) -> None:
    reasons = verify(written, cleaned)
    if reasons:
        codes = ", ".join(dict.fromkeys(reason.code for reason in reasons))
        raise Conflict(f"The redacted copy does not pass: {codes}.")


def _spread(attributes: FileDataset, boxes: Mapping[int, Sequence[Box]]) -> list[list[Box]]:
    """Return the boxes of each frame."""
    if "PixelData" not in attributes:
        raise Conflict("The instance has no pixels.")
    pixel = describe_pixels(attributes)
    for frame_number, own in boxes.items():
        if frame_number > pixel.frames:
            raise InvalidRequest(f"There is no frame {frame_number} among {pixel.frames}.")
        if any(box.clip(pixel.columns, pixel.rows) != box or not box.area for box in own):
            raise InvalidRequest(
                f"A box lies outside of the {pixel.columns} x {pixel.rows} pixels of a frame."
            )
    always = list(boxes.get(EVERY_FRAME, ()))
    return [[*always, *boxes.get(number, ())] for number in range(1, pixel.frames + 1)]
