"""What a statement consists of: numbered sections of paragraphs and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

NOT_SUPPORTED = "Not supported."


@dataclass(frozen=True)
class Table:
    """A table; cells are text in which `code` may be marked.

    Attributes:
        rows: As many cells each as the header has.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"A row of the table of {self.header} has another number of cells.")


@dataclass(frozen=True)
class Contents:
    """Stands where the table of contents goes."""


Block = str | Table | Contents
"""A str is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A section.

    Attributes:
        number: Of an annex, such as `A.A`; others are numbered by where they stand.
    """

    title: str
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = ()
    number: str = ""


@dataclass(frozen=True)
class Heading:
    """A section in its place.

    Attributes:
        depth: 1 for a section of the statement itself.
    """

    number: str
    depth: int
    section: Section

    @property
    def text(self) -> str:
        """Number and title."""
        return f"{self.number} {self.section.title}"

    @property
    def anchor(self) -> str:
        """What links to it name."""
        return "section-" + self.number.replace(".", "-").lower()


@dataclass(frozen=True)
class Statement:
    """A whole statement."""

    title: str
    remarks: Sequence[str] = field(default=())
    sections: Sequence[Section] = field(default=())

    def list_headings(self) -> list[Heading]:
        """Return all sections in order, numbered."""
        return list(_number(self.sections, "", 1))


def _number(sections: Sequence[Section], prefix: str, depth: int) -> Iterator[Heading]:
    for position, section in enumerate(sections, 1):
        number = section.number or f"{prefix}{position}"
        yield Heading(number, depth, section)
        yield from _number(section.sections, f"{number}.", depth + 1)
