"""The header path, element by element, and text in every character set."""

import struct

import pytest

from lamella.archive.charsets import find_decoder
from lamella.archive.lexer import Lexer, Odd
from lamella.archive.source import MemorySource
from lamella.archive.values import (
    BIG_ENDIAN_ENCODERS,
    LITTLE_ENDIAN_ENCODERS,
    swap_words,
)

LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF


def explicit(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    form = "<HH2s2xI" if vr in LONG else "<HH2sH"
    return struct.pack(form, tag >> 16, tag & 0xFFFF, vr.encode(), size) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size) + value


def item(value: bytes) -> bytes:
    return implicit(0xFFFEE000, value)


END = implicit(0xFFFEE0DD, b"")


def lex(data: bytes, is_explicit: bool = True) -> dict:
    return Lexer(MemorySource(data), 0, big=False).read(is_explicit).attributes


def encode(vr: str, value: bytes) -> list | None:
    return LITTLE_ENDIAN_ENCODERS[vr](value, lambda raw: raw.decode("latin-1"))


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("CS", b"A\\\\B ", ["A", None, "B"]),
        ("CS", b"  ", None),
        ("UI", b"1.2\0", ["1.2"]),
        ("AE", b" A \\ B ", ["A", "B"]),
        ("LT", b" a\\b  ", [" a\\b"]),
        ("LO", b"a \\b ", ["a", "b"]),
        ("IS", b" 12\\-3 ", [12, -3]),
        ("IS", b"1.0", [1.0]),
        ("IS", b"9007199254740993", ["9007199254740993"]),
        ("IS", b"1_0", ["1_0"]),
        ("IS", b"1A", ["1A"]),
        ("DS", b"1.50\\ 2 ", [1.5, 2.0]),
        ("DS", b"\\1", [None, 1.0]),
        ("DS", b"nan\\inf\\1e999", ["nan", "inf", "1e999"]),
        ("DS", b"0.12345678901234567891", ["0.12345678901234567891"]),
        ("DS", b"0.97656250000000", [0.9765625]),
        ("AT", b"\x08\0\x18\0", ["00080018"]),
        ("US", b"\1\0\xff\xff", [1, 65535]),
        ("US", b"", None),
        ("SV", struct.pack("<q", -(2**60)), [str(-(2**60))]),
        ("UV", struct.pack("<Q", 5), [5]),
        ("FD", struct.pack("<3d", 1.5, float("nan"), float("-inf")), [1.5, "NaN", "-Infinity"]),
        ("PN", b"A^B=C=D\\=E", [
            {"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"},
            {"Ideographic": "E"},
        ]),
        ("PN", b"==", None),
        ("UR", b" x ", [" x"]),
    ],
)  # fmt: skip
def test_values(vr, value, expected):
    assert encode(vr, value) == expected


def test_big_endian_values():
    assert BIG_ENDIAN_ENCODERS["US"](b"\1\2", str) == [258]
    assert BIG_ENDIAN_ENCODERS["AT"](b"\0\x08\0\x18", str) == ["00080018"]
    assert swap_words(b"\1\2\3\4\5", 2) == b"\2\1\4\3\5"


