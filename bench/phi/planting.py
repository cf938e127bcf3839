"""Planting: values into a data set, and what the tables say of them into its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from bench.phi.key import Answers, name_item, name_private, name_tag
from bench.phi.people import Subject, make_subject
from bench.phi.rules import PROFILES, read_rules
from bench.phi.sentences import Sentence, make_clean, make_mixed

_LEAST_ANYWHERE = 8
"""Characters of what is distinct enough to be nowhere at all."""
_LONG_TEXT = {"LO", "ST", "LT", "UT", "UC"}
_SKIPPED_GROUPS = {0x0000, 0x0002, 0x0004, 0x0028, 0x5400, 0x7FE0}
_SKIPPED = {0x0040A730, 0x00120062, 0x00120063, 0x00120064, 0x00080005, 0x00880200}

Fill = Callable[["Planter"], None]


@dataclass
class Planter:
    """Where values go: a data set, or an item of it.

    Attributes:
        ds: It.
        answers: Of the whole instance.
        hunted: What must be nowhere in the output; of the whole instance.
        at: Path of the item; '' for the data set itself.
        is_gone: Whether a sequence around it is removed.
    """

    ds: Dataset
    answers: Answers
    hunted: list[str]
    subject: Subject
    random: Random
    profile: str
    at: str = ""
    is_gone: bool = False

    def plant(self, keyword: str | int, value: str | Sentence, category: str = "header") -> None:
        """Set an element, and note what has to become of it."""
        tag = Tag(tag_for_keyword(keyword) or keyword) if isinstance(keyword, str) else Tag(keyword)
        sentence = value if isinstance(value, Sentence) else Sentence(str(value))
        vr = dictionary_VR(tag).split(" or ")[0]
        self.ds.add_new(tag, vr, _convert(vr, sentence.text))
        rule = read_rules(self.profile).get(f"{tag:08X}")
        code = "X" if self.is_gone else rule.code if rule else ""
        self.note(code, name_tag(tag, self.at), vr, sentence, category)

    def note(self, code: str, path: str, vr: str, sentence: Sentence, category: str) -> None:
        """Add the checks of a value that is treated by a code of the tables."""
        if code == "":
            self.answers.add("text_retained", path, sentence.text, "technical")
        elif code == "K":
            self.answers.add("text_retained", path, sentence.text, "kept by an option")
        elif code == "U":
            self.answers.add("uid_changed", path, sentence.text, "UIDs")
            self.answers.add("uid_consistent", path, sentence.text, "UIDs")
            self.hunted.append(sentence.text)
        elif code == "C" and vr in ("DA", "DT"):
            self.answers.add("date_shifted", path, sentence.text, "dates")
        elif code == "C" and vr == "TM":
            self.answers.add("tag_retained", path, sentence.text, "times")
        elif code == "C":
            self._note_cleaned(path, sentence)
        else:
            self._note_removed(code, path, sentence, category)

    def plant_items(self, keyword: str | int, *fills: Fill) -> None:
        """Set a sequence with an item each."""
        tag = Tag(tag_for_keyword(keyword) or keyword) if isinstance(keyword, str) else Tag(keyword)
        rule = read_rules(self.profile).get(f"{tag:08X}")
        is_gone = self.is_gone or (rule is not None and rule.code not in ("K", "C"))
        items = []
        for number, fill in enumerate(fills):
            at = name_item(name_tag(tag, self.at), number)
            inner = Planter(
                Dataset(),
                self.answers,
                self.hunted,
                self.subject,
                self.random,
                self.profile,
                at,
                is_gone,
            )
            fill(inner)
            items.append(inner.ds)
        self.ds.add_new(tag, "SQ", Sequence(items))

    def plant_private(
        self, group: int, creator: str, element: int, vr: str, value: str, *, is_safe: bool = False
    ) -> None:
        """Set a private element, which is retained if it is safe and the profile retains such."""
        block = self.ds.private_block(group, creator, create=True)
        block.add_new(element, vr, _convert(vr, value))
        path = name_private(group, creator, element)
        if is_safe and "retain_safe_private" in PROFILES[self.profile]:
            self.answers.add("text_retained", path, value, "private, safe")
        else:
            self._note_removed("X", path, Sentence(value), "private")

    def describe(self) -> Sentence:
        """Return a text as people type it: every other one has identifiers in it."""
        if self.random.random() < 0.5:
            return make_clean(self.random)
        return make_mixed(self.random, self.subject)

    def _note_cleaned(self, path: str, sentence: Sentence) -> None:
        for kind, secret in sentence.secrets:
            self.answers.add(
                "text_removed", path, sentence.text, f"free text: {kind}", secret, anywhere=True
            )
            self.hunted.append(secret)
        if sentence.clean:
            kind = "free text, mixed" if sentence.secrets else "free text, clean"
            self.answers.add("text_retained", path, sentence.text, kind, sentence.clean)

    def _note_removed(self, code: str, path: str, sentence: Sentence, category: str) -> None:
        words = [secret for _, secret in sentence.secrets] or [sentence.text]
        for word in words:
            is_distinct = len(word) >= _LEAST_ANYWHERE and not sentence.clean
            self.answers.add(
                "text_removed", path, sentence.text, category, word, anywhere=is_distinct
            )
            if is_distinct:
                self.hunted.append(word)
        if code == "D":
            self.answers.add("text_notnull", path, sentence.text, "dummies")


def plant_rule(planter: Planter, tag: int) -> bool:
    """Plant a value that fits an attribute of Table E.1-1; return whether that makes sense."""
    if tag >> 16 in _SKIPPED_GROUPS or tag in _SKIPPED or tag in planter.ds:
        return False
    try:
        vr = dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return False
    random = planter.random
    if vr == "SQ":
        planter.plant_items(tag, _fill_item)
        return True
    code = read_rules(planter.profile)[f"{tag:08X}"].code
    value = _make_value(random, vr, planter.subject, code)
    if value is None:
        return False
    planter.plant(tag, value, "table")
    return True


def _fill_item(item: Planter) -> None:
    item.plant("InstitutionName", f"House {item.random.randrange(10**6, 10**7)}", "nested")
    item.plant("PersonName", make_subject(item.random, 0).name.dicom, "nested")


def _make_value(random: Random, vr: str, subject: Subject, code: str) -> str | Sentence | None:
    number = random.randrange(10**6, 10**7)
    day = subject.study_day - timedelta(days=random.randrange(1, 400))
    if code == "C" and vr in _LONG_TEXT:
        return make_mixed(random, subject)
    simple = {
        "PN": make_subject(random, 0).name.dicom,
        "DA": f"{day:%Y%m%d}",
        "DT": f"{day:%Y%m%d}1015",
        "TM": "101513",
        "AS": "045Y",
        "CS": f"QX{number}",
        "SH": f"QX{number}",
        "AE": f"AEQX{number}",
        "IS": str(number),
        "DS": str(number),
        "UI": f"1.2.826.0.1.3680043.8.498.{number}",
        "UR": f"http://ris.example.org/QX{number}",
        "US": str(random.randrange(30000, 65000)),
        "UL": str(number),
        "SL": str(number),
        "FL": str(random.randrange(10**5, 10**6)),
        "FD": str(number),
    }
    return f"Kanarie QX{number}" if vr in _LONG_TEXT else simple.get(vr)


def _convert(vr: str, text: str) -> object:
    if vr in ("US", "SS", "UL", "SL"):
        return int(text)
    if vr == "UN":
        return text.encode("ascii")
    return float(text) if vr in ("FL", "FD") else text
