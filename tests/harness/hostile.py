"""Files that were made to do harm: each one a way in which a parser can be led astray.

Every file names CANARY as its patient, which must turn up in no log and no error answer.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator

CANARY = "Kanarienvogel"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
UNDEFINED = 0xFFFFFFFF
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ROOT = "1.2.826.0.1.3680043.2.1143.66"

_PLACEHOLDER = f"{ROOT}.10000"
LONG_VRS = {b"OB", b"OW", b"UN", b"UT", b"SQ", b"UC", b"UR", b"OF", b"OD", b"OL", b"OV"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return one element in Explicit VR Little Endian, with whatever length one likes."""
    length = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in LONG_VRS:
        return head + struct.pack("<HL", 0, length) + value
    return head + struct.pack("<H", length & 0xFFFF) + value


def mark(tag: int, length: int = 0) -> bytes:
    """Return an item tag or a delimiter."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, length)


def text(tag: int, vr: bytes, value: str | bytes) -> bytes:
    """Return a text element, padded."""
    raw = value.encode() if isinstance(value, str) else value
    return element(tag, vr, raw + (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2))


def meta(transfer_syntax_uid: str = EXPLICIT, sop_uid: str = f"{ROOT}.1") -> bytes:
    """Return preamble, prefix and file meta information."""
    body = (
        element(0x00020001, b"OB", b"\0\1")
        + text(0x00020002, b"UI", SECONDARY_CAPTURE)
        + text(0x00020003, b"UI", sop_uid)
        + text(0x00020010, b"UI", transfer_syntax_uid)
    )
    return bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(body))) + body


def head(sop_uid: str | bytes, study_uid: str | bytes = f"{ROOT}.9") -> bytes:
    """Return the elements up to group 0020 that every instance needs."""
    return (
        text(0x00080016, b"UI", SECONDARY_CAPTURE)
        + text(0x00080018, b"UI", sop_uid)
        + text(0x00080060, b"CS", "OT")
        + text(0x00100010, b"PN", f"{CANARY}^Hans")
        + text(0x00100020, b"LO", f"{CANARY}-1")
        + text(0x0020000D, b"UI", study_uid)
        + text(0x0020000E, b"UI", f"{ROOT}.8")
    )


def image(rows: int = 8, columns: int = 8, bits: int = 8, frames: str = "1") -> bytes:
    """Return the Image Pixel attributes."""
    return (
        element(0x00280002, b"US", struct.pack("<H", 1))
        + text(0x00280004, b"CS", "MONOCHROME2")
        + text(0x00280008, b"IS", frames)
        + element(0x00280010, b"US", struct.pack("<H", rows))
        + element(0x00280011, b"US", struct.pack("<H", columns))
        + element(0x00280100, b"US", struct.pack("<H", bits))
        + element(0x00280101, b"US", struct.pack("<H", bits))
        + element(0x00280102, b"US", struct.pack("<H", bits - 1))
        + element(0x00280103, b"US", bytes(2))
    )


def nest(depth: int, *, defined: bool) -> bytes:
    """Return a sequence that holds itself again and again."""
    inner = b""
    opening = element(0x00081140, b"SQ", b"", UNDEFINED) + mark(_ITEM, UNDEFINED)
    if not defined:
        return opening * depth + (mark(_ITEM_END) + mark(_SEQUENCE_END)) * depth
    for _ in range(depth):
        inner = element(0x00081140, b"SQ", mark(_ITEM, len(inner)) + inner)
    return inner


def plain(sop_uid: str, extra: bytes = b"", pixels: bytes = bytes(64)) -> bytes:
    """Return a file with nothing wrong, but for what is put into it after group 0008."""
    body = head(sop_uid)
    at = body.index(struct.pack("<HH", 0x10, 0x10))
    image_part = image() + element(0x7FE00010, b"OW", pixels)
    return meta(sop_uid=sop_uid) + body[:at] + extra + body[at:] + image_part


def deflate(*runs: tuple[bytes, int]) -> bytes:
    """Return raw DEFLATE of each run's bytes, repeated; the repeats cost nothing to make."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = [
        (packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)) * repeats
        for data, repeats in runs
    ]
    return b"".join(packed) + packer.flush()


def _bombs(uid: str) -> Iterator[tuple[str, bytes]]:
    start, zeros = meta(DEFLATED, uid), bytes(1 << 20)
    body = head(uid) + image()
    waste = element(0x7FE00010, b"OB", b"", 768 << 20)
    yield "deflate bomb of 768 MB", start + deflate((body + waste, 1), (zeros, 768))
    yield "deflate bomb of nothing", start + deflate((zeros, 300))
    yield "deflated, cut short", (start + deflate((body, 1)))[:-9]
    yield "deflated garbage", start + random.Random(5).randbytes(3000)


