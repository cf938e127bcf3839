"""One form of a data set for all its encodings, and the digests made of it.

Two files have the same canonical form when a toolkit's re-encoding is all that lies between them:
implicit or explicit VR, defined or undefined lengths, group lengths, trailing padding of the data
set and of values, private attributes turned UN, big or little endian words. The form never looks
at the VR in the file, which is what re-encoding changes, but at the tag:

    element    tag (4 bytes, little endian), length (4), value bytes, words in little endian
    long value tag, FFFFFFFD, SHA-256 of the value field; from `LONG_VALUE_BYTES` on, and always for
               the tags that files are cut at, so that a segment's digest serves
    sequence   tag, FFFFFFFF, for each item FFFEE000 and its elements and FFFEE00D, then FFFEE0DD

Padding is stripped where the dictionary says the attribute is text; elsewhere an odd length gets
the NUL that it lacks. Of attributes no dictionary
knows, trailing spaces are stripped behind text and trailing NULs behind a UID; what begins like
implicit VR items and parses as such to its last byte counts as a sequence. File meta, group
lengths and (FFFC,FFFC) do not take part. An encapsulated value enters by its bytes.

Source:
    PS3.5 §6.2 (padding), §6.2.2 (UN), §7.2 (group length), §7.5 (sequences); PS3.10 §7.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from lamella.archive.cut import CUT_TAGS
from lamella.archive.dictionary import find_public_vr, is_private, is_private_creator
from lamella.archive.source import ByteSource
from lamella.archive.values import TEXT_VRS, swap_words

LONG_VALUE_BYTES = 64 * 1024
HASH_CHUNK_BYTES = 1024 * 1024

SEQUENCE_MARK = b"\xff\xff\xff\xff"
LONG_MARK = b"\xfd\xff\xff\xff"
ITEM_START = b"\xfe\xff\x00\xe0"
ITEM_END = b"\xfe\xff\x0d\xe0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0"

# How a value's padding is treated; SILENT elements do not take part.
EXACT, PADDED, UNKNOWN, SILENT = 0, 1, 2, 3

_LENGTH = Struct("<I").pack
_TEXT = re.compile(rb"[\t\n\f\r\x1b -~\x80-\xff]*\Z")
_UID = re.compile(rb"[0-9.]+\0+\Z")


class Span(NamedTuple):
    """A value that enters by its SHA-256, made only when digests are asked for.

    Attributes:
        offset_bytes: Where the value field begins in the source that is parsed.
        length_bytes: Its length; with the sequence delimitation item if its length is undefined.
        word_bytes: Size of the words to swap first; 1 if none.
    """

    offset_bytes: int
    length_bytes: int
    word_bytes: int = 1


Part = bytes | Span


def pack_tag(tag: int) -> bytes:
    """Return a tag's four bytes in little endian."""
    return bytes((tag >> 16 & 255, tag >> 24, tag & 255, tag >> 8 & 255))


def choose_padding(tag: int) -> int:
    """Return EXACT, PADDED, UNKNOWN or SILENT, by the tag alone."""
    if tag & 0xFFFF == 0 or tag == 0xFFFCFFFC:
        return SILENT
    if is_private(tag):
        return PADDED if is_private_creator(tag) else UNKNOWN
    vr = find_public_vr(tag)
    if vr is None:
        return UNKNOWN
    return PADDED if vr in TEXT_VRS else EXACT


def encode_value(packed_tag: bytes, value: bytes, padding: int) -> bytes:
    """Return the canonical form of one element with a value, words in little endian already."""
    if len(value) >= LONG_VALUE_BYTES:
        return packed_tag + LONG_MARK + sha256(value + b"\0" * (len(value) % 2)).digest()
    if padding == PADDED:
        value = value.rstrip(b" \0")
    elif padding == UNKNOWN:
        value = _strip_unknown(value)
    elif len(value) % 2:
        value += b"\0"
    return packed_tag + _LENGTH(len(value)) + value


def _strip_unknown(value: bytes) -> bytes:
    # Only what cannot be mistaken for a number: a word of 0020 or 0000 must stay itself.
    if value[-1:] == b" " and value.strip(b" ") and _TEXT.match(value):
        return value.rstrip(b" ")
    if value[-1:] == b"\0" and _UID.match(value):
        return value.rstrip(b"\0")
    if len(value) % 2 and not _TEXT.match(value):
        return value + b"\0"
    return value


def hash_span(source: ByteSource, span: Span) -> bytes:
    """Return a span's SHA-256: words in little endian, an odd length padded with a NUL."""
    padding = b"\0" * (span.length_bytes % 2)
    return hash_range(source, span.offset_bytes, span.length_bytes, span.word_bytes, padding)


def hash_range(
    source: ByteSource, offset: int, length: int, word_bytes: int = 1, padding: bytes = b""
) -> bytes:
    """Return the SHA-256 of a part of the source, read in chunks of up to 1 MiB.

    Args:
        source: What is read.
        offset: In bytes.
        length: In bytes.
        word_bytes: Size of the words to swap first; 1 if none.
        padding: What is hashed after the part.
    """
    hasher = sha256()
    position, stop = offset, offset + length
    while position < stop:
        chunk = source.read_at(position, min(HASH_CHUNK_BYTES, stop - position))
        if not chunk:
            break
        hasher.update(swap_words(chunk, word_bytes) if word_bytes > 1 else chunk)
        position += len(chunk)
    hasher.update(padding)
    return hasher.digest()


def digest_content(parts: Iterable[Part], resolve: Callable[[Span], bytes]) -> bytes:
    """Return the content digest of a data set's canonical form.

    Args:
        parts: What the parser collected, in order.
        resolve: Gives the SHA-256 of a span.
    """
    joined = b"".join(part if isinstance(part, bytes) else resolve(part) for part in parts)
    return sha256(joined).digest()


def digest_bulk(values: Mapping[int, Span], resolve: Callable[[Span], bytes]) -> bytes:
    """Return one digest over the values of the cut tags at the top level.

    Args:
        values: By tag; only tags of `CUT_TAGS` count.
        resolve: Gives the SHA-256 of a span.
    """
    hasher = sha256()
    for tag in sorted(CUT_TAGS & values.keys()):
        hasher.update(pack_tag(tag) + resolve(values[tag]))
    return hasher.digest()
