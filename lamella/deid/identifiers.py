"""What a header itself tells of its patient and of those who cared for them: the deny-list.

Free text, pixels and the written bytes are searched for it. It beats any engine at the names that
matter most, since the header spells them out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydicom import DataElement, Dataset

from lamella.deid.element_kinds import find_vr
from lamella.deid.identifier_attributes import IDS, PLACES, find_retained
from lamella.deid.lenient import UNREADABLE, lenient
from lamella.deid.profiles import Profile
from lamella.deid.uids import is_registered
from lamella.deid.vocabulary import is_common

_WORD = re.compile(r"[^\W_]+")
_SHORTEST_WORD = 3
_SHORTEST_PHRASE = 4
_SHORTEST_NUMBER = 5
_TELLING = frozenset({"PN", "SQ", "UI"})
_BIRTH_DATE = 0x00100030
_TELLING_TAGS = IDS | PLACES | {_BIRTH_DATE}


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Values of one instance that must not be found in its copy. Held in memory only.

    Attributes:
        words: Parts of names, folded, 3 characters and more.
        phrases: Whole names, ids, addresses and numbers as folded words, a space between them.
        dates: Birth dates, as `YYYYMMDD`.
        uids: All that are not registered.
    """

    words: frozenset[str] = frozenset()
    phrases: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    uids: frozenset[str] = frozenset()
    _openings: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # most texts hold no first word of any phrase, and are done with after one look
        openings = frozenset(phrase.split(" ", 1)[0] for phrase in self.phrases)
        object.__setattr__(self, "_openings", openings)

    def locate(self, text: str) -> list[tuple[int, int]]:
        """Return where words and phrases stand in a text, as start and end, in order."""
        found = [(part.start(), part.end(), fold(part[0])) for part in _WORD.finditer(text)]
        spans = [(start, end) for start, end, word in found if word in self.words]
        for index, (start, _, word) in enumerate(found):
            if word in self._openings:
                end = self._match_phrase(found[index : index + 12])
                spans += [(start, end)] if end is not None else []
        return sorted(spans)

    def finds(self, text: str) -> bool:
        """Tell whether a text holds any of them, in whatever case and with whatever between."""
        return bool(self.locate(text))

    def may_stand_in(self, text: str) -> bool:
        """Tell at little cost whether `finds` may be true of some part of a text, however long."""
        words = {fold(word) for word in set(_WORD.findall(text))}
        return not (words.isdisjoint(self.words) and words.isdisjoint(self._openings))

    def _match_phrase(self, found: list[tuple[int, int, str]]) -> int | None:
        """Return where the longest phrase ends that begins with the first of these words."""
        for count in range(len(found), 0, -1):
            if " ".join(word for _, _, word in found[:count]) in self.phrases:
                return found[count - 1][1]
        return None


def fold(text: str) -> str:
    """Return a text without case and accents."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def collect(attributes: Dataset, profile: Profile) -> Identifiers:
    """Return what a data set tells, at any depth, that the profile does not retain.

    Args:
        attributes: With or without its file meta.
        profile: What it retains (a device, an institution) is no secret.
    """
    retained = find_retained(profile)
    words: set[str] = set()
    phrases: set[str] = set()
    dates: set[str] = set()
    uids: set[str] = set()
    with lenient():
        for element in _walk(attributes):
            vr, tag = element.VR, int(element.tag)
            if vr == "UI":
                uids.update(uid for uid in _read_values(element) if not is_registered(uid))
            elif vr == "PN":
                _add_names(element, words, phrases)
            elif (tag in IDS and tag not in retained) or (tag in PLACES and tag not in retained):
                phrases.update(_make_phrases(_read_values(element)))
            elif tag == _BIRTH_DATE:
                dates.update(value for value in _read_values(element) if len(value) == 8)
    return Identifiers(frozenset(words), frozenset(phrases), frozenset(dates), frozenset(uids))


def _walk(attributes: Dataset) -> Iterator[DataElement]:
    """Yield what may identify, decoded; all else, private blocks and broken elements are passed."""
    for tag in list(attributes.keys()):
        raw = attributes.get_item(tag)
        if tag.is_private or not (tag in _TELLING_TAGS or find_vr(raw) in _TELLING):
            continue
        try:
            element = attributes[tag]
            items = list(element.value) if element.VR == "SQ" else []
        except UNREADABLE:
            continue  # the header's walk removes what cannot be read
        if element.VR == "SQ":
            for item in items:
                yield from _walk(item)
        else:
            yield element


def _read_values(element: DataElement) -> list[str]:
    value = element.value
    if value is None:
        return []
    many = value if isinstance(value, (list, tuple)) or element.VM > 1 else [value]
    return [str(one).strip() for one in many if one is not None]


def _add_names(element: DataElement, words: set[str], phrases: set[str]) -> None:
    for name in _read_values(element):
        for form in name.split("="):
            parts = [fold(part) for part in _WORD.findall(form)]
            named = [part for part in parts if not is_common(part)]
            words.update(part for part in named if _is_telling(part))
            if len("".join(parts)) >= _SHORTEST_PHRASE and named:
                phrases.update((" ".join(parts), " ".join(reversed(parts))))


def _is_telling(word: str) -> bool:
    if word.isdigit():
        return len(word) >= _SHORTEST_NUMBER
    # one ideograph or syllable of CJK says as much as some letters
    return len(word) >= _SHORTEST_WORD or (len(word) == 2 and not word.isascii())


def _make_phrases(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        parts = [fold(part) for part in _WORD.findall(value)]
        telling = [part for part in parts if not is_common(part)]
        joined = "".join(parts)
        shortest = _SHORTEST_NUMBER if joined.isdigit() else _SHORTEST_PHRASE
        if telling and len(joined) >= shortest:
            yield " ".join(parts)
