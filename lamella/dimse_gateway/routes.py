"""Rules by which the stores of an association go to other branches than its AE title's.

The first rule that fits an instance decides, by who calls, who is called, and a value of the
instance. Queries and retrieves stay with what the AE title stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa
from pydicom.datadict import tag_for_keyword

from lamella.archive.database import read_clock_us
from lamella.archive.header import read_header
from lamella.archive.source import ByteSource
from lamella.archive.statements import Statement
from lamella.errors import InvalidRequest, ResourceNotFound
from lamella.vcs.coercion import PlannedCoercion, PolicyCoercer
from lamella.vcs.network_tables import store_route
from lamella.vcs.refs import find_dataset
from lamella.vcs.revision import resolve

ANY = "*"
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_COLUMNS = (
    store_route.c.id,
    store_route.c.called,
    store_route.c.calling,
    store_route.c.attribute,
    store_route.c.pattern,
    store_route.c.dataset,
    store_route.c.branch,
)
_LIST_ROUTES = Statement(sa.select(*_COLUMNS).order_by(store_route.c.id))


@dataclass(frozen=True, slots=True)
class Route:
    """One rule.

    Attributes:
        called: Called AE title, with `*` and `?`.
        calling: Calling AE title likewise.
        attribute: Keyword of what an instance has to have; '' for none.
        pattern: Its value, with `*` and `?`.
        dataset: Where such instances go.
        branch: Likewise.
    """

    id: int
    called: str
    calling: str
    attribute: str
    pattern: str
    dataset: str
    branch: str

    def fits_association(self, called: str, calling: str) -> bool:
        """Tell whether it is for the instances of an association at all."""
        return fnmatchcase(called, self.called) and fnmatchcase(calling, self.calling)

    def fits(self, attributes: Mapping[str, Mapping[str, Any]]) -> bool:
        """Tell whether it is for an instance.

        Args:
            attributes: Top-level ones, DICOM JSON.
        """
        if not self.attribute:
            return True
        tag = tag_for_keyword(self.attribute) or 0
        values = attributes.get(f"{tag:08X}", {}).get("Value") or [""]
        return any(fnmatchcase(_read_text(value), self.pattern) for value in values)

    def describe(self) -> dict[str, Any]:
        """Return it as `--json` shows it."""
        return {
            "id": self.id,
            "called": self.called,
            "calling": self.calling,
            "attribute": self.attribute,
            "pattern": self.pattern,
            "dataset": self.dataset,
            "branch": self.branch,
        }


class Router:
    """Finds an instance's route while it is taken, and coerces it as its dataset asks.

    Args:
        routes: Those that fit the association, in their order.
        coercers: Of each route's dataset, and last of the AE title's own; None for none.
        sender: Who calls.

    Attributes:
        chosen: Index of the route, or of what is behind the last one: the AE title's own.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        coercers: Sequence[PolicyCoercer | None],
        sender: str,
    ) -> None:
        self.chosen = len(routes)
        self._routes = routes
        self._coercers = coercers
        self._sender = sender

    @property
    def dataset_id(self) -> int:
        """Where the instance goes; asked only if it is changed on its way.

        Raises:
            LookupError: Nothing changes it there.
        """
        coercer = self._coercers[self.chosen]
        if coercer is None:
            raise LookupError("The dataset has no rules of coercion.")
        return coercer.dataset_id

    @property
    def sender(self) -> str:
        """Who sends it."""
        return self._sender

    def plan(self, source: ByteSource) -> PlannedCoercion | None:
        """Choose the route; return how the instance is to be changed there.

        Raises:
            InvalidInstance: It cannot be read, or cannot be changed as it should.
        """
        attributes = read_header(source).attributes
        fitting = (n for n, route in enumerate(self._routes) if route.fits(attributes))
        self.chosen = next(fitting, len(self._routes))
        coercer = self._coercers[self.chosen]
        return None if coercer is None else coercer.plan(source)


def add_route(
    connection: sa.Connection,
    dataset: str,
    branch: str | None,
    *,
    called: str = ANY,
    calling: str = ANY,
    match: str = "",
) -> Route:
    """Add a rule behind those there are.

    Args:
        connection: In the transaction of a write.
        dataset: Name of the dataset.
        branch: None for the default one.
        called: Called AE title, with `*` and `?`.
        calling: Calling AE title likewise.
        match: `Keyword=PATTERN`, or '' for all instances.

    Raises:
        InvalidRequest: The attribute is none, or the target no branch.
        RevisionNotFound: There is no such dataset or branch.
    """
    attribute, mark, pattern = match.partition("=")
    if match and (not mark or tag_for_keyword(attribute) is None):
        raise InvalidRequest(f"{match!r} is no match: write Keyword=PATTERN.")
    owner = find_dataset(connection, dataset)
    found = resolve(connection, owner, branch)
    if found.branch is None:
        raise InvalidRequest(f"{found.text!r} is no branch: stores can only go to one.")
    values = {
        "called": called.strip() or ANY,
        "calling": calling.strip() or ANY,
        "attribute": attribute,
        "pattern": pattern,
        "dataset": owner.name,
        "branch": found.branch,
    }
    adding = sa.insert(store_route).values(**values, created_us=read_clock_us(connection))
    key = connection.execute(adding).inserted_primary_key
    assert key is not None
    return Route(int(key[0]), **values)


def list_routes(connection: sa.Connection) -> list[Route]:
    """Return all rules in their order."""
    return [Route(*row) for row in _LIST_ROUTES.fetch_all(connection, {})]


def delete_route(connection: sa.Connection, route_id: int) -> None:
    """Delete a rule.

    Raises:
        ResourceNotFound: There is none of that number.
    """
    if not connection.execute(sa.delete(store_route).where(store_route.c.id == route_id)).rowcount:
        raise ResourceNotFound(f"There is no route {route_id}.")


def _read_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "=".join(str(value.get(name, "")) for name in _NAME_GROUPS).rstrip("=")
    return "" if value is None else str(value)
