"""From the bytes of one value to the `Value` array of the DICOM JSON model.

One function per kind of VR: `encode(value, decode)` gives the array, or None for an empty value.
A ValueError says that the bytes are no value of that VR (a length that is no multiple of the word);
the caller then shows them as UN.

Source:
    PS3.18 §F.2.2–F.2.5 (JSON model), PS3.5 §6.2 (value representations).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from math import isfinite
from struct import Struct, unpack
from typing import Any

from lamella.archive.charsets import Decoder

Encode = Callable[[bytes, Decoder], list[Any] | None]

BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
LONG_HEADER_VRS = frozenset(
    {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
)
TEXT_VRS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM"}
    | {"UC", "UI", "UR", "UT"}
)

# Bytes of one word, for swapping what a big-endian file holds.
WORD_BYTES = {
    "AT": 2, "FD": 8, "FL": 4, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2, "SL": 4, "SS": 2,
    "SV": 8, "UL": 4, "US": 2, "UV": 8,
}  # fmt: skip

_MAX_SAFE_INTEGER = 2**53 - 1  # beyond it a JSON number no longer says the same everywhere
_PADDING = b" \0"
_UID = re.compile(r"[0-9][0-9.]{0,63}")


def is_uid(text: str) -> bool:
    """Return whether a text can pass for a UID; zeros may lead its components (PS3.5 §9.1)."""
    return _UID.fullmatch(text) is not None


def swap_words(value: bytes, word_bytes: int) -> bytes:
    """Return the value with the bytes of each word reversed; a part of a word at the end stays."""
    if word_bytes == 1:
        return value
    whole = len(value) - len(value) % word_bytes
    swapped = bytearray(value)
    for index in range(word_bytes):
        swapped[index:whole:word_bytes] = value[word_bytes - 1 - index : whole : word_bytes]
    return bytes(swapped)


def _encode_code(value: bytes, decode: Decoder) -> list[Any] | None:
    """AS, CS, DA, DT, TM: default repertoire, several values."""
    text = value.rstrip(_PADDING).decode("latin-1")
    if "\\" in text:
        return [part or None for part in text.split("\\")]
    return [text] if text else None


def _encode_uid(value: bytes, decode: Decoder) -> list[Any] | None:
    text = value.strip(_PADDING).decode("latin-1")
    if "\\" in text:
        return [part.strip(" \0") or None for part in text.split("\\")]
    return [text] if text else None


def _encode_ae_title(value: bytes, decode: Decoder) -> list[Any] | None:
    text = value.decode("latin-1").strip(" \0\t\r\n\f\v")
    if "\\" in text:
        return [part.strip() or None for part in text.split("\\")]
    return [text] if text else None


def _encode_strings(value: bytes, decode: Decoder) -> list[Any] | None:
    """LO, SH, UC: in the declared character set, several values."""
    text = decode(value).rstrip(" \0")
    if "\\" in text:
        return [part.rstrip(" \0") or None for part in text.split("\\")]
    return [text] if text else None


def _encode_text(value: bytes, decode: Decoder) -> list[Any] | None:
    """LT, ST, UT: in the declared character set, one value, backslashes included."""
    text = decode(value).rstrip(" \0")
    return [text] if text else None


def _encode_uri(value: bytes, decode: Decoder) -> list[Any] | None:
    text = value.decode("latin-1").rstrip(" \0\t\r\n\f\v")
    return [text] if text else None


def _encode_person_name(value: bytes, decode: Decoder) -> list[Any] | None:
    text = decode(value.rstrip(_PADDING))
    names = [_split_person_name(name) for name in text.split("\\")]
    return names if len(names) > 1 or names[0] else None


def _split_person_name(name: str) -> dict[str, str] | None:
    groups = name.split("=")
    if len(groups) == 1:
        return {"Alphabetic": name} if name else None
    keys = ("Alphabetic", "Ideographic", "Phonetic")
    return {key: group for key, group in zip(keys, groups, strict=False) if group} or None


def _encode_integers(value: bytes, decode: Decoder) -> list[Any] | None:
    """IS: numbers where the number says the same, else strings."""
    text = value.rstrip(_PADDING).decode("latin-1")
    if "\\" in text:
        return [_read_integer(part) for part in text.split("\\")]
    return [_read_integer(text)] if text.strip() else None


def _read_integer(text: str) -> int | float | str | None:
    try:
        number = int(text)
    except ValueError:
        return _read_decimal(text)
    if "_" in text or not -_MAX_SAFE_INTEGER <= number <= _MAX_SAFE_INTEGER:
        return text.strip()
    return number


def _encode_decimals(value: bytes, decode: Decoder) -> list[Any] | None:
    """DS: numbers where the number says the same, else strings."""
    text = value.rstrip(_PADDING).decode("latin-1")
    if "\\" in text:
        return [_read_decimal(part) for part in text.split("\\")]
    return [_read_decimal(text)] if text.strip() else None


def _read_decimal(text: str) -> float | str | None:
    try:
        number = float(text)
    except ValueError:
        return text.strip(" \0") or None
    if len(text) > 15 and not _says_the_same(text, number):
        return text.strip()
    return text.strip() if "_" in text or not isfinite(number) else number


def _says_the_same(text: str, number: float) -> bool:
    """Whether a double keeps every digit; fifteen significant ones always survive."""
    try:
        return Decimal(text.strip()) == Decimal(repr(number))
    except InvalidOperation:
        return False


def _encode_tags(little: bool) -> Encode:
    order = "<" if little else ">"

    def encode(value: bytes, decode: Decoder) -> list[Any] | None:
        if len(value) % 4:
            raise ValueError("AT")
        words = unpack(f"{order}{len(value) // 2}H", value)
        pairs = zip(words[::2], words[1::2], strict=True)
        return [f"{group:04X}{element:04X}" for group, element in pairs] or None

    return encode


def _encode_words(code: str, little: bool) -> Encode:
    """US, SS, UL, SL: always exact as JSON numbers."""
    order = "<" if little else ">"
    single = Struct(order + code)
    size = single.size

    def encode(value: bytes, decode: Decoder) -> list[Any] | None:
        if len(value) == size:
            return list(single.unpack(value))
        count, rest = divmod(len(value), size)
        if rest:
            raise ValueError(code)
        return list(unpack(f"{order}{count}{code}", value)) or None

    return encode


def _encode_long_words(code: str, little: bool) -> Encode:
    """SV, UV: strings beyond what a JSON number holds exactly."""
    encode_words = _encode_words(code, little)

    def encode(value: bytes, decode: Decoder) -> list[Any] | None:
        words = encode_words(value, decode)
        return words and [
            word if -_MAX_SAFE_INTEGER <= word <= _MAX_SAFE_INTEGER else str(word) for word in words
        ]

    return encode


def _encode_floats(code: str, little: bool) -> Encode:
    """FL, FD: JSON has no NaN and no infinities, so these are strings."""
    encode_words = _encode_words(code, little)

    def encode(value: bytes, decode: Decoder) -> list[Any] | None:
        words = encode_words(value, decode)
        return words and [word if isfinite(word) else _name_float(word) for word in words]

    return encode


def _name_float(number: float) -> str:
    if number != number:
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _make_encoders(little: bool) -> dict[str, Encode]:
    encoders: dict[str, Encode] = dict.fromkeys(("AS", "CS", "DA", "DT", "TM"), _encode_code)
    encoders.update(dict.fromkeys(("LO", "SH", "UC"), _encode_strings))
    encoders.update(dict.fromkeys(("LT", "ST", "UT"), _encode_text))
    encoders.update(AE=_encode_ae_title, PN=_encode_person_name, UI=_encode_uid, UR=_encode_uri)
    encoders.update(IS=_encode_integers, DS=_encode_decimals, AT=_encode_tags(little))
    for vr, code in {"SL": "i", "SS": "h", "UL": "I", "US": "H"}.items():
        encoders[vr] = _encode_words(code, little)
    for vr, code in {"SV": "q", "UV": "Q"}.items():
        encoders[vr] = _encode_long_words(code, little)
    for vr, code in {"FD": "d", "FL": "f"}.items():
        encoders[vr] = _encode_floats(code, little)
    return encoders


LITTLE_ENDIAN_ENCODERS = _make_encoders(little=True)
BIG_ENDIAN_ENCODERS = _make_encoders(little=False)
