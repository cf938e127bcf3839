"""Which lines that an engine has read must go.

Where all text goes, every line does. Elsewhere a line stays only if all of it is known to tell
nothing: marks of side and orientation, units, words of anatomy and technique. What an engine read
badly is not known to tell nothing, and what has a name or number of the header in it never stays.
"""

from __future__ import annotations

import re

from lamella.deid.identifiers import Identifiers, fold
from lamella.deid.pixels.clinical_lines import is_clinical_line
from lamella.deid.pixels.engines import Line
from lamella.deid.profiles import PixelPolicy, TextPolicy

_BURNS_TEXT_IN = frozenset({"US", "SC", "XC", "OT", "IVUS", "ES", "GM", "DOC"})
_SURE = 0.75
_LEAST_SCORES = {0: 2.0, 1: 0.9, 2: 0.75}  # of texts of so few letters, to be text at all
_TOKEN = re.compile(r"[^\W_]+")
_WINDOW = re.compile(r"(?:w[wl]?|c|l)[: ]*-?\d{1,5}[ ,/]*(?:w[wl]?|c|l)[: ]*-?\d{1,5}")
_NUMBER_THAT_TELLS = re.compile(r"\d{5}|\d[-/.]\d{1,2}[-/.]\d")
_MOST_NUMBERS = 2
_SHORTEST_WITHIN = 5  # letters of what is looked for within words as well


def must_go(line: Line, policy: PixelPolicy, modality: str, identifiers: Identifiers) -> bool:
    """Tell whether a line has to be taken out of the pixels.

    Args:
        line: What an engine has read.
        policy: The profile's.
        modality: (0008,0060) of the instance.
        identifiers: What its header told.
    """
    letters = "".join(_TOKEN.findall(line.text))
    if line.score < _LEAST_SCORES.get(len(letters), 0):
        return False  # an engine takes round structures for an O
    if policy.text is TextPolicy.ALL:
        return True
    if policy.text is TextPolicy.AUTO and modality in _BURNS_TEXT_IN:
        return True
    return line.score < _SURE or tells_who(line.text, identifiers) or not _tells_nothing(line.text)


def tells_who(text: str, identifiers: Identifiers) -> bool:
    """Tell whether a line has an identifier of the header in it, glued to other words or not."""
    if identifiers.finds(text):
        return True
    glued = fold("".join(_TOKEN.findall(text)))
    known = (known.replace(" ", "") for known in identifiers.words | identifiers.phrases)
    return any(len(one) >= _SHORTEST_WITHIN and one in glued for one in known)


def _tells_nothing(text: str) -> bool:
    if _WINDOW.fullmatch(text.strip().lower()):
        return True
    words = [fold(word) for word in _TOKEN.findall(text)]
    if sum(word.isdigit() for word in words) > _MOST_NUMBERS or _NUMBER_THAT_TELLS.search(text):
        return False
    return is_clinical_line(words)
