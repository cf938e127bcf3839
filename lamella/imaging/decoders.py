"""Compressed frames to native little endian, by imagecodecs and zlib; never GDCM.

What comes out is one frame as Explicit VR Little Endian would hold it: Bits Allocated as
declared, pixel by pixel (Planar Configuration 0), signed values extended over their container,
1-bit pixels packed from the least significant bit.

Colour after decoding:

- JPEG with a DCT (baseline, extended, progressive) whose codestream is YCbCr becomes RGB, as
  `pydicom.Dataset.decompress()` makes it (to within rounding: libjpeg converts, not floats).
- JPEG 2000 and HTJ2K: YBR_ICT and YBR_RCT become RGB, which is what the decoder returns.
- RLE, JPEG-LS, lossless JPEG and JPEG 2000 that hold YBR_FULL keep it, because conversion would
  cost the losslessness that their owner paid for (pydicom converts); YBR_FULL_422 becomes
  YBR_FULL, because nothing is subsampled any more.

A decoder can crash or hang on a broken codestream: only `lamella.imaging.worker` calls this.

Source:
    PS3.5 §8.2 and Annexes A.4 and G; PS3.3 §C.7.6.3.1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamella.errors import BrokenInstance, NotAcceptable
from lamella.imaging.codestreams import (
    CodestreamHeader,
    read_jpeg2000_header,
    read_jpeg_header,
)

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# One frame, decoded; more than any detector makes, less than what takes a machine down.
MAX_FRAME_BYTES = 1 << 30
# Where a JPEG's end marker has to be; some writers pad more than they should.
_END_OF_IMAGE = b"\xff\xd9"
_END_SEARCH_BYTES = 4096

_PREFIX = "1.2.840.10008.1.2."
_JPEG_DCT = frozenset(_PREFIX + f"4.{number}" for number in (50, 51, 52, 53, 54, 55, 56))
_JPEG_LOSSLESS = frozenset(_PREFIX + f"4.{number}" for number in (57, 58, 70))
_JPEG_LS = frozenset(_PREFIX + suffix for suffix in ("4.80", "4.81"))
_JPEG_2000 = frozenset(_PREFIX + suffix for suffix in ("4.90", "4.91", "4.92", "4.93"))
_HTJ2K_LOSSLESS = frozenset(_PREFIX + suffix for suffix in ("4.201", "4.202"))
_HTJ2K = _HTJ2K_LOSSLESS | {_PREFIX + "4.203"}
_JPEG_XL = frozenset(_PREFIX + suffix for suffix in ("4.110", "4.111", "4.112"))
_RLE = frozenset({_PREFIX + "5"})
_DEFLATED_FRAME = frozenset({_PREFIX + "8.1"})
_ENCAPSULATED_UNCOMPRESSED = frozenset({_PREFIX + "1.98"})
_SIGNLESS = _JPEG_DCT | _JPEG_LOSSLESS | _JPEG_LS | _JPEG_XL


@dataclass(frozen=True)
class PixelDescription:
    """The Image Pixel attributes that decoding needs.

    Attributes:
        samples: Samples per Pixel.
        pixel_representation: 0 unsigned, 1 two's complement.
        planar_configuration: 0 by pixel, 1 by plane; of the stored form.
        frames: Number of Frames, 1 if absent.

    Source:
        PS3.3 §C.7.6.3.1 and §C.7.6.6.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    photometric_interpretation: str
    planar_configuration: int
    transfer_syntax_uid: str
    frames: int = 1

    @classmethod
    def from_dicom_json(
        cls, attributes: Mapping[str, Any], transfer_syntax_uid: str
    ) -> PixelDescription:
        """Return the description that an instance's DICOM JSON gives.

        Raises:
            BrokenInstance: An attribute that decoding needs is missing or makes no sense.
        """

        def number(tag: str, default: int = 0) -> int:
            value = _first_value(attributes, tag)
            if value is None:
                return default
            try:
                return int(value)
            except (TypeError, ValueError):
                raise BrokenInstance(f"Attribute {tag} is no number.") from None

        bits_allocated = number("00280100")
        pixel = cls(
            rows=number("00280010"),
            columns=number("00280011"),
            samples=number("00280002", 1),
            bits_allocated=bits_allocated,
            bits_stored=number("00280101", bits_allocated),
            pixel_representation=number("00280103"),
            photometric_interpretation=str(_first_value(attributes, "00280004") or ""),
            planar_configuration=number("00280006"),
            transfer_syntax_uid=transfer_syntax_uid,
            frames=number("00280008", 1),
        )
        pixel.check()
        return pixel

    @property
    def pixels(self) -> int:
        """Samples of one frame."""
        return self.rows * self.columns * self.samples

    @property
    def frame_bytes(self) -> int:
        """Length of one decoded frame; 1-bit frames are rounded up to a byte."""
        return (self.pixels * self.bits_allocated + 7) // 8

    @property
    def value_bytes(self) -> int:
        """Length of the native Pixel Data value of all frames, without padding."""
        return (self.pixels * self.bits_allocated * self.frames + 7) // 8

    def check(self) -> None:
        """Raise unless the description can be decoded by.

        Raises:
            BrokenInstance: It cannot.
        """
        is_sound = (
            0 < self.rows < 1 << 16
            and 0 < self.columns < 1 << 16
            and self.samples in (1, 3)
            and self.bits_allocated in (1, 8, 16, 32, 64)
            and 0 < self.bits_stored <= self.bits_allocated
            and self.pixel_representation in (0, 1)
            and self.frames > 0
        )
        if not is_sound or (self.bits_allocated == 1 and self.samples != 1):
            raise BrokenInstance("The instance's pixel attributes are missing or contradictory.")
        if self.frame_bytes > MAX_FRAME_BYTES:
            raise BrokenInstance(f"A frame would be longer than {MAX_FRAME_BYTES} bytes.")


