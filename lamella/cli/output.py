"""What commands print: one JSON document, or lines; remarks go to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO


def print_json(document: object) -> None:
    """Print one JSON document on stdout, in ASCII, so that it survives any locale."""
    print(json.dumps(document, indent=2))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        print(_make_printable(line))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print_lines(["  ".join(cells).rstrip()])


def remark(text: str) -> None:
    """Print a line on stderr."""
    print(_make_printable(text), file=sys.stderr)


class JsonArray:
    """A JSON array printed item by item, so that a long one needs no memory.

    Use it as a context manager: leaving it closes the array, whatever happened inside.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._separator = "[\n  "

    def add(self, item: object) -> None:
        """Print one item."""
        self._stream.write(self._separator + json.dumps(item))
        self._separator = ",\n  "

    def __enter__(self) -> JsonArray:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stream.write("[]\n" if self._separator.startswith("[") else "\n]\n")


def _make_printable(line: str) -> str:
    """Return a line that a terminal shows as text: no control characters, nothing unencodable.

    Messages and file names come from others and may hold anything.
    """
    shown = "".join(char if char.isprintable() else _escape(char) for char in line)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
