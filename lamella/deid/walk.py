"""The way through a data set: each element at each depth is kept, changed or left out.

What stays as it is is passed on undecoded, so that a header costs what is touched of it.

Source:
    PS3.15 §E.1.1; Table E.1-1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filewriter import correct_ambiguous_vr_element
from pydicom.sequence import Sequence as Items
from pydicom.tag import BaseTag

from lamella.deid.actions import Action
from lamella.deid.attribute_types import FUNCTIONAL_GROUPS, read_types, resolve
from lamella.deid.content_items import (
    CODE_MEANING,
    CODES,
    CONTENT,
    STRUCTURES,
    find_code,
    find_value_action,
    is_standard_code,
)
from lamella.deid.element_kinds import KEPT_BYTES, LONG_TEXTS, STRUCTURAL, TEXTS, find_vr
from lamella.deid.identifiers import Identifiers
from lamella.deid.lenient import UNREADABLE
from lamella.deid.plans import Plan
from lamella.deid.private import find_creators
from lamella.deid.profiles import SiteRule
from lamella.deid.replacements import Replacer, is_empty
from lamella.deid.results import Change, Reason, Verdict
from lamella.deid.subjects import Subject
from lamella.deid.texts import TextFinder

Element: TypeAlias = DataElement | RawDataElement
_DEEPEST = 64
_REFERENCED_SERIES = 0x00081115
_BIRTH_DATE = 0x00100030
_SOP_INSTANCE_UID = 0x00080018
_TEMPORAL = frozenset({"DA", "DT", "TM"})
_UNCLEANABLE = frozenset({"PN", "OB", "UN", "UR"})
_CODE_STRINGS = frozenset({"CS", "AE"})


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk is.

    Attributes:
        path: Of the sequence, for `Change.path`; empty at the top.
        parent: The sequence's tag; 0 at the top.
        depth: 0 at the top.
        grouped: Whether it is inside functional groups.
        dummied: Whether the sequence as a whole is replaced by a dummy of its shape.
        value_action: What a content item's rule wants of its value.
    """

    path: str = ""
    parent: int = 0
    depth: int = 0
    grouped: bool = False
    dummied: bool = False
    value_action: Action | None = None

    def enter(self, tag: int, *, dummied: bool, value_action: Action | None = None) -> _Place:
        return _Place(
            f"{self.path}{tag:08X}.",
            tag,
            self.depth + 1,
            self.grouped or tag in FUNCTIONAL_GROUPS,
            self.dummied or dummied,
            value_action,
        )


def inherit_encoding(source: Dataset, result: Dataset) -> None:
    """Say that raw elements are in the source's encoding, so that they are written as they are."""
    implicit, little_endian = source.original_encoding
    result.set_original_encoding(implicit, little_endian, source.original_character_set)


def _name_vr(attributes: Dataset, tag: BaseTag) -> DataElement:
    """Give an implicit element in an explicit file, as some writers make them, its VR."""
    return correct_ambiguous_vr_element(
        attributes[tag], attributes, attributes.original_encoding[1] is not False
    )


