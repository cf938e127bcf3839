"""How names sound: codes that words have in common if they sound alike.

Double Metaphone, because it was made for names of many origins (`Meyer`, `Maier` and `Mayr` are
one code; Soundex keeps first letters apart, plain Metaphone tells `Meyer` from `Maier`) and gives a
second code where a name is said in two ways, so that `Schmidt` meets `Smith`.

Source:
    L. Philips, The Double Metaphone Search Algorithm, C/C++ Users Journal 18 (2000), 38-43.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from doublemetaphone import doublemetaphone

SHORTEST_CODE: Final = 2
"""A code of one letter says little: `Li`, `Lee`, `Leo`, `Lou` and the initial `L` share one."""

_LATIN: Final = re.compile(r"[a-z]+")


@lru_cache(maxsize=4096)
def list_sounds(word: str) -> frozenset[str]:
    """Return the codes of a word; none if it is not of Latin letters, or too short for one.

    Args:
        word: In search form (see `person_name.fold`).
    """
    if not _LATIN.fullmatch(word):
        return frozenset()
    return frozenset(code for code in doublemetaphone(word) if len(code) >= SHORTEST_CODE)
