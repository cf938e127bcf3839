"""Indexes of attributes: which row or instance has which term, for searches that would be scans.

Patients' names are indexed by their words always; any other attribute once it is declared, at any
depth of sequence. An entry says that a catalog row, or an instance, has a value with a term; both
are immutable, so entries are as true at an old commit as at the head, and which of them a view
shows is for the view to tell. Entries are written in the transaction that writes the row, or that
commits the instance.

    row_entry       (dataset, index, term) → study or series row
    instance_entry  (dataset, index, term) → instance

A dataset's row has the number of its declared indexes, so that a store asks for none where there
is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from lamella.archive.database import metadata
from lamella.archive.index_terms import make_terms
from lamella.archive.levels import Level, Path, level_of
from lamella.archive.matching import Attributes, read_values, resolve_tag
from lamella.archive.query import (
    BULK_VRS,
    Attribute,
    Creators,
    Step,
    is_private,
    parse_attribute,
    parse_private_vr,
)
from lamella.archive.statements import Statement
from lamella.archive.tables import BigId, Bytewise, Digest
from lamella.archive.upsert import insert_missing
from lamella.errors import InvalidRequest

BUILDING, READY, REMOVING = "building", "ready", "removing"

attribute_index = sa.Table(
    "attribute_index",
    metadata,
    sa.Column("id", BigId, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", BigId, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("vr", sa.Text, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("position", sa.Text, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("lease_us", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("dataset_id", "path", "level", name="uq_attribute_index_path"),
    sqlite_autoincrement=True,  # an id names one index for ever: entries may outlive it
)

row_entry = sa.Table(
    "row_entry",
    metadata,
    sa.Column("dataset_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("index_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("term", Bytewise, primary_key=True),
    sa.Column("row_id", BigId, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

instance_entry = sa.Table(
    "instance_entry",
    metadata,
    sa.Column("dataset_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("index_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("term", Bytewise, primary_key=True),
    sa.Column("key", Digest, primary_key=True),
    sqlite_with_rowid=False,
)

_LOAD = Statement(
    sa.select(
        attribute_index.c.id,
        attribute_index.c.path,
        attribute_index.c.vr,
        attribute_index.c.level,
        attribute_index.c.state,
        attribute_index.c.done,
        attribute_index.c.total,
    )
    .where(attribute_index.c.dataset_id == sa.bindparam("dataset_id"))
    .order_by(attribute_index.c.id)
)


@dataclass(frozen=True, slots=True)
class AttributeIndex:
    """An index of one attribute in one dataset.

    Attributes:
        path: Tags from the top level down.
        creators: As in `Key`.
        vr: How values are compared.
        level: Whose attribute is indexed: studies', series' or instances'.
        state: `building` (written, but not asked yet), `ready`, or `removing`.
        done: Rows or instances that have been gone through since it was declared.
        total: How many there were then.
    """

    id: int
    path: Path
    creators: Creators
    vr: str
    level: Level
    state: str = READY
    done: int = 0
    total: int = 0

    @property
    def name(self) -> str:
        """Keywords, or tags where there is none, joined by dots; creators in brackets."""
        steps = zip(self.path, self.creators or (None,) * len(self.path), strict=True)
        return ".".join(
            Attribute((tag,), "").name + (f"[{creator}]" if creator else "")
            for tag, creator in steps
        )

    @property
    def table(self) -> sa.Table:
        """The table of its entries."""
        return instance_entry if self.level is Level.INSTANCE else row_entry

    @property
    def is_written(self) -> bool:
        """Whether new rows and instances are entered."""
        return self.state != REMOVING

    def describe(self) -> dict[str, Any]:
        """Return the index as the command line and the API show it."""
        return {
            "id": self.id,
            "attribute": self.name,
            "vr": self.vr,
            "level": self.level.name.lower(),
            "state": self.state,
            "done": self.done,
            "total": self.total,
        }

    def encode_path(self) -> str:
        """Return the path with its creators as the table keeps it."""
        steps = list(zip(self.path, self.creators or (None,) * len(self.path), strict=True))
        return msgspec.json.encode(steps).decode()

    def make_terms(self, attributes: Attributes) -> set[str]:
        """Return the terms of one data set (DICOM JSON)."""
        steps = list(zip(self.path, self.creators or (None,) * len(self.path), strict=True))
        return make_terms(self.vr, _walk_values(attributes, steps))


NAMES: Final = AttributeIndex(0, ("00100010",), (), "PN", Level.STUDY)
"""Patients' names, for fuzzy searches: every dataset has it."""