def _lengths(uid: str) -> Iterator[tuple[str, bytes]]:
    body = meta(sop_uid=uid) + head(uid)
    for length in (0xFFFFFFFE, 0x7FFFFFFF, 0x80000000, 65, 63, 3):
        lying = image() + element(0x7FE00010, b"OW", bytes(64), length)
        yield f"pixel data of {length:#x} bytes", body + lying
        yield f"sequence of {length:#x} bytes", body + element(0x00400275, b"SQ", bytes(64), length)
        yield f"UN of {length:#x} bytes", body + element(0x00410010, b"UN", bytes(64), length)
        item = mark(_ITEM, length) + text(0x00080100, b"SH", "A")
        yield f"item of {length:#x} bytes", body + element(0x00400275, b"SQ", item, UNDEFINED)
        fragments = mark(_ITEM, 0) + mark(_ITEM, length) + bytes(64)
        yield (
            f"fragment of {length:#x} bytes",
            meta(RLE, uid) + head(uid) + image() + element(0x7FE00010, b"OB", fragments, UNDEFINED),
        )
    yield "short text of 65535 bytes", body + element(0x00204000, b"LT", b"x" * 20, 0xFFFF)
    yield "undefined length without an end", body + element(0x00400275, b"SQ", b"", UNDEFINED)
    yield "text of undefined length", body + element(0x00204000, b"UT", b"x" * 20, UNDEFINED)
    number = struct.pack("<HHL", 0x0028, 0x0010, 0xFFFFFFFE)
    yield "implicit length beyond the end", meta(IMPLICIT, uid) + _implicit(uid) + number


def _implicit(uid: str) -> bytes:
    values = {0x00080018: uid, 0x0020000D: f"{ROOT}.9", 0x0020000E: f"{ROOT}.8"}
    return b"".join(
        struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value) + len(value) % 2)
        + value.encode()
        + b"\0" * (len(value) % 2)
        for tag, value in values.items()
    )


def _uids(uid: str) -> Iterator[tuple[str, bytes]]:
    values = {
        "NULs": b"\0\0\0\0",
        "nothing": b"",
        "an inner NUL": b"1.2\0.3.4 ",
        "a path": b"../../../etc/passwd ",
        "65 digits": b"1" * 66,
        "two values": b"1.2.3\\1.2.4",
        "a quote": b"1.2'; --",
        "bytes beyond ASCII": b"1.2.\xff\xfe",
        "dots": b"..",
    }
    for name, value in values.items():
        yield f"SOP Instance UID of {name}", meta(sop_uid=uid) + head(value)
        yield f"Study Instance UID of {name}", meta(sop_uid=uid) + head(uid, value)


def _meta(uid: str) -> Iterator[tuple[str, bytes]]:
    good, body = meta(sop_uid=uid), head(uid) + image()
    at = good.index(b"UL\x04\x00") + 4
    for length in (0, 7, 99999, UNDEFINED):
        yield (
            f"file meta of {length:#x} bytes",
            good[:at] + struct.pack("<L", length) + good[at + 4 :],
        )
    for length in (0, 7, 99999, UNDEFINED):
        wrong = good[:at] + struct.pack("<L", length) + good[at + 4 :]
        yield f"file meta said to have {length:#x} bytes", wrong + body
    prefix = bytes(128) + b"DICM"
    yield "no file meta", prefix + body
    yield "no preamble", body
    yield "the prefix alone", prefix
    yield "garbage in group 0002", prefix + b"\2\0\2\0\xff\xff\xff\xff" * 9 + body
    yield "unknown transfer syntax", meta("1.2.3.4.5", uid) + body
    yield "transfer syntax of NULs", meta("\0\0\0", uid) + body
    yield "group 0002 in the data set", good + body + text(0x00020010, b"UI", DEFLATED)
    yield "a file meta element of 64 KiB", prefix + text(0x00020010, b"UI", "1" * 0xFFF0) + body
    yield "file meta without an end", prefix + element(0x00020002, b"UI", b"") * 200_000


