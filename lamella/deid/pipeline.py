"""One instance through the whole pipeline: bytes in, bytes out, and what became of it.

    read → identifiers → pixels → header → written → opened again and searched

Nothing here knows of storage, so that it runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pydicom
from pydicom.errors import InvalidDicomError

from lamella.deid.codes import Code
from lamella.deid.headers import clean
from lamella.deid.identifiers import collect
from lamella.deid.keys import ProjectKey
from lamella.deid.lenient import UNREADABLE, lenient
from lamella.deid.pixels.boxes import Box
from lamella.deid.pixels.cleaning import clean_pixels, describe_engine
from lamella.deid.pixels.cleaning import find_engine as find_pixel_engine
from lamella.deid.pixels.faces import may_show_face
from lamella.deid.profiles import Profile
from lamella.deid.results import Reason, Verdict
from lamella.deid.texts import find_engine as find_text_engine
from lamella.deid.verification import verify
from lamella.deid.writing import write

PIPELINE = 2
"""Number of what the pipeline does; another one makes all instances anew."""


def describe_engines(profile: Profile) -> dict[str, str]:
    """Return names and versions of the engines of a profile, by what they read.

    Raises:
        InvalidRequest: One is not installed.
    """
    pixels = describe_engine(profile)
    return {"text": find_text_engine(profile).name} | ({"pixels": pixels} if pixels else {})


def compute_recipe(profile: Profile, key: ProjectKey, engines: Mapping[str, str]) -> bytes:
    """Return the SHA-256 of all that a result depends on besides its instance.

    Args:
        profile: How it is made.
        key: What makes pseudonyms.
        engines: From `describe_engines`.
    """
    told = json.dumps([PIPELINE, profile.digest, key.id, sorted(engines.items())])
    return hashlib.sha256(told.encode()).digest()


@dataclass(frozen=True, slots=True)
class Made:
    """What the pipeline made of one instance.

    Attributes:
        data: A Part 10 file; empty where there is none.
        verdict: Whether it may go on.
        reasons: Codes of why it may not, each once.
        changes: How often what was done to which attribute: (path, action) to a number.
        drawn: Rectangles that were blacked, of each frame; empty if none were.
        codes: What (0012,0064) says was applied, as code values.
        uids: Old UID to new. Secret.
        patients: Old patient id to new. Secret.
    """

    data: bytes
    verdict: Verdict
    reasons: tuple[str, ...]
    changes: Mapping[tuple[str, str], int]
    drawn: tuple[tuple[Box, ...], ...] = ()
    codes: tuple[str, ...] = ()
    uids: Mapping[str, str] | None = None
    patients: Mapping[str, str] | None = None

    @property
    def boxes(self) -> int:
        """How many rectangles were blacked, in all frames."""
        return sum(len(own) for own in self.drawn)


class Pipeline:
    """A profile and a key with the engines that they need, loaded once in a process."""

    def __init__(self, profile: Profile, key: ProjectKey) -> None:
        """Load the engines.

        Raises:
            InvalidRequest: One that the profile needs is not installed.
        """
        self._profile = profile
        self._key = key
        self._texts = find_text_engine(profile)
        self._pixels = find_pixel_engine(profile)

    def run(self, data: bytes, n_slices: int) -> Made:
        """De-identify one instance; what cannot be done ends in quarantine, never in an error.

        Args:
            data: Its Part 10 file.
            n_slices: How many instances its series has.
        """
        try:
            return self._run(data, n_slices)
        except (*UNREADABLE, InvalidDicomError, ArithmeticError, MemoryError, RuntimeError):
            return Made(b"", Verdict.QUARANTINE, ("unreadable",), {})

    def _run(self, data: bytes, n_slices: int) -> Made:
        with lenient():
            attributes = pydicom.dcmread(io.BytesIO(data))
        identifiers = collect(attributes, self._profile)
        pixels = clean_pixels(attributes, self._profile, identifiers, self._pixels)
        reasons = [*pixels.reasons]
        slices = max(n_slices, _count_frames(attributes))
        if self._profile.pixels.faces == "review" and may_show_face(attributes, slices):
            reasons.append(Reason(Verdict.REVIEW, "face"))
        codes: tuple[Code, ...] = pixels.codes
        cleaned = clean(
            pixels.attributes,
            self._profile,
            self._key,
            finder=self._texts,
            identifiers=identifiers,
            applied=codes,
            reasons=tuple(reasons),
            is_derived=pixels.is_changed,
        )
        written = write(cleaned)
        found = (*cleaned.reasons, *verify(written, cleaned))
        verdict = Verdict.worst(*(reason.verdict for reason in found))
        return Made(
            data=b"" if verdict is Verdict.QUARANTINE else written,
            verdict=verdict,
            reasons=tuple(dict.fromkeys(reason.code for reason in found)),
            changes=Counter((change.path, change.action) for change in cleaned.changes),
            drawn=pixels.boxes,
            codes=tuple(code.value for code in cleaned.codes),
            uids=dict(cleaned.uids),
            patients=dict(cleaned.patients),
        )


def _count_frames(attributes: pydicom.Dataset) -> int:
    try:
        return int(attributes.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        return 1