class Walk:
    """One data set's walk.

    Args:
        plan: Of the profile.
        subject: The key's replacements for this instance.
        identifiers: Of the whole data set.
        finder: Reads free text.
        sop_class_uid: Whose IOD the types are of.
        is_derived: Whether the pixels are others by now.

    Attributes:
        changes: What was done so far, in order.
        reasons: What speaks against a PASS.
    """

    def __init__(
        self,
        plan: Plan,
        subject: Subject,
        identifiers: Identifiers,
        finder: TextFinder,
        sop_class_uid: str,
        *,
        is_derived: bool = False,
    ) -> None:
        self.changes: list[Change] = []
        self.reasons: list[Reason] = []
        self._plan = plan
        self._subject = subject
        self._identifiers = identifiers
        self._replacer = Replacer(plan, subject, identifiers, finder)
        self._sop_class_uid = sop_class_uid
        self._is_derived = is_derived
        self._types = read_types()
        self._lists_references = False

    def clean(self, attributes: Dataset) -> Dataset:
        """Return a data set of what stays and what takes the place of the rest."""
        # Common Instance Reference lists what the instance refers to, and so wants references
        # to stay (PS3.3 §C.12.2)
        self._lists_references = _REFERENCED_SERIES in attributes
        return self._clean_level(attributes, _Place())

    def _clean_level(self, attributes: Dataset, place: _Place) -> Dataset:
        kept: dict[BaseTag, Element] = {}
        creators = find_creators(attributes, self._plan)
        for tag in list(attributes.keys()):
            if tag.element == 0 and tag.group != 0:
                continue  # group lengths, retired: nobody misses them
            try:
                if tag.is_private:
                    element = self._treat_private(attributes, tag, place, creators)
                else:
                    element = self._treat(attributes, tag, place)
            except UNREADABLE:
                element = self._note(place, tag, "X", None)
            if element is not None:
                known = len(element.VR or "") == 2 or attributes.original_encoding[0]
                kept[tag] = element if known else _name_vr(attributes, tag)
        # (0008,0005) is left to the data set around them by most items
        level = Dataset(kept, parent_encoding=attributes.original_character_set)
        inherit_encoding(attributes, level)
        return level

    def _note(
        self, place: _Place, tag: int, action: str, element: Element | None
    ) -> Element | None:
        self.changes.append(Change(f"{place.path}{tag:08X}", action))
        return element

    def _treat(self, attributes: Dataset, tag: BaseTag, place: _Place) -> Element | None:
        raw = attributes.get_item(tag)
        vr = find_vr(raw)
        if self._is_derived and tag == _SOP_INSTANCE_UID and not place.path:
            # other pixels under a known UID would be two images of one name (PS3.3 C.7.6.1.1.2)
            return self._apply(attributes, tag, vr, place, Action.UID)
        rule = self._plan.find_site_rule(tag)
        if rule is not None:
            return self._follow_site(attributes, tag, vr, place, rule)
        if place.value_action is not None and tag in CONTENT:
            return self._apply(attributes, tag, vr, place, place.value_action)
        wanted = self._plan.find_action(tag)
        if wanted is None:
            return self._catch(attributes, tag, vr, place)
        kind = self._find_type(tag, place)
        if wanted.endswith("U*") and kind == "3" and self._lists_references:
            kind = "2"
        action = resolve(wanted, kind)
        if tag == _BIRTH_DATE:
            action = Action.ZERO
        return self._apply(attributes, tag, vr, place, action)

    def _find_type(self, tag: int, place: _Place) -> str:
        kind = self._types.find(self._sop_class_uid, place.parent, tag)
        # which macros a functional group has is the writer's choice: what is there is wanted
        return "1" if kind == "3" and place.grouped and place.parent else kind

    def _follow_site(
        self, attributes: Dataset, tag: BaseTag, vr: str, place: _Place, rule: SiteRule
    ) -> Element | None:
        if rule.action is Action.DUMMY and rule.value:
            return self._note(place, tag, "D", DataElement(tag, vr, rule.value))
        return self._apply(attributes, tag, vr, place, rule.action)

    def _apply(
        self, attributes: Dataset, tag: BaseTag, vr: str, place: _Place, action: Action
    ) -> Element | None:
        if action is Action.REMOVE:
            return self._note(place, tag, "X", None)
        if vr == "SQ":
            return self._enter(attributes, tag, place, action)
        element = attributes.get_item(tag)
        if is_empty(element):
            return element
        if action in (Action.ZERO, Action.DUMMY):
            made = self._replacer.replace(attributes, tag, vr, empty=action is Action.ZERO)
            return self._note(place, tag, action, made)
        if action is Action.KEEP and vr not in TEXTS and vr != "AS":
            return self._replacer.keep_uids(attributes, tag) if vr == "UI" else element
        made = self._clean_value(attributes, tag, vr, action)
        return self._settle(attributes, tag, vr, place, made)

    def _clean_value(
        self, attributes: Dataset, tag: BaseTag, vr: str, action: Action
    ) -> Element | None:
        if vr == "UI":
            return self._replacer.map_uids(attributes, tag)
        if vr in _TEMPORAL:
            return self._replacer.shift_dates(attributes, tag)
        if vr == "AS":
            return self._replacer.cap_age(attributes, tag)
        if vr in TEXTS or vr in _CODE_STRINGS:
            known_only = action is Action.KEEP
            return self._replacer.clean_texts(attributes, tag, known_only=known_only)
        # names cannot be cleaned, nor bytes of which nobody knows what they are
        return None if vr in _UNCLEANABLE else attributes.get_item(tag)

    def _settle(
        self, attributes: Dataset, tag: BaseTag, vr: str, place: _Place, made: Element | None
    ) -> Element | None:
        """Note what was changed; where nothing is left, put what the IOD wants."""
        if made is attributes.get_item(tag):
            return made
        if made is not None:
            return self._note(place, tag, "U" if vr == "UI" else "C", made)
        kind = self._find_type(tag, place)
        if kind == "3":
            return self._note(place, tag, "X", None)
        made = self._replacer.replace(attributes, tag, vr, empty=kind == "2")
        return self._note(place, tag, "Z" if kind == "2" else "D", made)

    def _catch(self, attributes: Dataset, tag: BaseTag, vr: str, place: _Place) -> Element | None:
        """Treat by its VR what no table knows: the safety net."""
        if vr == "SQ":
            return self._enter(attributes, tag, place, Action.KEEP)
        element = attributes.get_item(tag)
        if is_empty(element):
            return element
        if place.dummied and vr != "CS":
            made = self._replacer.replace(attributes, tag, vr, empty=False)
            return self._note(place, tag, "D", made)
        if tag in STRUCTURAL or (vr == "OB" and tag in KEPT_BYTES):
            return element
        if vr in _TEMPORAL:
            return self._catch_date(attributes, tag, vr, place)
        if vr in LONG_TEXTS and tag not in CODES and self._plan.profile.unlisted_text == "remove":
            return self._settle(attributes, tag, vr, place, None)
        if vr in _CODE_STRINGS or self._is_code(attributes, tag):
            made = self._replacer.clean_texts(attributes, tag, known_only=True)
        else:
            made = self._clean_value(attributes, tag, vr, Action.CLEAN)
        return self._settle(attributes, tag, vr, place, made)

    def _is_code(self, attributes: Dataset, tag: int) -> bool:
        return tag in CODES or (tag == CODE_MEANING and is_standard_code(attributes))

    def _catch_date(
        self, attributes: Dataset, tag: BaseTag, vr: str, place: _Place
    ) -> Element | None:
        if "retain_longitudinal_full_dates" in self._plan.options:
            return attributes.get_item(tag)
        if "retain_longitudinal_modified_dates" in self._plan.options:
            made = self._replacer.shift_dates(attributes, tag)
            return self._settle(attributes, tag, vr, place, made)
        return self._settle(attributes, tag, vr, place, None)

    def _enter(
        self, attributes: Dataset, tag: BaseTag, place: _Place, action: Action
    ) -> Element | None:
        """Go through a sequence's items, or empty it."""
        if action is Action.ZERO:
            return self._note(place, tag, "Z", DataElement(tag, "SQ", Items()))
        if place.depth >= _DEEPEST:
            self.reasons.append(Reason(Verdict.QUARANTINE, "too-deep", f"{place.path}{tag:08X}"))
            return self._note(place, tag, "X", None)
        dummied = action is Action.DUMMY and tag not in STRUCTURES
        items = list(attributes[tag].value or ())
        kept = list(self._clean_items(items, place, tag, dummied))
        if action is Action.DUMMY:
            self._note(place, tag, "D", None)
        if items and not kept:
            return self._note(place, tag, "X", None)
        return DataElement(tag, "SQ", Items(kept))

    def _clean_items(
        self, items: Iterable[Dataset], place: _Place, tag: BaseTag, dummied: bool
    ) -> Iterable[Dataset]:
        for item in items:
            code = find_code(item)
            wanted = self._plan.find_item_action(*code) if code else None
            action = find_value_action(wanted, self._plan.options) if code else None
            if action is Action.REMOVE:
                self._note(place, tag, "X", None)
                continue
            yield self._clean_level(item, place.enter(tag, dummied=dummied, value_action=action))

    def _treat_private(
        self, attributes: Dataset, tag: BaseTag, place: _Place, creators: dict[int, str]
    ) -> Element | None:
        """Keep what is safe, and the creator of a block of which something stays."""
        if tag.is_private_creator:
            return attributes.get_item(tag) if int(tag) in creators else None
        creator = creators.get((tag.group << 16) | (tag.element >> 8))
        key = (creator or "", tag.group, tag.element & 0xFF)
        rule = self._plan.site_private.get(key)
        vr = find_vr(attributes.get_item(tag))
        if rule is not None:
            return self._follow_site(attributes, tag, vr, place, rule)
        if creator is None or key not in self._plan.safe_private:
            return self._note(place, tag, "X", None)
        if vr == "SQ":
            return self._enter(attributes, tag, place, Action.KEEP)
        if vr in ("OB", "UN", "OW"):
            element = attributes.get_item(tag)
            tainted = self._replacer.is_tainted(element)
            return self._note(place, tag, "X", None) if tainted else element
        made = self._clean_value(attributes, tag, vr, Action.KEEP)
        return self._settle(attributes, tag, vr, place, made)
