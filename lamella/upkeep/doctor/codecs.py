"""Codecs: which compressed transfer syntaxes can be decoded here?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module

from pydicom.uid import UID

from lamella.imaging.decoders import can_decode
from lamella.settings import Settings
from lamella.upkeep.doctor.result import CheckResult, fail_with, pass_with, warn_with

NAME = "codecs"
_PREFIX = "1.2.840.10008.1.2."

LIBRARIES: dict[str, tuple[str, ...]] = {
    "JPEG8": tuple(f"4.{n}" for n in (50, 51, 57, 70)),
    "JPEGLS": ("4.80", "4.81"),
    "JPEG2K": ("4.90", "4.91", "4.92", "4.93", "4.203"),
    "HTJ2K": ("4.201", "4.202"),
    "JPEGXL": ("4.110", "4.111", "4.112"),
}
"""Codec of imagecodecs to the transfer syntaxes that need it; RLE and deflate need none."""


async def check_codecs(_settings: Settings) -> Sequence[CheckResult]:
    """Check that each codec was built into the library that is installed."""
    try:
        library = await asyncio.to_thread(import_module, "imagecodecs")
    except ImportError as error:
        return [fail_with(NAME, f"imagecodecs cannot be loaded: {error.name or 'broken'}.")]
    missing = [
        UID(_PREFIX + suffix).name
        for codec, suffixes in LIBRARIES.items()
        for suffix in suffixes
        if not getattr(getattr(library, codec, None), "available", False)
        or not can_decode(_PREFIX + suffix)
    ]
    if missing:
        return [warn_with(NAME, f"Frames cannot be decoded in: {', '.join(missing)}.")]
    count = sum(map(len, LIBRARIES.values()))
    sentence = f"All {count} compressed transfer syntaxes can be decoded, and RLE."
    return [pass_with(NAME, sentence)]