def _values(uid: str) -> Iterator[tuple[str, bytes]]:
    start = meta(sop_uid=uid) + head(uid)
    blank = b"".join(element(0x00290000 + at, b"LO", b"") for at in range(0x1000, 0x6000))
    yield "20,000 elements", start + blank
    yield "the same element 200,000 times", start + element(0x00204000, b"LT", b"") * 200_000
    empty = mark(_ITEM, 0) * 50_000
    yield "50,000 empty items", start + element(0x00400275, b"SQ", empty)
    yield "tags in falling order", meta(sop_uid=uid) + image() + head(uid)
    yield (
        "strange character sets",
        (
            meta(sop_uid=uid)
            + text(0x00080005, b"CS", "\\".join(["ISO 2022 IR 87"] * 3000))
            + head(uid)
        ),
    )
    yield (
        "an unknown character set",
        meta(sop_uid=uid) + text(0x00080005, b"CS", "rot13") + head(uid),
    )
    yield (
        "numbers that are none",
        start + text(0x00280008, b"IS", "0x12") + text(0x00280030, b"DS", "nan\\inf\\1e999\\--1"),
    )
    yield "a name of 30,000 carets", start + text(0x00204000, b"LT", "^=" * 30_000)
    yield "control characters", start + text(0x00204000, b"LT", bytes(range(256)))
    yield (
        "100 billion frames",
        start + image(frames="99999999999") + element(0x7FE00010, b"OW", bytes(64)),
    )
    yield "frames below zero", start + image(frames="-5") + element(0x7FE00010, b"OW", bytes(64))
    yield (
        "65,535 rows and columns",
        start + image(65535, 65535, 64) + element(0x7FE00010, b"OW", bytes(64)),
    )
    rle = mark(_ITEM, 0) + mark(_ITEM, 64) + struct.pack("<L", 15) + b"\xff" * 60
    tail = element(0x7FE00010, b"OB", rle + mark(_SEQUENCE_END), UNDEFINED)
    yield "RLE of segments beyond the end", meta(RLE, uid) + head(uid) + image() + tail
    many = mark(_ITEM, 0) + mark(_ITEM, 0) * 100_000 + mark(_SEQUENCE_END)
    yield (
        "100,000 empty fragments",
        (
            meta(RLE, uid)
            + head(uid)
            + image(frames="100000")
            + element(0x7FE00010, b"OB", many, UNDEFINED)
        ),
    )


def _random(uid: str) -> Iterator[tuple[str, bytes]]:
    noise = random.Random(7)
    for size in (0, 1, 131, 132, 133, 500, 70_000):
        yield f"{size} random bytes", noise.randbytes(size)
        yield f"{size} random bytes after DICM", bytes(128) + b"DICM" + noise.randbytes(size)
        yield f"{size} random bytes as a data set", meta(sop_uid=uid) + noise.randbytes(size)
        yield (
            f"{size} random bytes behind a header",
            meta(sop_uid=uid) + head(uid) + noise.randbytes(size),
        )
    whole = bytearray(plain(uid))
    for number in range(40):
        spoilt = bytearray(whole)
        for _ in range(3):
            spoilt[noise.randrange(132, len(spoilt))] = noise.randrange(256)
        yield f"three wrong bytes, {number}", bytes(spoilt)


def _nested(uid: str) -> Iterator[tuple[str, bytes]]:
    for depth in (50, 200, 10_000):
        for defined in (True, False):
            kind = "defined" if defined else "undefined"
            yield f"{depth} levels of {kind} length", plain(uid, nest(depth, defined=defined))
    opening = element(0x00081140, b"SQ", b"", UNDEFINED) + mark(_ITEM, UNDEFINED)
    yield "50,000 levels that never end", meta(sop_uid=uid) + head(uid) + opening * 50_000


def _truncated(uid: str) -> Iterator[tuple[str, bytes]]:
    whole = plain(uid, nest(3, defined=False))
    for at in range(0, len(whole), 17):
        yield f"cut off after {at} bytes", whole[:at]


def _crowded(uid: str) -> Iterator[tuple[str, bytes]]:
    start, body = meta(DEFLATED, uid), head(uid)
    items, repeats = mark(_ITEM, 0) * 1000, 2000
    sequence = element(0x00400275, b"SQ", b"", len(items) * repeats)
    yield "2 million items", start + deflate((body + sequence, 1), (items, repeats))
    sequence = element(0x00400275, b"SQ", b"", UNDEFINED)
    disorder = text(0x00080005, b"CS", "X") + body + sequence
    packed = deflate((body + disorder, 1), (items, repeats))
    yield "2 million items in a damaged header", start + packed


def make_bombs() -> Iterator[tuple[str, bytes]]:
    """Yield (what is wrong, the file) for small files that cost much to read."""
    yield from _bombs(f"{ROOT}.20000")
    yield from _crowded(f"{ROOT}.20001")


def make_hostile_files() -> Iterator[tuple[str, bytes]]:
    """Yield (what is wrong, the file); each with a SOP Instance UID of its own where it has one."""
    kinds = (_nested, _truncated, _lengths, _random, _meta, _values, _uids)
    number = 10_000
    for kind in kinds:
        for name, data in kind(_PLACEHOLDER):
            number += 1
            yield name, data.replace(_PLACEHOLDER.encode(), f"{ROOT}.{number}".encode())
