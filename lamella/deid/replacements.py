"""New elements for old ones: dummies, pseudonyms, shifted dates, texts without identifiers."""

from __future__ import annotations

import re
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from lamella.deid.dummies import make_dummy
from lamella.deid.element_kinds import TEXTS
from lamella.deid.identifiers import Identifiers
from lamella.deid.plans import Plan
from lamella.deid.subjects import Subject
from lamella.deid.temporal import shift
from lamella.deid.texts import TextFinder, clean_text

_PATIENT_NAME, _PATIENT_ID = 0x00100010, 0x00100020
_OLDEST_YEARS = 89
_AGE = re.compile(r"\s*(\d{1,3})([DWMY])\s*")
_ASCII_WORD = re.compile(rb"[A-Za-z0-9]{4,}")


def is_empty(element: DataElement | RawDataElement) -> bool:
    """Tell whether an element has no value to begin with."""
    value = element.value
    return value is None or (isinstance(value, (bytes, str, list)) and len(value) == 0)


def read_values(element: DataElement) -> list[str]:
    """Return an element's values as text, of which there may be one."""
    value = element.value
    if value is None:
        return []
    return [str(one) for one in value] if element.VM > 1 else [str(value)]


class Replacer:
    """Makes one instance's replacements. Each returns the element given where nothing changes."""

    def __init__(
        self, plan: Plan, subject: Subject, identifiers: Identifiers, finder: TextFinder
    ) -> None:
        self._subject = subject
        self._identifiers = identifiers
        self._finder = finder
        self._shift_days = _choose_shift(plan, subject)
        self._wholly = plan.profile.unlisted_text == "remove"

    def replace(self, attributes: Dataset, tag: BaseTag, vr: str, *, empty: bool) -> DataElement:
        """Return an element without a value, or with a dummy.

        A patient's name and id become the pseudonym either way (PS3.15 Table E.1-1a: Z may be a
        dummy), so that a patient's studies stay together.
        """
        if tag == _PATIENT_ID:
            return self._make_pseudonym(attributes, tag, vr, self._subject.map_patient_id)
        if tag == _PATIENT_NAME:
            return self._make_pseudonym(attributes, tag, vr, self._subject.map_name)
        if empty:
            return DataElement(tag, vr, b"" if vr in ("OB", "OW", "UN") else "")
        if vr == "UI":
            return self.map_uids(attributes, tag)
        return DataElement(tag, vr, make_dummy(vr))

    def _make_pseudonym(self, attributes: Dataset, tag: BaseTag, vr: str, make: Any) -> DataElement:
        values = read_values(attributes[tag])
        return DataElement(tag, vr, make(values[0].strip(" \0")) if values else "")

    def map_uids(self, attributes: Dataset, tag: BaseTag) -> DataElement:
        """Return UIDs by the project's key; registered ones stay."""
        old = [value.strip(" \0") for value in read_values(attributes[tag])]
        return _rewrite(attributes, tag, old, [self._subject.map_uid(uid) for uid in old])

    def keep_uids(self, attributes: Dataset, tag: BaseTag) -> DataElement:
        """Return UIDs as they are, noting that they stay."""
        for value in read_values(attributes[tag]):
            self._subject.keep_uid(value.strip(" \0"))
        return _get(attributes, tag)

    def shift_dates(self, attributes: Dataset, tag: BaseTag) -> DataElement | None:
        """Return dates as the profile has them; None where nothing is left of them."""
        element = attributes[tag]
        if element.VR == "TM" or self._shift_days == 0:
            return _get(attributes, tag)
        if self._shift_days is None:
            return None
        old = read_values(element)
        new = [shift(value, self._shift_days) for value in old]
        return DataElement(tag, element.VR, _join(new)) if any(new) else None

    def cap_age(self, attributes: Dataset, tag: BaseTag) -> DataElement | None:
        """Return an age of 90 years for all that are older than 89; None for what is no age.

        Source:
            45 CFR 164.514(b)(2)(i)(C).
        """
        found = _AGE.fullmatch(" ".join(read_values(attributes[tag])))
        if found is None:
            return None
        if found[2] == "Y" and int(found[1]) > _OLDEST_YEARS:
            return DataElement(tag, "AS", f"{_OLDEST_YEARS + 1:03}Y")
        return _get(attributes, tag)

    def clean_texts(
        self, attributes: Dataset, tag: BaseTag, *, known_only: bool
    ) -> DataElement | None:
        """Return texts without identifiers; None where nothing is left.

        Args:
            attributes: What the element is in, for its character set.
            tag: The element.
            known_only: Clean only where something stands that the header told: for what is
                kept, and for words out of a vocabulary.
        """
        element = attributes[tag]
        old = read_values(element)
        if known_only:
            found = any(self._identifiers.finds(value) for value in old)
            if not found:
                return _get(attributes, tag)
            if element.VR not in TEXTS:
                return None
        new = [
            clean_text(value, self._identifiers, self._finder, self._shift_days) for value in old
        ]
        if new == old:
            return _get(attributes, tag)
        if self._wholly or not any(new):
            return None
        return DataElement(tag, element.VR, _join(new))

    def is_tainted(self, element: DataElement | RawDataElement) -> bool:
        """Tell whether bytes hold a word of the header's identifiers."""
        value = element.value
        if not isinstance(value, bytes):
            return True
        return self._identifiers.finds(b" ".join(_ASCII_WORD.findall(value)).decode("ascii"))


def _choose_shift(plan: Plan, subject: Subject) -> int | None:
    if "retain_longitudinal_full_dates" in plan.options:
        return 0
    return subject.shift_days if "retain_longitudinal_modified_dates" in plan.options else None


def _get(attributes: Dataset, tag: BaseTag) -> DataElement:
    element = attributes.get_item(tag)
    assert element is not None
    return element


def _rewrite(attributes: Dataset, tag: BaseTag, old: list[str], new: list[str]) -> DataElement:
    if new == old:
        return _get(attributes, tag)
    return DataElement(tag, attributes[tag].VR, _join(new))


def _join(values: list[str]) -> str | list[str]:
    return values if len(values) > 1 else values[0]
