"""Which lines that an engine has read must go.

Where all text goes, every line does. Elsewhere a line stays only if all of it is known to tell
nothing: marks of side and orientation, units, words of anatomy and technique. What an engine read
badly is not known to tell nothing.
"""

from __future__ import annotations

import re

from lamella.deid.identifiers import Identifiers, fold
from lamella.deid.pixels.engines import Line
from lamella.deid.profiles import PixelPolicy, TextPolicy
from lamella.deid.vocabulary import ALLOWED, is_common

_BURNS_TEXT_IN = frozenset({"US", "SC", "XC", "OT", "IVUS", "ES", "GM", "DOC"})
_SURE = 0.75
_SURE_OF_ONE = 0.9
_TOKEN = re.compile(r"[^\W_]+")
_NUMBER_WITH_UNIT = re.compile(r"\d{1,4}(?:mm|cm|kv|kvp|ma|mas|ms|s|hz|mhz|db|fps|x|hu|deg|b|f|t)?")
_TECHNIQUE = """
mm cm kv kvp ma mas ms hz mhz khz db fps hu deg mm2 cm2 ml sec min st th im se te tr fov wl ww
thk mi tib tis bpm nex eff lat ap pa lao rao cran caud erect supine prone decub rt lt rl ll
lateral axial flair dwi adc stir tse fse gre t1 t2 t1w t2w definition flash force edge
rcc lcc rmlo lmlo cc mlo zoom fr frame
"""
_WINDOW = re.compile(r"(?:w[wl]?|c|l)[: ]*-?\d{1,5}[ ,/]*(?:w[wl]?|c|l)[: ]*-?\d{1,5}")
_SHORTEST_CUT = 5  # letters of a known word whose end is cut off at the image's edge
_UNITS = frozenset(_TECHNIQUE.split())


def must_go(line: Line, policy: PixelPolicy, modality: str, identifiers: Identifiers) -> bool:
    """Tell whether a line has to be taken out of the pixels.

    Args:
        line: What an engine has read.
        policy: The profile's.
        modality: (0008,0060) of the instance.
        identifiers: What its header told.
    """
    letters = "".join(_TOKEN.findall(line.text))
    if not letters or (len(letters) == 1 and line.score < _SURE_OF_ONE):
        return False  # an engine takes round structures for an O
    if policy.text is TextPolicy.ALL:
        return True
    if policy.text is TextPolicy.AUTO and modality in _BURNS_TEXT_IN:
        return True
    return line.score < _SURE or identifiers.finds(line.text) or not _tells_nothing(line.text)


def _tells_nothing(text: str) -> bool:
    if _WINDOW.fullmatch(text.strip().lower()):
        return True
    words = [fold(word) for word in _TOKEN.findall(text)]
    if sum(word.isdigit() for word in words) > 2 or re.search(r"\d{5}|\d[-/.]\d{1,2}[-/.]\d", text):
        return False
    return all(_is_known(word) or _is_glued(word) for word in words)


def _is_known(word: str) -> bool:
    return (
        len(word) == 1
        or word in _UNITS
        or word in ALLOWED
        or is_common(word)
        or _NUMBER_WITH_UNIT.fullmatch(word) is not None
        or (len(word) >= _SHORTEST_CUT and any(one.startswith(word) for one in _UNITS | ALLOWED))
    )


def _is_glued(word: str) -> bool:
    """Tell whether a word is known ones without spaces, which engines lose: LEFTLATERAL120kV."""
    ends = {0}
    for end in range(2, len(word) + 1):
        if any(start in ends and _is_known(word[start:end]) for start in range(end - 1)):
            ends.add(end)
    return len(word) in ends
