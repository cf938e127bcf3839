"""Look-up tables: descriptor and data to an array, and its application.

Source:
    PS3.3 §C.11.1.1.1 and §C.11.2.1.1 (LUT Descriptor), §C.7.6.3.1.5 and §C.7.9.2 (palettes).
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamella.errors import BrokenInstance

Array = np.ndarray[Any, Any]
LUT_DESCRIPTOR, LUT_DATA = "00283002", "00283006"
_MAX_ENTRIES = 1 << 16


@dataclass(frozen=True)
class LookUpTable:
    """A table over consecutive input values.

    Attributes:
        entries: Output values.
        first_input: The input that gets the first entry; lower ones get it, too.
        bits: Bits of each entry.
    """

    entries: Array
    first_input: int
    bits: int

    def apply(self, values: Array) -> Array:
        """Return the entry of each value; beyond an end the entry at that end."""
        index = np.clip(values - self.first_input, 0, len(self.entries) - 1)
        found: Array = self.entries[index.astype(np.intp)]
        return found


def read_table(
    attributes: Mapping[str, Any],
    *,
    descriptor: str = LUT_DESCRIPTOR,
    data: str = LUT_DATA,
    is_signed: bool = False,
) -> LookUpTable:
    """Return the table of a data set.

    Args:
        attributes: DICOM JSON.
        descriptor: Tag of its descriptor.
        data: Tag of its entries.
        is_signed: Whether input values are: a first input beyond 32,767 is then negative.

    Raises:
        BrokenInstance: It is missing or contradictory.
    """
    numbers = attributes.get(descriptor, {}).get("Value") or []
    if len(numbers) != 3:
        raise BrokenInstance("A look-up table has no descriptor.")
    count, first, bits = (int(number) for number in numbers)
    count = count % _MAX_ENTRIES or _MAX_ENTRIES  # 0 stands for 65,536, and SS cannot say more
    if is_signed and first > 0x7FFF:
        first -= 1 << 16
    entries = _read_entries(attributes.get(data, {}), count)
    if len(entries) < count:
        raise BrokenInstance("A look-up table is shorter than its descriptor says.")
    return LookUpTable(entries[:count], first, min(max(bits, 8), 16))


def _read_entries(element: Mapping[str, Any], count: int) -> Array:
    """Return the entries: 16-bit words, or bytes where there are just as many."""
    if "Value" in element:
        return np.array([int(value) & 0xFFFF for value in element["Value"]], "<u2")
    raw = a2b_base64(element.get("InlineBinary", ""))
    if count <= len(raw) <= count + 1:
        return np.frombuffer(raw, "u1").astype("<u2")
    return np.frombuffer(raw[: len(raw) // 2 * 2], "<u2")


def read_words(element: Mapping[str, Any]) -> Array:
    """Return the 16-bit words of an element's value.

    Raises:
        BrokenInstance: It has none.
    """
    if "Value" in element:
        return np.array([int(value) & 0xFFFF for value in element["Value"]], "<u2")
    raw = a2b_base64(element.get("InlineBinary", ""))
    if len(raw) < 2:
        raise BrokenInstance("A look-up table has no data.")
    return np.frombuffer(raw[: len(raw) // 2 * 2], "<u2")


def expand_segments(words: Sequence[int], count: int) -> Array:
    """Return the entries that a segmented palette stands for.

    Args:
        words: The segments.
        count: Entries that the descriptor tells.

    Raises:
        BrokenInstance: A segment is unknown, or the entries are too few or too many.

    Source:
        PS3.3 §C.7.9.2: 0 discrete, 1 linear, 2 indirect.
    """
    entries = _expand(words, 0, None, count, depth=0)
    if len(entries) < count:
        raise BrokenInstance("A segmented palette is shorter than its descriptor says.")
    return np.array(entries[:count], "<u2")


def _expand(
    words: Sequence[int],
    position: int,
    n_segments: int | None,
    limit: int,
    *,
    depth: int,
    last: int = 0,
) -> list[int]:
    """Expand segments from a position on, all or so many of them.

    A linear segment starts from the entry before it, also where it is used by an indirect one.
    """
    entries: list[int] = []
    while position + 1 < len(words) and n_segments != 0 and len(entries) <= limit:
        opcode, length = words[position], words[position + 1]
        before = entries[-1] if entries else last
        if opcode == 0:
            entries += words[position + 2 : position + 2 + length]
            position += 2 + length
        elif opcode == 1 and position + 2 < len(words):
            end = words[position + 2]
            entries += [round(before + (end - before) * (n + 1) / length) for n in range(length)]
            position += 3
        elif opcode == 2 and depth == 0 and position + 3 < len(words):
            offset = words[position + 2] | words[position + 3] << 16
            entries += _expand(words, offset, length, limit, depth=1, last=before)
            position += 4
        else:
            raise BrokenInstance("A segmented palette has an unknown segment.")
        n_segments = None if n_segments is None else n_segments - 1
    return entries
