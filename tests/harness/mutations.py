"""Real DICOM files with something wrong in each: thousands of them, each made from a number.

The same number makes the same file, so that one that did harm can be made again. What is wrong
is chosen by structure: elements are found by a walk over tags and lengths that believes what it
reads, and lengths, VRs, values, elements and codestreams are spoilt one or a few at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

from pydicom.data import DATA_ROOT

from tests.harness.hostile import IMPLICIT, LONG_VRS, UNDEFINED, element, mark, nest
from tests.harness.samples import SHARED

LARGEST_BYTES = 200_000  # of a file that is spoilt
_DELIMITERS = 0xFFFE
_CONTAINERS = (b"SQ", b"")
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_TRANSFER_SYNTAX = b"\x02\x00\x10\x00UI"
_SOP_UID = b"\x08\x00\x18\x00"
_VRS = (
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR"
    b" US UT UV ZZ \0\0".split(b" ")
)
_CHARSETS = (
    b"ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"GB18030", b"ISO_IR 13", b"ISO_IR 192", b"utf-16",
    b"ISO_IR 999", b"\\\\\\", b"ISO 2022 IR 6\\ISO 2022 IR 58\\ISO 2022 IR 87", b"\x1b$B", b"",
)  # fmt: skip
_NUMBERS = (
    b"1e999", b"nan", b"-1", b"0", b"99999999999", b"--", b"\\\\\\", b"0x1F", b"1e-400", b"+",
    b"2147483648", b" ", b"1.5", b"inf", b"\0",
)  # fmt: skip
# What decides how many bytes pixels are, by tag as it is written.
_COUNTS = tuple(
    struct.pack("<HH", group, number)
    for group, number in (
        (0x28, 0x02), (0x28, 0x06), (0x28, 0x08), (0x28, 0x10), (0x28, 0x11), (0x28, 0x100),
        (0x28, 0x101), (0x28, 0x102), (0x28, 0x103), (0x28, 0x1101), (0x28, 0x3002), (0x54, 0x11),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Element:
    """Where an element lies in its file.

    Attributes:
        length_at: Of its length field, which has `length_size` bytes.
        depth_hint: Whether it stands where top-level elements stand, as far as the walk knows.
    """

    start: int
    vr: bytes
    length_at: int
    length_size: int
    value_at: int
    stop: int


@dataclass(frozen=True)
class Original:
    """A file that can be spoilt."""

    name: str
    data: bytes

    @cached_property
    def elements(self) -> list[Element]:
        """Its elements, items and delimiters, of all levels, as they lie."""
        return list_elements(self.data)

    @cached_property
    def body_at(self) -> int:
        """Where the data set begins."""
        inner = [one for one in self.elements if self.data[one.start : one.start + 2] != b"\x02\0"]
        return inner[0].start if inner else len(self.data)


Mutation = Callable[[Original, Random], bytes]


def list_elements(data: bytes) -> list[Element]:
    """Walk over a Part 10 file in a little endian transfer syntax as far as it makes sense."""
    found: list[Element] = []
    at, is_explicit = 132, True
    while at + 8 <= len(data):
        group = int.from_bytes(data[at : at + 2], "little")
        if group != 2 and is_explicit and _is_implicit(data, at):
            is_explicit = False
        one = _read_element(data, at, is_explicit=is_explicit and group != _DELIMITERS)
        found.append(one)
        length = int.from_bytes(data[one.length_at : one.value_at], "little")
        is_inside = one.vr in _CONTAINERS and (group == _DELIMITERS or one.vr == b"SQ")
        at = one.value_at if is_inside or length == UNDEFINED else one.stop
    return found


def _is_implicit(data: bytes, at: int) -> bool:
    place = data.find(_TRANSFER_SYNTAX, 132, at)
    length = int.from_bytes(data[place + 6 : place + 8], "little")
    uid = data[place + 8 : place + 8 + length].rstrip(b"\0").decode("latin-1")
    return place >= 0 and uid == IMPLICIT


def _read_element(data: bytes, at: int, *, is_explicit: bool) -> Element:
    vr = data[at + 4 : at + 6] if is_explicit else b""
    if not is_explicit:
        length_at, size = at + 4, 4
    elif vr in LONG_VRS:
        length_at, size = at + 8, 4
    else:
        length_at, size = at + 6, 2
    value_at = length_at + size
    length = int.from_bytes(data[length_at:value_at], "little")
    stop = len(data) if length == UNDEFINED else min(len(data), value_at + length)
    return Element(at, vr, length_at, size, value_at, stop)


def flip_bits(original: Original, random: Random) -> bytes:
    spoilt = bytearray(original.data)
    last = len(spoilt) if random.random() < 0.5 else min(len(spoilt), 2000)
    for _ in range(random.randint(1, 8)):
        spoilt[random.randrange(128, last)] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def truncate(original: Original, random: Random) -> bytes:
    one = random.choice(original.elements)
    point = random.choice((one.start, one.length_at, one.value_at, one.stop))
    return original.data[: max(0, point + random.randint(-1, 1))]


def lie_about_length(original: Original, random: Random) -> bytes:
    one = random.choice(original.elements)
    length, rest = one.stop - one.value_at, len(original.data) - one.value_at
    lies = (0, 1, length + 2, max(0, length - 2), length + 1, rest, rest + 1, rest + 2, 0x7FFFFFFF,
            0xFFFE, UNDEFINED - 1, UNDEFINED)  # fmt: skip
    told = random.choice(lies) & ((1 << 8 * one.length_size) - 1)
    field = told.to_bytes(one.length_size, "little")
    return original.data[: one.length_at] + field + original.data[one.value_at :]


def swap_vr(original: Original, random: Random) -> bytes:
    spoilt = bytearray(original.data)
    for one in random.sample(original.elements, min(3, len(original.elements))):
        if one.vr:
            spoilt[one.start + 4 : one.start + 6] = random.choice(_VRS)
    return bytes(spoilt)


def insert_nest(original: Original, random: Random) -> bytes:
    depth = random.choice((3, 64, 126, 127, 128, 129, 1000, 5000))
    return _insert(original, nest(depth, defined=depth < 2000 and random.random() < 0.5), random)


def lie_about_charset(original: Original, random: Random) -> bytes:
    value = random.choice(_CHARSETS)
    lie = element(0x00080005, b"CS", value + b" " * (len(value) % 2))
    at = original.body_at
    spoilt = bytearray(original.data[:at] + lie + original.data[at:])
    texts = [one for one in original.elements if one.vr in (b"PN", b"LO", b"SH", b"LT", b"UT")]
    for one in random.sample(texts, min(2, len(texts))):
        for place in range(one.value_at + len(lie), one.stop + len(lie)):
            spoilt[place] = random.choice(b"\x1b$B\xff\xfe\x80^=\\\0A")
    return bytes(spoilt)


def lie_about_counts(original: Original, random: Random) -> bytes:
    spoilt = bytearray(original.data)
    counts = [one for one in original.elements if spoilt[one.start : one.start + 4] in _COUNTS]
    for one in random.sample(counts, min(2, len(counts))):
        size = one.stop - one.value_at
        lie = random.choice((bytes(size), b"\xff" * size, b"\1" + bytes(size)[1:], b"9" * size,
                             b"-" + b"1" * size, random.randbytes(size)))[:size]  # fmt: skip
        spoilt[one.value_at : one.value_at + len(lie)] = lie
    return bytes(spoilt)


def repeat_element(original: Original, random: Random) -> bytes:
    one = random.choice(original.elements)
    return _insert(
        original, original.data[one.start : one.stop] * random.choice((1, 2, 50)), random
    )


def insert_private(original: Original, random: Random) -> bytes:
    group = random.randrange(9, 0xFFFF, 2)
    garbage = b"".join(
        element(
            group << 16 | random.choice((0x10, 0x1000, 0x1001, 0x10FF, 0, 1, 0xFFFF)),
            random.choice(_VRS),
            random.randbytes(random.choice((0, 1, 2, 8, 255, 2000))),
        )
        for _ in range(random.randint(1, 6))
    )
    return _insert(original, garbage, random)


def spoil_codestream(original: Original, random: Random) -> bytes:
    spoilt = bytearray(original.data)
    start = max(spoilt.rfind(_PIXEL_DATA), 200)
    for _ in range(random.choice((1, 3, 30, 300))):
        spoilt[random.randrange(min(start + 8, len(spoilt) - 1), len(spoilt))] = random.randrange(
            256
        )
    if random.random() < 0.2:
        at = random.randrange(start, len(spoilt))
        del spoilt[at : at + random.randint(1, 64)]
    return bytes(spoilt)


def drop_element(original: Original, random: Random) -> bytes:
    one = random.choice(original.elements)
    return original.data[: one.start] + original.data[one.stop :]


def swap_elements(original: Original, random: Random) -> bytes:
    first, second = sorted(random.choices(original.elements, k=2), key=lambda one: one.start)
    if first.stop > second.start:
        return original.data[: first.start] + original.data[second.start :]
    pieces = (first.stop, second.start), (first.start, first.stop)
    data = original.data
    middle = b"".join(data[start:stop] for start, stop in pieces)
    return data[: first.start] + data[second.start : second.stop] + middle + data[second.stop :]


def spoil_values(original: Original, random: Random) -> bytes:
    spoilt = bytearray(original.data)
    for one in random.sample(original.elements, min(4, len(original.elements))):
        size = min(one.stop - one.value_at, 64)
        noise = random.choice(_NUMBERS) * 64 if random.random() < 0.6 else random.randbytes(64)
        spoilt[one.value_at : one.value_at + size] = noise[:size]
    return bytes(spoilt)


def insert_delimiters(original: Original, random: Random) -> bytes:
    tag = random.choice((0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD))
    length = random.choice((0, 8, UNDEFINED))
    return _insert(original, mark(tag, length) * random.choice((1, 2, 100)), random)


MUTATIONS: Sequence[Mutation] = (
    flip_bits, truncate, lie_about_length, swap_vr, insert_nest, lie_about_charset,
    lie_about_counts, repeat_element, insert_private, spoil_codestream, drop_element,
    swap_elements, spoil_values, insert_delimiters,
)  # fmt: skip


def _insert(original: Original, piece: bytes, random: Random) -> bytes:
    places = [one.start for one in original.elements if one.start >= original.body_at]
    at = random.choice(places or [len(original.data)])
    return original.data[:at] + piece + original.data[at:]


def find_originals() -> list[Original]:
    """Return pydicom's bundled files and, where they lie beside the repository, the shared ones."""
    found = []
    for root in (Path(str(DATA_ROOT)), SHARED):
        for path in sorted(root.rglob("*")):
            if path.is_file() and 200 < path.stat().st_size <= LARGEST_BYTES:
                original = Original(path.name, path.read_bytes())
                if original.data[128:132] == b"DICM" and len(original.elements) > 3:
                    found.append(original)
    return found