def _first_value(attributes: Mapping[str, Any], tag: str) -> Any:
    values = attributes.get(tag, {}).get("Value") or [None]
    return values[0]


@dataclass(frozen=True)
class DecodedFrame:
    """A native frame, and the Photometric Interpretation that it now has."""

    data: bytes
    photometric_interpretation: str


def can_decode(transfer_syntax_uid: str) -> bool:
    """Tell whether frames of an encapsulated transfer syntax can be decoded (video cannot)."""
    return transfer_syntax_uid in _DECODERS


def decode_frame(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    """Decode one frame.

    Args:
        codestream: All fragments of the frame, joined.
        pixel: From the same instance.

    Raises:
        NotAcceptable: There is no decoder for the transfer syntax.
        BrokenInstance: The codestream is broken, or is not what the attributes say.

    Source:
        PS3.5 §8.2 and Annex A.4.
    """
    decoder = _DECODERS.get(pixel.transfer_syntax_uid)
    if decoder is None:
        raise NotAcceptable(f"Frames of {pixel.transfer_syntax_uid} cannot be decoded.")
    pixel.check()
    try:
        decoded = decoder(codestream, pixel)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, MemoryError, zlib.error) as error:
        raise _broken(pixel, type(error).__name__) from error
    if len(decoded.data) != pixel.frame_bytes:
        raise _broken(pixel, "wrong length")
    return decoded


def _broken(pixel: PixelDescription, why: str) -> BrokenInstance:
    return BrokenInstance(f"A frame of {pixel.transfer_syntax_uid} cannot be decoded ({why}).")


