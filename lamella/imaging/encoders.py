"""Frames into compressed transfer syntaxes, by imagecodecs.

Lossless targets keep every bit: also bits above Bits Stored, for which the codestream is then as
wide as Bits Allocated. Signed samples go into JPEG and JPEG-LS, which have no sign, as the bits
that they are.

Colour: RGB becomes YBR_RCT or YBR_ICT within JPEG 2000 and HTJ2K, YBR_FULL_422 in JPEG baseline,
and stays RGB elsewhere; YBR_FULL stays what it is.

Source:
    PS3.5 §8.2 and Annexes A.4 and G; PS3.3 §C.7.6.3.1.2, §C.7.6.1.1.5 (methods).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamella.errors import NotAcceptable
from lamella.imaging.decoders import PixelDescription

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_PREFIX = "1.2.840.10008.1.2."
JPEG_BASELINE, JPEG_EXTENDED = _PREFIX + "4.50", _PREFIX + "4.51"
JPEG_LOSSLESS, JPEG_LOSSLESS_SV1 = _PREFIX + "4.57", _PREFIX + "4.70"
JPEG_LS, JPEG_LS_NEAR = _PREFIX + "4.80", _PREFIX + "4.81"
JPEG_2000_LOSSLESS, JPEG_2000 = _PREFIX + "4.90", _PREFIX + "4.91"
HTJ2K_LOSSLESS, HTJ2K_RPCL, HTJ2K = (_PREFIX + f"4.{number}" for number in (201, 202, 203))
RLE = _PREFIX + "5"

_QUALITY = 90
_NEAR = 2  # grey values that a sample may be off
# PSNR in dB, at which artefacts are hard to find; deep samples are windowed, which enlarges them
_PSNR_8_BITS, _PSNR_DEEP = 50, 70
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class EncodedFrame:
    """A codestream, and the attributes that belong to it."""

    data: bytes
    photometric_interpretation: str


@dataclass(frozen=True)
class Target:
    """A transfer syntax that frames are encoded in.

    Attributes:
        encode: Samples to a codestream.
        lossy_method: Term of (0028,2114); empty for lossless ones.
        planar_configuration: Of images with several samples.
    """

    encode: Callable[[Array, PixelDescription, str], EncodedFrame]
    lossy_method: str = ""
    planar_configuration: int = 0


def can_encode(transfer_syntax_uid: str, pixel: PixelDescription) -> bool:
    """Tell whether frames can be given in a transfer syntax.

    Args:
        transfer_syntax_uid: The one asked for.
        pixel: Of the instance as it is stored; it may be an image of floats, which has none.
    """
    target = TARGETS.get(transfer_syntax_uid)
    if target is None or pixel.bits_allocated not in (8, 16, 32):
        return False
    if transfer_syntax_uid == RLE:
        return True
    if pixel.bits_allocated == 32 or pixel.bits_stored < 2:
        return False
    known = _MONOCHROME if pixel.samples == 1 else _COLOUR
    is_known = pixel.photometric_interpretation in known
    if transfer_syntax_uid in (JPEG_BASELINE, JPEG_EXTENDED):
        most_bits = 8 if transfer_syntax_uid == JPEG_BASELINE or pixel.samples > 1 else 12
        return is_known and pixel.bits_stored <= most_bits and not pixel.pixel_representation
    return is_known or (not target.lossy_method and pixel.samples == 1)


def encode_frame(data: bytes, pixel: PixelDescription, transfer_syntax_uid: str) -> EncodedFrame:
    """Encode one frame.

    Args:
        data: As for `samples.read_samples`: a codestream or native pixels.
        pixel: Of the same instance.
        transfer_syntax_uid: One that `can_encode` allows.

    Raises:
        NotAcceptable: There is no encoder for these pixels.
        BrokenInstance: The frame is broken.
    """
    from lamella.imaging.samples import read_samples

    if not can_encode(transfer_syntax_uid, pixel):
        raise NotAcceptable(f"These pixels cannot be given in {transfer_syntax_uid}.")
    samples, photometric = read_samples(data, pixel)
    return TARGETS[transfer_syntax_uid].encode(samples, pixel, photometric)


def _measure_bits(samples: Array, pixel: PixelDescription) -> int:
    """Return how many bits hold every sample: Bits Stored, unless some use others as well."""
    container, stored = pixel.bits_allocated, pixel.bits_stored
    if container == stored:
        return container
    kept = samples & samples.dtype.type((1 << stored) - 1)
    if pixel.pixel_representation:
        sign = samples.dtype.type(1 << (stored - 1))
        kept = (kept ^ sign) - sign  # wraps around, which extends the sign within the container
    return stored if (kept == samples).all() else container


def _sign(samples: Array, pixel: PixelDescription) -> Array:
    """Return samples with the sign that Pixel Representation declares."""
    kind = "i" if pixel.pixel_representation else "u"
    return samples.view(f"{kind}{samples.dtype.itemsize}")


def _encode_jpeg(samples: Array, pixel: PixelDescription, photometric: str) -> EncodedFrame:
    """Encode with a DCT: 8 bits, or 12 for deeper grey."""
    import numpy as np
    from imagecodecs import jpeg8_encode

    samples = samples & samples.dtype.type((1 << pixel.bits_stored) - 1)
    if pixel.bits_stored <= 8:
        samples = np.ascontiguousarray(samples, "u1")
        if pixel.samples == 1:
            return EncodedFrame(bytes(jpeg8_encode(samples, level=_QUALITY)), photometric)
        space = "RGB" if photometric == "RGB" else "YCBCR"
        encoded = jpeg8_encode(
            samples,
            level=_QUALITY,
            colorspace=space,
            outcolorspace="YCBCR",
            subsampling="422",
        )
        return EncodedFrame(bytes(encoded), "YBR_FULL_422")
    return EncodedFrame(
        bytes(jpeg8_encode(np.ascontiguousarray(samples), level=_QUALITY, bitspersample=12)),
        photometric,
    )


def _encode_jpeg_lossless(
    samples: Array, pixel: PixelDescription, photometric: str
) -> EncodedFrame:
    import numpy as np
    from imagecodecs import jpeg8_encode

    bits = _measure_bits(samples, pixel)
    samples = np.ascontiguousarray(samples & samples.dtype.type((1 << bits) - 1))
    if bits <= 8:
        samples = samples.astype("u1")
    encoded = jpeg8_encode(
        samples,
        lossless=True,
        predictor=1,
        bitspersample=bits,
        # no conversion, whatever the samples are: it would lose some
        colorspace="RGB" if pixel.samples == 3 else None,
        outcolorspace="RGB" if pixel.samples == 3 else None,
    )
    return EncodedFrame(bytes(encoded), photometric)


def _encode_jpeg_ls(
    samples: Array, pixel: PixelDescription, photometric: str, *, near: int = 0
) -> EncodedFrame:
    import numpy as np
    from imagecodecs import jpegls_encode

    room = samples.nbytes + samples.nbytes // 2 + 1024  # noise grows, more than charls foresees
    encoded = jpegls_encode(np.ascontiguousarray(samples), level=near, out=room)
    return EncodedFrame(bytes(encoded), photometric)


def _encode_jpeg_ls_near(samples: Array, pixel: PixelDescription, photometric: str) -> EncodedFrame:
    return _encode_jpeg_ls(samples, pixel, photometric, near=_NEAR)


def _encode_jpeg_2000(
    samples: Array, pixel: PixelDescription, photometric: str, *, reversible: bool = True
) -> EncodedFrame:
    import numpy as np
    from imagecodecs import jpeg2k_encode

    is_rgb = photometric == "RGB"
    psnr = _PSNR_8_BITS if pixel.bits_stored <= 8 else _PSNR_DEEP
    encoded = jpeg2k_encode(
        np.ascontiguousarray(_sign(samples, pixel)),
        level=0 if reversible else psnr,
        codecformat="J2K",
        bitspersample=_measure_bits(samples, pixel),
        reversible=reversible,
        mct=is_rgb,
        numthreads=1,
    )
    own = "YBR_RCT" if reversible else "YBR_ICT"
    return EncodedFrame(bytes(encoded), own if is_rgb else photometric)


def _encode_jpeg_2000_lossy(
    samples: Array, pixel: PixelDescription, photometric: str
) -> EncodedFrame:
    return _encode_jpeg_2000(samples, pixel, photometric, reversible=False)


def _encode_htj2k(samples: Array, pixel: PixelDescription, photometric: str) -> EncodedFrame:
    """Encode reversibly, resolution by resolution (RPCL) and with a TLM marker.

    Source:
        PS3.5 Annex A.4.12 (constraints of HTJ2K Lossless RPCL, which all three get).
    """
    import numpy as np
    from imagecodecs import htj2k_encode

    is_rgb = photometric == "RGB"
    smallest = min(pixel.rows, pixel.columns)
    encoded = htj2k_encode(
        np.ascontiguousarray(_sign(samples, pixel)),
        reversible=True,
        rgb=is_rgb,
        tlm=True,
        resolutions=max(0, min(5, smallest.bit_length() - 6)),
    )
    return EncodedFrame(bytes(encoded), "YBR_RCT" if is_rgb else photometric)


def _encode_rle(samples: Array, pixel: PixelDescription, photometric: str) -> EncodedFrame:
    """Encode byte planes, most significant first, each row for itself.

    Source:
        PS3.5 Annex G.
    """
    import numpy as np
    from imagecodecs import packbits_encode

    itemsize = samples.dtype.itemsize
    octets = samples.reshape(pixel.rows, pixel.columns, pixel.samples).astype(f">u{itemsize}")
    octets = np.ascontiguousarray(octets).view("u1")
    octets = octets.reshape(pixel.rows, pixel.columns, pixel.samples * itemsize)
    segments = []
    for plane in range(octets.shape[2]):
        packed = bytes(packbits_encode(octets[:, :, plane].copy(), axis=1))
        segments.append(packed + b"\0" * (len(packed) % 2))
    offsets, position = [], 64
    for segment in segments:
        offsets.append(position)
        position += len(segment)
    header = struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments)))
    return EncodedFrame(header + b"".join(segments), photometric)


TARGETS: dict[str, Target] = {
    RLE: Target(_encode_rle, planar_configuration=1),
    JPEG_BASELINE: Target(_encode_jpeg, "ISO_10918_1"),
    JPEG_EXTENDED: Target(_encode_jpeg, "ISO_10918_1"),
    JPEG_LOSSLESS: Target(_encode_jpeg_lossless),
    JPEG_LOSSLESS_SV1: Target(_encode_jpeg_lossless),
    JPEG_LS: Target(_encode_jpeg_ls),
    JPEG_LS_NEAR: Target(_encode_jpeg_ls_near, "ISO_14495_1"),
    JPEG_2000_LOSSLESS: Target(_encode_jpeg_2000),
    JPEG_2000: Target(_encode_jpeg_2000_lossy, "ISO_15444_1"),
    HTJ2K_LOSSLESS: Target(_encode_htj2k),
    HTJ2K_RPCL: Target(_encode_htj2k),
    HTJ2K: Target(_encode_htj2k),
}
