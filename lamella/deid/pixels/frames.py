"""The frames of a data set, one by one, as samples; and how new ones get back into it.

Source:
    PS3.5 §8 and Annex A.4; PS3.3 §C.7.6.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom import DataElement, FileDataset
from pydicom.datadict import dictionary_VR
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.tag import Tag
from pydicom.uid import UID

from lamella.errors import BrokenInstance
from lamella.imaging.decoders import PixelDescription, can_decode
from lamella.imaging.samples import read_samples

Array = np.ndarray[Any, Any]

_LARGEST_OFFSET = 0xFFFFFFFF
_EXTENDED = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")


class Frames:
    """The frames of one instance.

    Attributes:
        pixel: What they are like; `frames` counts them.
        is_encapsulated: Whether they are codestreams.
    """

    def __init__(self, attributes: FileDataset) -> None:
        """Look at a data set that has Pixel Data.

        Raises:
            BrokenInstance: Its attributes make no sense, or pixels are missing.
        """
        self._attributes = attributes
        uid = UID(str(attributes.file_meta.TransferSyntaxUID))
        is_known = uid.is_transfer_syntax  # of what pydicom does not know, it tells nothing
        self.is_encapsulated = not is_known or uid.is_encapsulated
        self._is_big_endian = is_known and not uid.is_little_endian
        self.pixel = describe_pixels(attributes)
        self._value = self._read_value()
        if not self.is_encapsulated and len(self._value) < self._native_bytes * self.pixel.frames:
            raise BrokenInstance("The pixel data are shorter than their attributes say.")

    def _read_value(self) -> bytes:
        """Return Pixel Data; bytes that lie in words of big endian (PS3.5 §8.1.1), in their order.

        What is made of them is written as OB, whose bytes have no other order.
        """
        value: bytes = self._attributes.PixelData
        in_words = self._is_big_endian and self._attributes["PixelData"].VR == "OW"
        if not in_words or self.pixel.bits_allocated != 8 or len(value) % 2:
            return value
        return np.frombuffer(value, "u2").byteswap().tobytes()

    @property
    def _is_subsampled(self) -> bool:
        return (
            not self.is_encapsulated
            and self.pixel.photometric_interpretation in ("YBR_FULL_422", "YBR_PARTIAL_422")
            and len(self._value) < self.pixel.value_bytes
        )

    @property
    def _native_bytes(self) -> int:
        size = self.pixel.frame_bytes
        return size // 3 * 2 if self._is_subsampled else size

    def can_be_read(self) -> bool:
        """Tell whether there is a decoder, and samples that can show letters."""
        return self.pixel.bits_allocated in (8, 16, 32) and (
            not self.is_encapsulated or can_decode(self.pixel.transfer_syntax_uid)
        )

    def stored(self) -> Iterator[bytes]:
        """Yield each frame as it is stored, little endian.

        Raises:
            BrokenInstance: There are fewer codestreams than frames.
        """
        if self.is_encapsulated:
            yield from self._codestreams()
            return
        size = self._native_bytes
        for start in range(0, size * self.pixel.frames, size):
            yield self._swap(self._value[start : start + size])

    def samples(self, stored: bytes) -> tuple[Array, str]:
        """Return a frame's samples, with their sign, and their Photometric Interpretation.

        Raises:
            BrokenInstance: It cannot be decoded.
        """
        samples, photometric = read_samples(stored, self.pixel)
        if self.pixel.pixel_representation:
            samples = samples.view(f"i{samples.dtype.itemsize}")
        return samples, photometric

    def join_native(self, frames: Sequence[bytes]) -> bytes:
        """Return Pixel Data of native frames, in this instance's byte order."""
        value = b"".join(self._swap(frame) for frame in frames)
        return value + b"\0" * (len(value) % 2)

    def _codestreams(self) -> Iterator[bytes]:
        count = 0
        tables = [self._attributes.get(name) for name in _EXTENDED]
        offsets = (tables[0], tables[1]) if all(tables) else None
        try:
            for frame in generate_frames(
                self._value, number_of_frames=self.pixel.frames, extended_offsets=offsets
            ):
                count += 1
                yield frame
        except (ValueError, TypeError, LookupError) as error:
            raise BrokenInstance("The encapsulated pixel data are broken.") from error
        if count != self.pixel.frames:
            raise BrokenInstance("There are not as many codestreams as frames.")

    def _swap(self, frame: bytes) -> bytes:
        width = self.pixel.bits_allocated // 8
        if not self._is_big_endian or width < 2:
            return frame
        return np.frombuffer(frame, f">u{width}").astype(f"<u{width}").tobytes()


def describe_pixels(attributes: FileDataset) -> PixelDescription:
    """Return what decoding has to know of an instance.

    Raises:
        BrokenInstance: An attribute is missing or makes no sense.
    """
    names = {
        "00280002": "SamplesPerPixel",
        "00280004": "PhotometricInterpretation",
        "00280006": "PlanarConfiguration",
        "00280008": "NumberOfFrames",
        "00280010": "Rows",
        "00280011": "Columns",
        "00280100": "BitsAllocated",
        "00280101": "BitsStored",
        "00280103": "PixelRepresentation",
    }
    values = {tag: attributes.get(name) for tag, name in names.items()}
    document = {tag: {"Value": [value]} for tag, value in values.items() if value not in (None, "")}
    return PixelDescription.from_dicom_json(document, str(attributes.file_meta.TransferSyntaxUID))


def put_native(attributes: FileDataset, value: bytes, bits_allocated: int) -> None:
    """Give a data set native Pixel Data."""
    vr = "OW" if bits_allocated > 8 else "OB"
    if attributes.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2":
        vr = "OW"  # PS3.5 §A.1
    attributes["PixelData"] = DataElement(0x7FE00010, vr, value)
    _drop_offsets(attributes)


def put_codestreams(attributes: FileDataset, codestreams: Sequence[bytes]) -> None:
    """Give a data set encapsulated Pixel Data, one fragment a frame."""
    total = sum(len(codestream) + 9 for codestream in codestreams)
    _drop_offsets(attributes)
    if total > _LARGEST_OFFSET:
        value, offsets, lengths = encapsulate_extended(list(codestreams))
        attributes.ExtendedOffsetTable, attributes.ExtendedOffsetTableLengths = offsets, lengths
    else:
        value = encapsulate(list(codestreams))
    element = DataElement(0x7FE00010, "OB", value)
    element.is_undefined_length = True
    attributes["PixelData"] = element


def put(attributes: FileDataset, keyword: str, value: object) -> None:
    """Give a data set an element of its own; to assign would change one that it shares."""
    tag = Tag(keyword)
    attributes[tag] = DataElement(tag, dictionary_VR(tag), value)


def describe_as(pixel: PixelDescription, photometric: str) -> PixelDescription:
    """Return a description of the same pixels in another colour space."""
    return replace(pixel, photometric_interpretation=photometric)


def _drop_offsets(attributes: FileDataset) -> None:
    for name in _EXTENDED:
        if name in attributes:
            del attributes[name]