@dataclass(frozen=True)
class Mutated:
    """A spoilt file.

    Attributes:
        name: Says which it is, for a person who has to make it again.
    """

    name: str
    kind: str
    original: Original
    data: bytes

    @property
    def has_sound_meta(self) -> bool:
        """Whether the file meta are those of the original."""
        at = self.original.body_at
        return self.data[:at] == self.original.data[:at] and len(self.data) > at


def make_mutated(originals: Sequence[Original], number: int, seed: int) -> Mutated:
    """Return the spoilt file of a number."""
    random = Random(f"{seed} {number}")
    mutate = MUTATIONS[number % len(MUTATIONS)]
    original = rename_instance(random.choice(originals), number)
    kind = mutate.__name__
    name = f"{kind} of {original.name} (seed {seed}, number {number})"
    return Mutated(name, kind, original, mutate(original, random))


def rename_instance(original: Original, number: int) -> Original:
    """Return the file with a SOP Instance UID of its own, of the same length, if that has room."""
    at = original.data.find(_SOP_UID, 132)
    one = next((one for one in original.elements if one.start == at), None)
    if one is None:
        return original
    uid = original.data[one.value_at : one.stop].rstrip(b"\0 ")
    digits = b"%d" % (1_000_000 + number)
    if len(uid) < 20:
        return original
    renamed = uid[: -len(digits) - 1] + b"." + digits
    renamed = renamed.replace(b"..", b".1")
    return Original(original.name, original.data.replace(uid, renamed))
