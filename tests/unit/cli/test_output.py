"""What commands print."""

from __future__ import annotations

import json
from contextlib import suppress
from io import StringIO

import pytest

from lamella.cli.output import JsonArray, print_lines, print_table


@pytest.mark.parametrize("items", [[], [1], [{"a": "ä"}, {"b": None}, "\udcff"]])
def test_an_array_printed_item_by_item_is_one_document(items: list[object]) -> None:
    stream = StringIO()
    with JsonArray(stream) as array:
        for item in items:
            array.add(item)
    assert stream.getvalue().isascii()
    assert json.loads(stream.getvalue()) == items


def test_an_array_closes_whatever_happens() -> None:
    stream = StringIO()
    with suppress(ValueError), JsonArray(stream) as array:
        array.add(1)
        raise ValueError
    assert json.loads(stream.getvalue()) == [1]


def test_lines_drive_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines(["red: \x1b[31m", "two\nlines", "bytes: \udcff", "ä"])
    assert capsys.readouterr().out.splitlines() == [
        "red: \\x1b[31m",
        "two\\nlines",
        "bytes: \\udcff",
        "ä",
    ]


def test_a_table_aligns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([])
    print_table([("a", "1"), ("bbb", "2")])
    assert capsys.readouterr().out == "a    1\nbbb  2\n"
