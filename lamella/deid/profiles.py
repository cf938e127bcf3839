"""Profiles: what de-identification does, as data with a digest."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Literal

import msgspec

from lamella.deid.actions import Action
from lamella.deid.codes import OPTION_CODES
from lamella.errors import InvalidRequest

OPTIONS = tuple(OPTION_CODES)
"""The ten options of Table E.1-1, as the table's data names them."""


class TextPolicy(StrEnum):
    """Which text goes out of pixels.

    AUTO takes all text out of modalities that burn it in (US, SC, XC, OT), and identifiers out of
    the others. NONE leaves pixels as they are.
    """

    AUTO = "auto"
    ALL = "all"
    IDENTIFIERS = "identifiers"
    NONE = "none"


class PixelPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to pixels.

    Attributes:
        text: Which burned-in text is taken out.
        finder: The engine that reads pixels; a profile that names one which is not installed
            refuses to run.
        boxes: Whether boxes known for a device, and ultrasound regions, are blacked as well.
        faces: What becomes of a head CT or MR from which a face could be rebuilt.
    """

    text: TextPolicy = TextPolicy.AUTO
    finder: str = "rapidocr"
    boxes: bool = True
    faces: Literal["review", "pass"] = "review"


class SiteRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule on top of the table's.

    Attributes:
        tag: 8 hex digits, with `x` for any digit; or `ggggxxee` with a `creator`.
        action: What is done instead of what the table says.
        creator: The private creator whose block this is in; empty for a standard attribute.
        value: What DUMMY puts there; empty for a dummy that fits the VR.
    """

    tag: str
    action: Action
    creator: str = ""
    value: str = ""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to de-identify.

    Attributes:
        name: What a person calls it.
        options: Of Table E.1-1, on top of the Basic Profile.
        rules: A site's own, which win over the table's; of two for one attribute, the last.
        edition: Of PS3.15, whose table it goes by.
        text_finder: The engine that reads free text.
        unlisted_text: Whether texts of which the table says nothing are cleaned or removed.
        shift_limit_days: By how much dates move at most under modified dates.
        pixels: What happens to pixels.
    """

    name: str
    options: tuple[str, ...] = ()
    rules: tuple[SiteRule, ...] = ()
    edition: str = "2026d"
    text_finder: str = "rules"
    unlisted_text: Literal["clean", "remove"] = "clean"
    shift_limit_days: int = 365
    pixels: PixelPolicy = PixelPolicy()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.options) - set(OPTIONS))
        if unknown:
            raise InvalidRequest(
                f"The profile {self.name!r} has the unknown option {unknown[0]!r}; known are: "
                f"{', '.join(OPTIONS)}."
            )
        dates = {"retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"}
        if dates <= set(self.options):
            raise InvalidRequest(f"The profile {self.name!r} retains dates in two ways at once.")
        if self.shift_limit_days < 1:
            raise InvalidRequest(f"The profile {self.name!r} moves dates by less than a day.")

    @property
    def digest(self) -> str:
        """SHA-256 of what it does, in hex: equal for profiles that differ in nothing else."""
        content = msgspec.structs.replace(self, name="", options=tuple(sorted(set(self.options))))
        return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


BUILT_IN = {
    profile.name: profile
    for profile in (
        Profile(name="basic"),
        Profile(
            name="research",
            options=(
                "clean_descriptors",
                "clean_structured_content",
                "retain_device_identity",
                "retain_longitudinal_modified_dates",
                "retain_patient_characteristics",
                "retain_safe_private",
            ),
        ),
        Profile(
            name="strict",
            unlisted_text="remove",
            pixels=PixelPolicy(text=TextPolicy.ALL),
        ),
    )
}
"""The profiles that need no file, by name."""