def _check_header(header: CodestreamHeader | None, pixel: PixelDescription) -> CodestreamHeader:
    """Return the header if it agrees with the attributes.

    Raises:
        BrokenInstance: It is missing, or tells of another image.
    """
    if header is None:
        raise _broken(pixel, "no header")
    own = (header.rows, header.columns, header.samples)
    if own != (pixel.rows, pixel.columns, pixel.samples):
        raise _broken(pixel, "other dimensions than the attributes")
    if header.precision > max(8, pixel.bits_allocated):
        raise _broken(pixel, "more bits than the attributes")
    return header


def _native(array: Array, pixel: PixelDescription, precision: int, *, is_signed: bool) -> bytes:
    """Return decoded samples in the container and sign that the attributes declare.

    Args:
        array: Shape (rows, columns) or (rows, columns, samples), any integer type.
        precision: Bits of the codestream's samples.
        is_signed: Whether the codestream said so. Where it differs from Pixel Representation
            the bits are kept and read as that says.
    """
    import numpy as np

    if array.size != pixel.pixels:
        raise _broken(pixel, "wrong length")
    if pixel.bits_allocated == 1:
        return np.packbits(array.reshape(-1) != 0, bitorder="little").tobytes()
    if array.dtype.itemsize * 8 > pixel.bits_allocated:
        raise _broken(pixel, "more bits than the attributes")
    kind = "i" if pixel.pixel_representation else "u"
    same_size = array.astype(f"<{array.dtype.kind}{array.dtype.itemsize}", copy=False)
    values = np.ascontiguousarray(same_size).view(f"<{kind}{array.dtype.itemsize}")
    shift = 8 * array.dtype.itemsize - precision
    if shift > 0 and is_signed != bool(pixel.pixel_representation):
        values = np.right_shift(np.left_shift(values, shift), shift)
    return values.astype(f"<{kind}{pixel.bits_allocated // 8}", copy=False).tobytes()


def _without_subsampling(photometric_interpretation: str) -> str:
    is_subsampled = photometric_interpretation in ("YBR_FULL_422", "YBR_PARTIAL_422")
    return "YBR_FULL" if is_subsampled else photometric_interpretation


def _is_ycbcr(header: CodestreamHeader, pixel: PixelDescription) -> bool:
    """Tell whether a three-component JPEG holds YCbCr: its markers know better than attributes."""
    if header.component_ids in (b"RGB", b"rgb"):
        return False
    if header.has_jfif:
        return True
    if header.adobe_transform is not None:
        return header.adobe_transform == 1
    return pixel.photometric_interpretation.startswith("YBR")


