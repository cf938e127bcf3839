"""Matching of person names: literal, wildcard and fuzzy.

A name has up to three groups (alphabetic, ideographic, phonetic) of up to five components. All
matching disregards case, trailing empty components and spaces around components.

- A key without `=` may match any group; with `=`, each group that is given must match its own.
- A group matches when its whole text fits the pattern, or when each component that the key
  gives fits the component of that place: `doe` and `doe^j*` find `Doe^John`. So a wildcard may
  stand for several components (`*john*`), and need not.
- Fuzzy: each word of the key is the beginning of some word of the name or sounds like one, in any
  order, accents disregarded: `joao silva` finds `Silva^João`, `maier` finds `Meyer`. Hiragana and
  katakana are the same. What matches literally matches fuzzily as well.

Source:
    PS3.4 §C.2.2.2.1 (Person Name VR Value Matching leaves these choices to the implementation);
    PS3.5 §6.2.1 (components and groups).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

from lamella.archive.phonetics import list_sounds

GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_WORDS: Final = re.compile(r"[^\w*?]+")
_KATAKANA: Final = {code: code + 0x60 for code in range(0x3041, 0x3097)}

PersonNameTest = Callable[[Any], bool]


def split_groups(value: Any) -> tuple[str, str, str]:
    """Return the groups of a name, given as DICOM JSON's object or as DICOM's text."""
    if isinstance(value, Mapping):
        texts = [str(value.get(group) or "") for group in GROUPS]
    else:
        texts = [*str(value or "").split("="), "", "", ""]
    return (normalize_group(texts[0]), normalize_group(texts[1]), normalize_group(texts[2]))


def normalize_group(text: str) -> str:
    """Return one group in the form that names and keys are compared in."""
    return "^".join(part.strip() for part in text.casefold().split("^")).rstrip("^")


def fold(text: str) -> str:
    """Return text without case, accents and compatibility forms: the search form.

    Folding a part of a text gives a part of the folded text, so that the search form of a
    literal piece of a pattern narrows a search without losing matches.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def matches_wildcard(pattern: str, text: str) -> bool:
    """Tell whether all of `text` fits `pattern`, where `*` is any characters and `?` is one.

    Each piece between asterisks is placed as early as it fits, so the cost is at most
    len(pattern) × len(text), whatever the pattern.
    """
    head, *rest = pattern.split("*")
    if not rest:
        return len(head) == len(text) and _fits(head, text, 0)
    if not _fits(head, text, 0):
        return False
    place, tail = len(head), rest.pop()
    for piece in rest:
        place = _find(piece, text, place)
        if place < 0:
            return False
        place += len(piece)
    return len(text) - len(tail) >= place and _fits(tail, text, len(text) - len(tail))


def build_name_test(pattern: str, fuzzy: bool) -> PersonNameTest:
    """Return a function that tells whether one PN value matches the key `pattern`."""
    test = _build_literal_test(pattern)
    return _build_fuzzy_test(pattern, test) if fuzzy else test


def split_words(text: str) -> list[str]:
    """Return the words of a name or key in search form, kana as katakana.

    Wildcards stay part of a word.
    """
    folded = fold(text).translate(_KATAKANA)
    return [word for word in _WORDS.split(folded) if word.strip("*")]


def _build_literal_test(pattern: str) -> PersonNameTest:
    wanted = [normalize_group(group) for group in pattern.split("=")][:3]
    if len(wanted) == 1:
        return lambda value: any(_matches_group(wanted[0], group) for group in split_groups(value))
    return lambda value: all(
        not group or _matches_group(group, held)
        for group, held in zip(wanted, split_groups(value), strict=False)
    )


def _build_fuzzy_test(pattern: str, literal: PersonNameTest) -> PersonNameTest:
    wanted = [_build_word_test(word) for word in split_words(pattern)]

    def test(value: Any) -> bool:
        held = [word for group in split_groups(value) for word in split_words(group)]
        return literal(value) or bool(wanted and held and all(any(map(w, held)) for w in wanted))

    return test


def _build_word_test(wanted: str) -> Callable[[str], bool]:
    pattern, sounds = wanted.rstrip("*") + "*", list_sounds(wanted)
    return lambda word: matches_wildcard(pattern, word) or not sounds.isdisjoint(list_sounds(word))


def _matches_group(pattern: str, group: str) -> bool:
    if not group:
        return False  # an unknown name is not found by a name
    if matches_wildcard(pattern, group):
        return True
    wanted, held = pattern.split("^"), group.split("^")
    held += [""] * (len(wanted) - len(held))
    return any(wanted) and all(
        not part or matches_wildcard(part, own) for part, own in zip(wanted, held, strict=False)
    )


def _fits(piece: str, text: str, place: int) -> bool:
    if "?" not in piece:
        return text.startswith(piece, place)
    window = text[place : place + len(piece)]
    return len(window) == len(piece) and all(
        own in ("?", char) for own, char in zip(piece, window, strict=True)
    )


def _find(piece: str, text: str, place: int) -> int:
    if "?" not in piece:
        return text.find(piece, place)
    return next((at for at in range(place, len(text)) if _fits(piece, text, at)), -1)
