"""Words of radiology, which tell nothing of whose image they stand on.

Anatomy, findings and technique as PS3.16 has them in the meanings of its codes
(`data/clinical_words.json`; `data/README.md` tells which were left out), and what scanners write.
"""

from __future__ import annotations

import re
from functools import cache

from lamella.deid.tables import read_data
from lamella.deid.vocabulary import EPONYMS, VENDORS, is_common

_TECHNIQUE = """
mm cm kv kvp ma mas ms hz mhz khz db fps hu deg mm2 cm2 ml sec min st th im se te tr fov wl ww
thk mi tib tis bpm nex eff lat ap pa lao rao cran caud erect supine prone decub rt lt rl ll
lateral axial flair dwi adc stir tse fse gre t1 t2 t1w t2w definition flash force edge
rcc lcc rmlo lmlo cc mlo zoom fr frame
suv mra mrv mrcp cta hrct kub asir kernel recon postop preop restaging
lad lca rca lcx ivc svc lv rv gb cbd cns birads pirads lirads bi rads arms raised
gi ii iii iv vi vii viii ix iva ivb barium swallow enema
"""
_SMALL_WORDS = "a an and as at by for from if in is no of on or per the to was were with without"
_INSTITUTIONS = """
clinic clinica college foundation health healthcare hopital hospital hospitals institute klinik
klinikum krankenhaus universitat university
"""
_SMALL = frozenset(_SMALL_WORDS.split())
_PLACES = frozenset(_INSTITUTIONS.split())
"""Where these stand, an institution is named."""
_SHORTEST_MISREAD = 5
_VERTEBRA = re.compile(r"[ctls]\d{1,2}")
_NUMBER_WITH_UNIT = re.compile(r"\d{1,4}(?:mm|cm|kv|kvp|ma|mas|ms|s|hz|mhz|db|fps|x|hu|deg|b|f|t)?")
_UNITS = _SMALL | frozenset(_TECHNIQUE.split())


def is_clinical(word: str) -> bool:
    """Tell whether a folded word tells nothing: one letter, a number, a unit, a known word."""
    return word not in _PLACES and (
        len(word) == 1
        or word in _UNITS
        or word in VENDORS
        or is_common(word)
        or word in _open("words")
        or is_measure(word)
    )


def is_measure(word: str) -> bool:
    """Tell whether a folded word is a number with or without its unit, or a vertebra."""
    return bool(_NUMBER_WITH_UNIT.fullmatch(word) or _VERTEBRA.fullmatch(word))


def is_small(word: str) -> bool:
    """Tell whether a folded word only holds others together."""
    return word in _SMALL


def is_eponym(word: str) -> bool:
    """Tell whether a folded word is a name that stands for a disease, beside other words."""
    return word in EPONYMS or word in _open("eponyms")


def is_name(word: str) -> bool:
    """Tell whether many people have a folded word as their name."""
    return word in _open("names")


def is_cut_off(word: str, least: int) -> bool:
    """Tell whether a folded word is the beginning of a known one, and no frequent name.

    Args:
        least: Letters; of fewer everything is the beginning.
    """
    return len(word) >= least and word in _open_beginnings()


def is_misread(word: str) -> bool:
    """Tell whether a folded word is a known long one but for one letter, and no name."""
    if len(word) < _SHORTEST_MISREAD or is_name(word):
        return False
    return any(_hide(word, index) in _open_gapped() for index in range(len(word)))


@cache
def _open(kind: str) -> frozenset[str]:
    return frozenset(read_data("clinical_words.json")[kind])


@cache
def _open_beginnings() -> frozenset[str]:
    known = _open("words") | _UNITS | VENDORS
    return frozenset(word[:end] for word in known for end in range(1, len(word))) - _open("names")


@cache
def _open_gapped() -> frozenset[str]:
    words = (word for word in _open("words") if len(word) >= _SHORTEST_MISREAD)
    return frozenset(_hide(word, index) for word in words for index in range(len(word)))


def _hide(word: str, index: int) -> str:
    return f"{word[:index]}?{word[index + 1 :]}"
