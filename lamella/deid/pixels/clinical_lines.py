"""Whether a line is made of clinical words only, though an engine lost spaces or a letter.

Engines lose spaces (LEFTLATERAL120kV), a narrow field cuts off the last word (TERMINAL ILE), and
now and then one letter is read as another. Each of these is allowed only beside enough that was
read well, and never for what is a name of many people.
"""

from __future__ import annotations

from collections.abc import Sequence

from lamella.deid.pixels.clinical_words import (
    is_clinical,
    is_cut_off,
    is_eponym,
    is_measure,
    is_misread,
    is_name,
    is_small,
)

_LONG = 4
"""Letters of a word that names are hardly made of."""
_COSTS = {1: -5, 2: -4, 3: -3}
"""Of shorter words within another one, so that no name is read as some of them (PA-TE)."""
_LENGTHS = {1: 3, 2: 2, 3: 3}
_MOST_SHORT = 6
"""Of short words one after the other, by these lengths: of single letters anything is made."""
_LONGEST_CUT = 5
"""Letters of the beginning of a word that is believed without long words before it."""
_SHORTEST_CUT = 3
_ENOUGH_FOR_CUT = 6
_ENOUGH_FOR_MISREAD = 8
"""Letters in long words that have to be there besides."""

_Reading = tuple[int, int]
"""What speaks for it, in letters; the length of short words at its end."""


def is_clinical_line(words: Sequence[str]) -> bool:
    """Tell whether folded words are all clinical.

    Args:
        words: At least one.
    """
    if all(is_eponym(word) and not is_clinical(word) for word in words):
        return False  # without anything beside it, Baker is somebody
    unknown = [index for index, word in enumerate(words) if not _is_known(word)]
    if not unknown:
        return True
    if len(unknown) > 1:
        return False
    letters = sum(len(word) for word in words if len(word) >= _LONG and _is_known(word))
    word = words[unknown[0]]
    if unknown[0] == len(words) - 1 and _ends_cut_off(word, letters):
        return True
    return _is_readable(word, letters) or _is_misread(word, letters)


def _is_known(word: str) -> bool:
    if is_clinical(word) or is_eponym(word):
        return True
    return _is_readable(word, 0)


def _is_readable(word: str, letters: int) -> bool:
    """Tell whether a word is known ones without spaces, and not what people are called."""
    reading = _read(word)[-1]
    if reading is None or letters + reading[0] < 0 or is_name(word):
        return False
    return not any(is_name(word[:end]) and is_name(word[end:]) for end in range(len(word)))


def _ends_cut_off(word: str, letters: int) -> bool:
    """Tell whether a word ends in the beginning of one, which may be short after long words."""
    return any(
        is_cut_off(
            word[start:],
            _SHORTEST_CUT if letters + reading[0] >= _ENOUGH_FOR_CUT else _LONGEST_CUT,
        )
        for start, reading in enumerate(_read(word)[:-1])
        if reading is not None and letters + reading[0] >= 0
    )


def _is_misread(word: str, letters: int) -> bool:
    """Tell whether a word is known but for one letter of one long word in it."""
    for start, before in enumerate(_read(word)):
        if before is None:
            continue
        for end in range(start + 1, len(word) + 1):
            if is_misread(word[start:end]):
                after = _read(word[end:])[-1]
                if after is not None and letters + before[0] + after[0] >= _ENOUGH_FOR_MISREAD:
                    return True
    return False


def _read(word: str) -> list[_Reading | None]:
    """Read a word as known ones without spaces between: each beginning of it, from none to all.

    Returns:
        None for beginnings that cannot be read so.
    """
    readings: list[_Reading | None] = [(0, 0)]
    for end in range(1, len(word) + 1):
        found = [
            longer
            for start, reading in enumerate(readings)
            if reading is not None and (longer := _go_on(reading, word[start:end])) is not None
        ]
        readings.append(max(found, default=None))
    return readings


def _go_on(reading: _Reading, piece: str) -> _Reading | None:
    weight, short = reading
    is_word = is_clinical(piece)
    if not is_word and not is_eponym(piece):
        return None
    if not is_word or (is_small(piece) and 1 < len(piece) < _LONG):
        return weight, short
    if len(piece) >= _LONG or is_measure(piece):
        return weight + len(piece), 0
    short += _LENGTHS[len(piece)]
    return (weight + _COSTS[len(piece)], short) if short <= _MOST_SHORT else None