def _decode_jpeg(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    from imagecodecs import jpeg8_decode

    header = _check_header(read_jpeg_header(codestream), pixel)
    photometric = pixel.photometric_interpretation
    # libjpeg fills what is missing with grey and calls it a warning.
    if _END_OF_IMAGE not in codestream[-_END_SEARCH_BYTES:]:
        raise _broken(pixel, "cut short")
    if pixel.samples == 1:
        array = jpeg8_decode(codestream)
    elif pixel.transfer_syntax_uid in _JPEG_DCT:
        space = "YCBCR" if _is_ycbcr(header, pixel) else "RGB"
        array = jpeg8_decode(codestream, colorspace=space, outcolorspace="RGB")
        photometric = "RGB"
    else:
        array = jpeg8_decode(codestream, colorspace="RGB", outcolorspace="RGB")
        photometric = _without_subsampling(photometric)
    return DecodedFrame(_native(array, pixel, header.precision, is_signed=False), photometric)


def _decode_jpeg_ls(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    from imagecodecs import jpegls_decode

    header = _check_header(read_jpeg_header(codestream), pixel)
    # CharLS looks for more of a codestream that is cut short, for ever, unless it meets an end.
    if _END_OF_IMAGE not in codestream[-_END_SEARCH_BYTES:]:
        codestream += _END_OF_IMAGE
    data = _native(jpegls_decode(codestream), pixel, header.precision, is_signed=False)
    return DecodedFrame(data, _without_subsampling(pixel.photometric_interpretation))


def _decode_jpeg_2000(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    from imagecodecs import htj2k_decode, jpeg2k_decode

    header = _check_header(read_jpeg2000_header(codestream), pixel)
    # OpenJPH is several times faster but does not clip irreversible samples: 255 comes out as 0.
    if pixel.transfer_syntax_uid in _HTJ2K_LOSSLESS:
        array = htj2k_decode(codestream, planar=False)  # else only with a colour transform
    else:
        array = jpeg2k_decode(codestream, numthreads=1)
    photometric = pixel.photometric_interpretation
    if photometric in ("YBR_ICT", "YBR_RCT"):
        photometric = "RGB"
    data = _native(array, pixel, header.precision, is_signed=header.is_signed)
    return DecodedFrame(data, _without_subsampling(photometric))


def _decode_jpeg_xl(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    from imagecodecs import jpegxl_decode

    array = jpegxl_decode(codestream, numthreads=1)
    if array.shape[:2] != (pixel.rows, pixel.columns):
        raise _broken(pixel, "other dimensions than the attributes")
    # XYB and YCbCr are inner matters of JPEG XL; its decoder returns RGB.
    photometric = "RGB" if pixel.samples == 3 else pixel.photometric_interpretation
    return DecodedFrame(_native(array, pixel, pixel.bits_stored, is_signed=False), photometric)


def _decode_rle(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    """Undo PackBits; the segments hold one byte plane each, plane after plane.

    Source:
        PS3.5 Annex G.
    """
    import numpy as np
    from imagecodecs import dicomrle_decode

    itemsize = max(1, pixel.bits_allocated // 8)
    planes = int.from_bytes(codestream[:4], "little")
    if planes != itemsize * pixel.samples:
        raise _broken(pixel, "wrong number of segments")
    data = bytes(dicomrle_decode(codestream, f"<u{itemsize}"))
    photometric = _without_subsampling(pixel.photometric_interpretation)
    if pixel.bits_allocated == 1 and len(data) == pixel.pixels != pixel.frame_bytes:
        array = np.frombuffer(data, "u1")
        return DecodedFrame(_native(array, pixel, 1, is_signed=False), photometric)
    if pixel.samples > 1 and len(data) == pixel.frame_bytes:
        by_plane = np.frombuffer(data, f"<u{itemsize}").reshape(pixel.samples, -1)
        data = by_plane.T.tobytes()
    return DecodedFrame(data, photometric)


def _decode_deflated(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    # One byte more than needed, so that what is too long shows.
    data = zlib.decompressobj(-15).decompress(codestream, pixel.frame_bytes + 1)
    return _rearrange(data, pixel)


def _decode_uncompressed(codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
    return _rearrange(codestream[: pixel.frame_bytes], pixel)


def _rearrange(data: bytes, pixel: PixelDescription) -> DecodedFrame:
    """Return native bytes pixel by pixel."""
    import numpy as np

    by_plane = pixel.samples > 1 and pixel.planar_configuration == 1
    if by_plane and len(data) == pixel.frame_bytes:
        array = np.frombuffer(data, f"<u{pixel.bits_allocated // 8}")
        data = array.reshape(pixel.samples, -1).T.tobytes()
    return DecodedFrame(data, pixel.photometric_interpretation)


_Decoder = Callable[[bytes, PixelDescription], DecodedFrame]
_DECODERS: dict[str, _Decoder] = {
    uid: decoder
    for uids, decoder in (
        (_JPEG_DCT | _JPEG_LOSSLESS, _decode_jpeg),
        (_JPEG_LS, _decode_jpeg_ls),
        (_JPEG_2000 | _HTJ2K, _decode_jpeg_2000),
        (_JPEG_XL, _decode_jpeg_xl),
        (_RLE, _decode_rle),
        (_DEFLATED_FRAME, _decode_deflated),
        (_ENCAPSULATED_UNCOMPRESSED, _decode_uncompressed),
    )
    for uid in uids
}
