"""Makes `lamella/deid/data/clinical_words.json` out of pydicom's copy of DICOM's coded concepts.

    python tests/unit/deid/clinical_word_source.py > lamella/deid/data/clinical_words.json

A word is taken if PS3.16 writes it in lower case in the meaning of some code and it is no frequent
name of people ("long", "rose"). What PS3.16 writes with a capital only are eponyms ("Ganz"), unless
many people have that name ("Simpson"). The names themselves are kept too: what an engine reads
without spaces, or with its end cut off, may not be one of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import names
from pydicom.sr.codedict import CONCEPTS, name_for_cid

CENSUS = Path(names.__file__).parent
FREQUENT = (("dist.all.last", 2000), ("dist.female.first", 1000), ("dist.male.first", 1000))
"""Half of the people of the census have such a surname, nine in ten such a given name."""
KNOWN = (("dist.all.last", 10_000), ("dist.female.first", 2000), ("dist.male.first", 1219))
_SHORTEST = 3
_SHORTEST_MISREAD = 5
_WORD = re.compile(r"[^\W\d_]+")
_NOT_OF_PATIENTS = re.compile(r"Animal|Breed")
_DAYS = "age aged ago birth born date day days month months week year years"
_CALENDAR = frozenset(_DAYS.split())
"""Beside them numbers tell a day, or an age."""


def make() -> dict[str, list[str]]:
    """Return words, eponyms and names, each sorted."""
    found = {word for meaning in _read_meanings() for word in _WORD.findall(meaning)}
    found = {word for word in found if word.isascii() and len(word) >= _SHORTEST}
    lower = {word for word in found if word.islower()}
    capital = {word.lower() for word in found if word.istitle()} - lower
    known = _read_most_frequent(KNOWN)
    words = lower - _read_most_frequent(FREQUENT) - _CALENDAR
    return {
        "words": sorted(words),
        "eponyms": sorted(capital - known - _CALENDAR),
        "names": sorted(name for name in known | _read_alike(words) if len(name) >= _SHORTEST),
    }


def _read_alike(words: set[str]) -> set[str]:
    """Return all names, rare ones as well, that are one letter away from a long word."""
    long = (word for word in words if len(word) >= _SHORTEST_MISREAD)
    gapped = {form for word in long for form in _hide_letters(word)}
    names = {name for name, _ in read_names(KNOWN[0][0])} - words
    return {name for name in names if not gapped.isdisjoint(_hide_letters(name))}


def _hide_letters(word: str) -> set[str]:
    return {f"{word[:index]}?{word[index + 1 :]}" for index in range(len(word))}


def read_names(file: str) -> list[tuple[str, float]]:
    """Return names of the census of 1990, most frequent first, and the share that has them."""
    rows = (line.split() for line in (CENSUS / file).read_text().splitlines())
    return [(row[0].lower(), float(row[1]) / 100) for row in rows]


def _read_most_frequent(counts: tuple[tuple[str, int], ...]) -> set[str]:
    return {name for file, most in counts for name, _ in read_names(file)[:most]}


def _read_meanings() -> Iterator[str]:
    """Yield meanings of codes, but for those of animals and tongues."""
    for keywords in CONCEPTS.values():
        for codes in keywords.values():
            for meaning, cids in codes.values():
                is_of_patients = not cids or any(
                    not _NOT_OF_PATIENTS.search(name_for_cid.get(cid, "")) for cid in cids
                )
                if is_of_patients and not meaning.endswith(("(organism)", "breed", " language")):
                    yield meaning


if __name__ == "__main__":
    json.dump(make(), sys.stdout, indent=0)
    print()
