"""From the bytes of text values to Unicode, by Specific Character Set (0008,0005).

Decoding never fails: what a character set cannot say becomes U+FFFD, and an unknown or empty
character set is read as ISO 8859-1, in which every byte is a character.

Source:
    PS3.3 §C.12.1.1.2 (defined terms and escape sequences), PS3.5 §6.1.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Decoder = Callable[[bytes], str]

DEFAULT_CODEC = "latin-1"

# Number of the ISO registration in a defined term, and the Python codec that reads it.
_CODECS_BY_NUMBER = {
    "6": DEFAULT_CODEC,
    "13": "shift_jis",
    "58": "gb2312",
    "87": "iso2022_jp",
    "100": "latin-1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "iso8859_11",
    "192": "utf-8",
    "203": "iso8859_15",
}
_CODECS_BY_NAME = {"GB18030": "gb18030", "GBK": "gbk", "ISO 2022 GBK": "gbk"}
_MULTI_BYTE = frozenset({"58", "87", "149", "159"})  # with code extensions only
_ALONE = frozenset({"utf-8", "gb18030", "gbk"})

# Separators are often misspelt ("ISO-IR 100", "ISO_IR_192", "ISO IR 100").
_TERM = re.compile(r"ISO[ _-]?(?:2022[ _-])?(?:IR[ _-]?)?(\d+)")

# After an escape sequence, the codec for what follows, and whether that codec wants to see the
# escape sequence itself.
_ESCAPES: dict[bytes, tuple[str, bool]] = {
    b"(B": (DEFAULT_CODEC, False),
    b"(J": ("shift_jis", False),
    b")I": ("shift_jis", False),
    b"-A": ("latin-1", False),
    b"-B": ("iso8859_2", False),
    b"-C": ("iso8859_3", False),
    b"-D": ("iso8859_4", False),
    b"-F": ("iso8859_7", False),
    b"-G": ("iso8859_6", False),
    b"-H": ("iso8859_8", False),
    b"-L": ("iso8859_5", False),
    b"-M": ("iso8859_9", False),
    b"-T": ("iso8859_11", False),
    b"-b": ("iso8859_15", False),
    b"$B": ("iso2022_jp", True),
    b"$(D": ("iso2022_jp_2", True),
    b"$)C": ("euc_kr", False),
    b"$)A": ("gb2312", False),
}
_RESET = re.compile(rb"[\t\n\f\r]")


def list_defined_terms() -> dict[str, tuple[str, ...]]:
    """Return the defined terms of Specific Character Set that are read, by Python's codec."""
    terms: dict[str, tuple[str, ...]] = {}
    for number, codec in _CODECS_BY_NUMBER.items():
        alone = () if number in _MULTI_BYTE else (f"ISO_IR {number}",)
        extended = () if codec in _ALONE else (f"ISO 2022 IR {number}",)
        terms[codec] = (*terms.get(codec, ()), *alone, *extended)
    for term, codec in _CODECS_BY_NAME.items():
        terms[codec] = (*terms.get(codec, ()), term)
    return terms


@lru_cache(maxsize=256)
def find_decoder(declared: bytes, fallback_charset: str | None = None) -> Decoder:
    """Return the function that decodes text under a declared Specific Character Set.

    Args:
        declared: The value of (0008,0005) as it stands in the file; empty if there is none.
        fallback_charset: A defined term to use when nothing is declared.
    """
    terms = declared.decode("latin-1").strip(" \0")
    codecs = _find_codecs(terms or fallback_charset or "")
    first = codecs[0]
    if first in _ALONE:
        codecs = codecs[:1]
    if first == DEFAULT_CODEC and len(codecs) == 1:
        return _decode_default
    if first in _ALONE:
        return lambda value: value.decode(first, "replace")
    return lambda value: _decode_escaped(value, first)


def _find_codecs(terms: str) -> list[str]:
    return [_find_codec(term.strip(" \0").upper()) for term in terms.split("\\")]


def _find_codec(term: str) -> str:
    if term in _CODECS_BY_NAME:
        return _CODECS_BY_NAME[term]
    match = _TERM.fullmatch(term)
    return _CODECS_BY_NUMBER.get(match[1], DEFAULT_CODEC) if match else DEFAULT_CODEC


def _decode_default(value: bytes) -> str:
    # Escape sequences are honoured even where they were not declared: the text is unreadable
    # otherwise, and no text of the default repertoire contains ESC.
    return (
        value.decode(DEFAULT_CODEC) if b"\x1b" not in value else _decode_escaped(value, "latin-1")
    )


def _decode_escaped(value: bytes, first: str) -> str:
    """Decode a value that may switch character sets by escape sequences (ISO 2022)."""
    head, *runs = value.split(b"\x1b")
    return head.decode(first, "replace") + "".join(_decode_run(run, first) for run in runs)


def _decode_run(run: bytes, first: str) -> str:
    """Decode what follows one ESC, up to the next."""
    for size in (2, 3):
        known = _ESCAPES.get(run[:size])
        if known is not None:
            codec, wants_escape = known
            if wants_escape:
                return (b"\x1b" + run).decode(codec, "replace")
            text = run[size:]
            # PS3.5 §6.1.2.5.3: control characters end what an escape sequence began
            reset = _RESET.search(text)
            end = reset.start() if reset else len(text)
            return text[:end].decode(codec, "replace") + text[end:].decode(first, "replace")
    return (b"\x1b" + run).decode(first, "replace")