@pytest.mark.parametrize(
    ("charset", "value", "expected"),
    [
        ("", b"\xe4", "ä"),
        ("ISO_IR 192", "Ж".encode(), "Ж"),
        ("ISO_IR_192", "Ж".encode(), "Ж"),
        ("ISO-IR 100", b"\xe4", "ä"),
        ("ISO_IR 144", "Люкс".encode("iso8859_5"), "Люкс"),
        ("ISO_IR 126", "Διον".encode("iso8859_7"), "Διον"),
        ("GB18030", "王".encode("gb18030"), "王"),
        ("GBK", "王".encode("gbk"), "王"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ".encode("shift_jis"), "ﾔﾏﾀﾞ"),
        ("\\ISO 2022 IR 87", b"Y=\x1b$B;3ED\x1b(B^x", "Y=山田^x"),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xb1\xe8", "김"),
        ("\\ISO 2022 IR 58", b"\x1b$)A\xcd\xf5", "王"),
        ("ISO 2022 IR 6\\ISO 2022 IR 100", b"\x1b-A\xe4\r\nx", "ä\r\nx"),
        ("nonsense", b"\xe4", "ä"),
        ("ISO_IR 192", b"a\xff", "a\ufffd"),
    ],
)
def test_character_sets(charset, value, expected):
    assert find_decoder(charset.encode())(value) == expected


def test_items_may_override_the_character_set():
    inner = explicit(0x00080005, "CS", b"ISO_IR 192") + explicit(0x00080104, "LO", "ä".encode())
    outer = explicit(0x00080104, "LO", b"\xe4 ")
    data = explicit(0x00080005, "CS", b"ISO_IR 100") + explicit(
        0x00081032, "SQ", item(inner) + item(outer)
    )
    items = lex(data + explicit(0x0008103E, "LO", b"\xe4 "))
    assert [each["00080104"]["Value"] for each in items["00081032"]["Value"]] == [["ä"], ["ä"]]
    assert items["0008103E"]["Value"] == ["ä"]


def test_un_of_undefined_length_is_an_implicit_sequence():
    inner = implicit(0x00080104, b"x ") + implicit(0x0040A043, item(implicit(0x00080100, b"y ")))
    data = explicit(0x00091001, "UN", item(inner) + END, UNDEFINED)
    items = lex(data)["00091001"]
    assert items["vr"] == "SQ"
    assert items["Value"][0]["0040A043"]["Value"][0]["00080100"] == {"vr": "SH", "Value": ["y"]}


def test_un_takes_the_dictionary_vr():
    data = explicit(0x00090010, "LO", b"GEMS_IDEN_01") + explicit(0x00091027, "UN", b"\1\0\0\0")
    assert lex(data)["00091027"] == {"vr": "SL", "Value": [1]}
    assert lex(explicit(0x00280010, "UN", b"\1\0"))["00280010"] == {"vr": "US", "Value": [1]}


def test_signs_follow_the_nearest_pixel_representation():
    smallest = implicit(0x00280106, b"\xff\xff")
    signed, unsigned = implicit(0x00280103, b"\1\0"), implicit(0x00280103, b"\0\0")
    sequence = implicit(0x00081140, item(smallest) + item(unsigned + smallest))
    read = lex(sequence + signed + smallest, is_explicit=False)
    first, second = read["00081140"]["Value"]
    assert first["00280106"] == {"vr": "SS", "Value": [-1]}
    assert second["00280106"] == {"vr": "US", "Value": [65535]}
    assert read["00280106"] == {"vr": "SS", "Value": [-1]}
    assert lex(smallest, is_explicit=False)["00280106"]["vr"] == "US"


def test_lut_data_of_one_entry_are_numbers():
    one = implicit(0x00283002, b"\1\0\0\0\x10\0") + implicit(0x00283006, b"\2\0")
    two = implicit(0x00283002, b"\2\0\0\0\x10\0") + implicit(0x00283006, b"\2\0\3\0")
    assert lex(one, is_explicit=False)["00283006"] == {"vr": "US", "Value": [2]}
    assert lex(two, is_explicit=False)["00283006"] == {"vr": "OW", "InlineBinary": "AgADAA=="}


def test_bulk_values():
    data = explicit(0x00091010, "OB", b"\1\2") + explicit(0x00091011, "OB", b"\1" * 1025)
    data += explicit(0x00091012, "OB", b"") + explicit(0x7FE00010, "OB", b"\1\2")
    lexer = Lexer(MemorySource(data), 0, big=False)
    read = lexer.read(explicit=True).attributes
    assert read["00091010"] == {"vr": "OB", "InlineBinary": "AQI="}
    assert read["00091011"] == {"vr": "OB", "BulkDataURI": "bulkdata/00091011"}
    assert read["00091012"] == {"vr": "OB"}
    assert read["7FE00010"] == {"vr": "OB", "BulkDataURI": "bulkdata/7FE00010"}
    assert data[lexer.bulk_values["7FE00010"].offset_bytes :] == b"\1\2"


def test_wrong_lengths_are_shown_as_un():
    assert lex(explicit(0x00280010, "US", b"\1\0\2"))["00280010"]["vr"] == "UN"


def test_group_lengths_are_left_out():
    assert lex(explicit(0x00080000, "UL", b"\0\0\0\0")) == {}


@pytest.mark.parametrize(
    "data",
    [
        explicit(0x00280010, "US", b"\1\0") + explicit(0x00080018, "UI", b"1\0"),
        explicit(0x00080018, "UI", b"1\0", 4),
        explicit(0x00080018, "ZZ", b"1\0"),
        explicit(0x00081032, "SQ", item(explicit(0x00080100, "SH", b"ab", 4))),
        explicit(0x00081032, "SQ", explicit(0x00080100, "SH", b"ab")),
        explicit(0x00081032, "SQ", item(b""), UNDEFINED),
        explicit(0x7FE00010, "OB", item(b"") + item(b"ab"), UNDEFINED),
        explicit(0x00080018, "UI", b"1\0") + b"\0\0",
        implicit(0x00080018, b"1\0"),
        END,
    ],
)
def test_oddities(data):
    with pytest.raises(Odd):
        lex(data)


def test_buffers_are_refilled_wherever_they_end():
    elements = [explicit(0x00091000 + n, "LO", b"x" * 30) for n in range(16, 256)]
    nested = explicit(0x00401001, "SH", b"y ") * 1
    for filler in range(0, 65536, 4093):
        data = explicit(0x00080008, "CS", b"A" * 10) + explicit(0x00090010, "UT", b"z" * filler)
        data += b"".join(elements) + explicit(0x00400275, "SQ", item(nested) * 900)
        read = lex(data + explicit(0x7FE00010, "OW", b"\0" * 200_000))
        assert len(read) == 2 + len(elements) + 2
        assert len(read["00400275"]["Value"]) == 900
