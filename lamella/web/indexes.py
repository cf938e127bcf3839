"""`/api/v1/datasets/{dataset}/indexes`: attributes that searches find by an index.

To declare one, or to remove it, is to ask for work that takes a while: 202, and the server does it
in the background. The list says how far it is.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from litestar import Request, delete, post, route

from lamella.archive.attribute_index import AttributeIndex, parse_index
from lamella.archive.database import Database
from lamella.archive.levels import Level
from lamella.dicomweb.services import services_of
from lamella.errors import InvalidRequest
from lamella.vcs.indexing import declare_index, find_index, list_indexes, withdraw_index
from lamella.vcs.refs import find_dataset

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]
LEVELS = {level.name.lower(): level for level in (Level.STUDY, Level.SERIES, Level.INSTANCE)}


class NewIndex(msgspec.Struct, forbid_unknown_fields=True):
    """An index to be built; without a level, of the level that the attribute belongs to."""

    attribute: str
    level: str | None = None


@route("/datasets/{dataset:str}/indexes", http_method=READ, name="list-indexes")
async def get_indexes(request: AnyRequest, dataset: str) -> list[Json]:
    """List the indexes of a dataset, with how far those are that are being built."""
    found = await _database(request).read(lambda c: list_indexes(c, dataset))
    return [index.describe() for index in found]


@post("/datasets/{dataset:str}/indexes", name="declare-index", status_code=202)
async def post_index(request: AnyRequest, dataset: str, data: NewIndex) -> Json:
    """Index an attribute: a keyword, a tag or a path; a private tag has its creator in brackets."""
    if data.level is not None and data.level not in LEVELS:
        raise InvalidRequest(f"The level of an index is one of {', '.join(LEVELS)}.")
    wanted = parse_index(data.attribute, LEVELS.get(data.level or ""))
    made = await _database(request).write(lambda c: declare_index(c, dataset, wanted))
    return made.describe()


@route("/datasets/{dataset:str}/indexes/{index:int}", http_method=READ, name="show-index")
async def get_index(request: AnyRequest, dataset: str, index: int) -> Json:
    """Show one index."""

    def read(connection: sa.Connection) -> AttributeIndex:
        return find_index(connection, find_dataset(connection, dataset).id, index)

    return (await _database(request).read(read)).describe()


@delete("/datasets/{dataset:str}/indexes/{index:int}", name="remove-index", status_code=202)
async def delete_index(request: AnyRequest, dataset: str, index: int) -> Json:
    """Remove an index; searches find the same without it."""

    def write(connection: sa.Connection) -> AttributeIndex:
        owner = find_dataset(connection, dataset)
        withdraw_index(connection, owner.id, index)
        return find_index(connection, owner.id, index)

    return (await _database(request).write(write)).describe()


HANDLERS = [get_indexes, post_index, get_index, delete_index]


def _database(request: AnyRequest) -> Database:
    return services_of(request).repository.archive.database