def parse_index(text: str, level: Level | None = None) -> AttributeIndex:
    """Return the index that a person names, as one that is to be declared.

    Args:
        text: Keywords or tags joined by dots, a private tag with its creator in brackets:
            `ContentDate`, `00400275.00400009`, `00091001[ACME 1.1]`.
        level: Whose attribute to index, None for the level that it belongs to.

    Raises:
        InvalidRequest: There is no such attribute, its values cannot be matched, or not there.
    """
    steps = list(_split_name(text))
    attribute = parse_attribute(".".join(name for name, _ in steps))
    if attribute is None or attribute.is_private_creator:
        raise InvalidRequest(f"There is no attribute {text[:100]!r} that can be indexed.")
    for tag, (_, creator) in zip(attribute.path, steps, strict=True):
        if is_private(tag) != (creator is not None):
            raise InvalidRequest("A private tag, and no other, has its creator in brackets.")
    creators = tuple(creator for _, creator in steps) if attribute.is_private else ()
    if creators and creators[-1]:
        attribute = parse_private_vr(attribute, creators[-1])
    if attribute.vr == "SQ" or attribute.vr in BULK_VRS:
        raise InvalidRequest(f"{attribute.name} has no values that could be matched.")
    own = max(level_of(attribute.path[0]), Level.STUDY)
    if level not in (None, own, Level.INSTANCE):
        raise InvalidRequest(f"{attribute.name} is an attribute of the {own.name.lower()} level.")
    return AttributeIndex(0, attribute.path, creators, attribute.vr, level or own, BUILDING)


def _split_name(text: str) -> Iterator[tuple[str, str | None]]:
    rest = text.strip()
    while rest:
        head, dot, tail = rest.partition(".")
        name, bracket, _ = head.partition("[")
        if not bracket:
            yield name, None
            rest = tail if dot else ""
            continue
        creator, closed, tail = rest[len(name) + 1 :].partition("]")
        if not closed or not creator or (tail and not tail.startswith(".")):
            raise InvalidRequest("A private creator stands in brackets: 00091001[ACME 1.1].")
        yield name, creator
        rest = tail[1:]


def load_indexes(connection: sa.Connection, dataset_id: int) -> list[AttributeIndex]:
    """Return the declared indexes of a dataset, in the order that they were declared."""
    return [decode_index(*row) for row in _LOAD.fetch_all(connection, {"dataset_id": dataset_id})]


def decode_index(
    index_id: int, path: str, vr: str, level: str, state: str, done: int, total: int
) -> AttributeIndex:
    """Return an index from what the table holds."""
    steps = msgspec.json.decode(path, type=list[tuple[str, str | None]])
    creators = tuple(creator for _, creator in steps)
    return AttributeIndex(
        index_id,
        tuple(tag for tag, _ in steps),
        creators if any(creators) else (),
        vr,
        Level[level.upper()],
        state,
        done,
        total,
    )


def list_row_entries(
    dataset_id: int, row_id: int, attributes: Attributes, indexes: Iterable[AttributeIndex]
) -> list[dict[str, Any]]:
    """Return the entries of a catalog row in the indexes of its level."""
    return [
        {"dataset_id": dataset_id, "index_id": index.id, "term": term, "row_id": row_id}
        for index in indexes
        for term in sorted(index.make_terms(attributes))
    ]


def list_instance_entries(
    dataset_id: int, key: bytes, attributes: Attributes, indexes: Iterable[AttributeIndex]
) -> list[dict[str, Any]]:
    """Return the entries of an instance in the indexes of that level."""
    return [
        {"dataset_id": dataset_id, "index_id": index.id, "term": term, "key": key}
        for index in indexes
        for term in sorted(index.make_terms(attributes))
    ]


def write_entries(
    connection: sa.Connection, table: sa.Table, entries: Sequence[Mapping[str, Any]]
) -> None:
    """Write entries of one of the two tables; those that are there stay."""
    insert_missing(connection, table, entries)


def list_written(indexes: Iterable[AttributeIndex], level: Level) -> tuple[AttributeIndex, ...]:
    """Return the indexes of a level that new rows or instances are entered in."""
    declared = tuple(index for index in indexes if index.level is level and index.is_written)
    return (NAMES, *declared) if level is Level.STUDY else declared


def _walk_values(attributes: Attributes, steps: Sequence[Step]) -> Iterator[Any]:
    (tag, creator), *rest = steps
    values = read_values(attributes, resolve_tag(attributes, tag, creator))
    if not rest:
        yield from values
        return
    for item in values:
        if isinstance(item, Mapping):
            yield from _walk_values(item, rest)
