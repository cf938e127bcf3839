"""`/api/v1`: datasets, refs, history and original files as JSON.

Shapes and statuses are those of the public contract; the command line prints the same.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from litestar import Request, Router, delete, patch, post, route
from litestar.params import Parameter
from litestar.types import ASGIApp

from lamella.archive.database import Database
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.services import services_of
from lamella.dicomweb.stored_files import answer_stored
from lamella.errors import InvalidRequest
from lamella.vcs.coercion_rules import Rule, describe_policy
from lamella.vcs.commit_object import format_time
from lamella.vcs.datasets import create_dataset
from lamella.vcs.differences import describe_differences
from lamella.vcs.history import load_commit
from lamella.vcs.log import read_log
from lamella.vcs.policies import set_coercion, set_duplicates
from lamella.vcs.refs import (
    BRANCH,
    TAG,
    DatasetRow,
    Ref,
    create_ref,
    delete_ref,
    find_dataset,
    list_datasets,
    list_refs,
)
from lamella.vcs.revision import resolve
from lamella.vcs.tree import Entry
from lamella.vcs.view import View, find_instance, pin_view, read_view
from lamella.web import conflicts, deid, indexes, jobs, network, rejections

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 10_000
Limit = Annotated[int, Parameter(ge=1, le=LARGEST_LIMIT, description="commits to return")]


class NewDataset(msgspec.Struct, forbid_unknown_fields=True):
    """A dataset to be made."""

    name: str
    duplicates: str = "version"


class DatasetChange(msgspec.Struct, forbid_unknown_fields=True):
    """What a dataset shall be from now on; what is left out stays.

    Attributes:
        coercion: Rules that change instances on their way in; an empty list for none.
    """

    duplicates: str | None = None
    coercion: tuple[Rule, ...] | None = None


class NewRef(msgspec.Struct, forbid_unknown_fields=True):
    """A branch or tag to be made; without a revision, at the default branch."""

    name: str
    revision: str | None = None


@route("/datasets", http_method=READ, name="list-datasets")
async def get_datasets(request: AnyRequest) -> list[Json]:
    """List all datasets."""
    rows = await _database(request).read(list_datasets)
    return [_describe_dataset(row) for row in rows]


@post("/datasets", name="create-dataset")
async def post_dataset(request: AnyRequest, data: NewDataset) -> Json:
    """Make a dataset."""
    row = await _database(request).write(
        lambda c: create_dataset(c, data.name, duplicates=data.duplicates)
    )
    return _describe_dataset(row)


@route("/datasets/{dataset:str}", http_method=READ, name="show-dataset")
async def get_dataset(request: AnyRequest, dataset: str) -> Json:
    """Show one dataset."""
    return _describe_dataset(await _database(request).read(lambda c: find_dataset(c, dataset)))


@patch("/datasets/{dataset:str}", name="change-dataset")
async def patch_dataset(request: AnyRequest, dataset: str, data: DatasetChange) -> Json:
    """Change what a dataset does with what comes in."""
    if data.duplicates is None and data.coercion is None:
        raise InvalidRequest("A change names `duplicates`, `coercion`, or both.")

    def write(connection: sa.Connection) -> DatasetRow:
        row = find_dataset(connection, dataset)
        if data.duplicates is not None:
            row = set_duplicates(connection, dataset, data.duplicates)
        if data.coercion is not None:
            rules = msgspec.json.encode(data.coercion).decode()
            row = set_coercion(connection, dataset, rules)
        return row

    return _describe_dataset(await _database(request).write(write))


@route("/datasets/{dataset:str}/branches", http_method=READ, name="list-branches")
async def get_branches(request: AnyRequest, dataset: str) -> list[Json]:
    """List the branches of a dataset."""
    return await _list_refs(request, dataset, BRANCH)


@route("/datasets/{dataset:str}/tags", http_method=READ, name="list-tags")
async def get_tags(request: AnyRequest, dataset: str) -> list[Json]:
    """List the tags of a dataset."""
    return await _list_refs(request, dataset, TAG)


@post("/datasets/{dataset:str}/branches", name="create-branch")
async def post_branch(request: AnyRequest, dataset: str, data: NewRef) -> Json:
    """Make a branch."""
    return await _create_ref(request, dataset, BRANCH, data)


@post("/datasets/{dataset:str}/tags", name="create-tag")
async def post_tag(request: AnyRequest, dataset: str, data: NewRef) -> Json:
    """Make a tag."""
    return await _create_ref(request, dataset, TAG, data)


@delete("/datasets/{dataset:str}/branches/{name:str}", name="delete-branch")
async def delete_branch(request: AnyRequest, dataset: str, name: str) -> None:
    """Delete a branch; its commits stay."""
    await _delete_ref(request, dataset, BRANCH, name)


@delete("/datasets/{dataset:str}/tags/{name:str}", name="delete-tag")
async def delete_tag(request: AnyRequest, dataset: str, name: str) -> None:
    """Delete a tag; its commit stays."""
    await _delete_ref(request, dataset, TAG, name)


@route("/datasets/{dataset:str}/commits", http_method=READ, name="list-commits")
async def get_commits(
    request: AnyRequest,
    dataset: str,
    revision: str | None = None,
    limit: Limit = DEFAULT_LIMIT,
    before: str | None = None,
) -> list[Json]:
    """List the history of a revision, newest first; `before` continues an earlier page."""

    def read(connection: sa.Connection) -> list[Json]:
        owner = find_dataset(connection, dataset)
        start = resolve(connection, owner, revision).commit_id
        last = None if before is None else resolve(connection, owner, before).commit_id
        return read_log(connection, owner.id, start, limit, last)

    return await _database(request).read(read)


@route("/datasets/{dataset:str}/commits/{revision:str}", http_method=READ, name="show-commit")
async def get_commit(request: AnyRequest, dataset: str, revision: str) -> Json:
    """Show one commit."""

    def read(connection: sa.Connection) -> Json:
        owner = find_dataset(connection, dataset)
        found = resolve(connection, owner, revision)
        return load_commit(connection, owner.id, found.commit_id).describe()

    return await _database(request).read(read)


@route("/datasets/{dataset:str}/diff", http_method=READ, name="diff")
async def get_diff(
    request: AnyRequest,
    dataset: str,
    from_: Annotated[str, Parameter(query="from")],
    to: str,
) -> Json:
    """Show which instances differ between two revisions."""
    repository = services_of(request).repository
    old = await pin_view(repository, dataset, from_)
    new = await pin_view(repository, dataset, to)
    return await describe_differences(repository, old, new)


@route(
    "/datasets/{dataset:str}/instances/{instance:str}/file",
    http_method=READ,
    name="original-file",
)
async def get_file(
    request: AnyRequest, dataset: str, instance: str, revision: str | None = None
) -> ASGIApp:
    """Return the original file of an instance, byte for byte as it came."""
    services = services_of(request)
    repository = services.repository

    def find(connection: sa.Connection, view: View) -> Entry:
        return find_instance(connection, repository, view, instance)[1]

    view, entry = await read_view(repository, dataset, revision, find)
    return answer_stored(Pinned(request, services, view, "", ()), entry)


ROUTER = Router(
    "/api/v1",
    route_handlers=[
        get_datasets,
        post_dataset,
        get_dataset,
        patch_dataset,
        get_branches,
        get_tags,
        post_branch,
        post_tag,
        delete_branch,
        delete_tag,
        get_commits,
        get_commit,
        get_diff,
        *conflicts.HANDLERS,
        *jobs.HANDLERS,
        *deid.HANDLERS,
        *rejections.HANDLERS,
        get_file,
        *indexes.HANDLERS,
        *network.HANDLERS,
    ],
    tags=["api"],
)


def describe_ref(found: Ref) -> Json:
    """Return a branch or tag in the contract's JSON shape."""
    return {
        "name": found.name,
        "commit": found.commit_id.hex(),
        "created": format_time(found.created_us),
    }


def _describe_dataset(row: DatasetRow) -> Json:
    return {
        "name": row.name,
        "default_branch": row.default_branch,
        "duplicates": row.duplicates,
        "coercion": describe_policy(row.coercion),
        "created": format_time(row.created_us),
    }


def _database(request: AnyRequest) -> Database:
    return services_of(request).repository.archive.database


async def _list_refs(request: AnyRequest, dataset: str, kind: str) -> list[Json]:
    found = await _database(request).read(lambda c: list_refs(c, find_dataset(c, dataset).id, kind))
    return [describe_ref(one) for one in found]


async def _create_ref(request: AnyRequest, dataset: str, kind: str, data: NewRef) -> Json:
    def write(connection: sa.Connection) -> Ref:
        owner = find_dataset(connection, dataset)
        commit_id = resolve(connection, owner, data.revision).commit_id
        return create_ref(connection, owner.id, kind, data.name, commit_id)

    return describe_ref(await _database(request).write(write))


async def _delete_ref(request: AnyRequest, dataset: str, kind: str, name: str) -> None:
    await _database(request).write(lambda c: delete_ref(c, find_dataset(c, dataset).id, kind, name))
