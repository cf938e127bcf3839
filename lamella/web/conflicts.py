"""`/api/v1/datasets/{dataset}/conflicts`: what waits for a person, and what one decides."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from litestar import Request, post, route
from litestar.response import Response
from litestar.types import ASGIApp

from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import DICOM
from lamella.dicomweb.pinned import read_header
from lamella.dicomweb.services import services_of
from lamella.dicomweb.writers import ANONYMOUS, parse_expected_head, parse_message
from lamella.vcs.conflicts import ConflictRow, find_conflict, list_conflicts
from lamella.vcs.refs import find_dataset
from lamella.vcs.resolutions import Decision, Resolution, resolve_conflict
from lamella.vcs.stored import StoredInstance, load_instances

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]
CONFLICTS = "/datasets/{dataset:str}/conflicts"
CONFLICT = f"{CONFLICTS}/{{conflict:int}}"


@route(CONFLICTS, http_method=READ, name="list-conflicts")
async def get_conflicts(request: AnyRequest, dataset: str, resolved: bool = False) -> list[Json]:
    """List instances that wait for a person to decide, or those that were decided."""

    def read(connection: sa.Connection) -> list[ConflictRow]:
        owner = find_dataset(connection, dataset)
        return list_conflicts(connection, owner.id, is_resolved=resolved)

    found = await services_of(request).repository.archive.database.read(read)
    return [one.describe() for one in found]


@route(CONFLICT, http_method=READ, name="show-conflict")
async def get_conflict(request: AnyRequest, dataset: str, conflict: int) -> Json:
    """Show one conflict, whether it waits or was decided."""

    def read(connection: sa.Connection) -> ConflictRow:
        return find_conflict(connection, conflict, find_dataset(connection, dataset).id)

    return (await services_of(request).repository.archive.database.read(read)).describe()


@route(f"{CONFLICT}/file", http_method=READ, name="conflict-file")
async def get_conflict_file(request: AnyRequest, dataset: str, conflict: int) -> ASGIApp:
    """Return the file that was refused, byte for byte as it came."""
    repository = services_of(request).repository

    def read(connection: sa.Connection) -> StoredInstance:
        owner = find_dataset(connection, dataset)
        key = find_conflict(connection, conflict, owner.id).key
        return load_instances(connection, owner.id, [key])[key]

    entry = (await repository.archive.database.read(read)).to_entry()
    kind = f"{DICOM}; transfer-syntax={entry.transfer_syntax_uid}"
    headers = [("content-type", kind), ("cache-control", "no-cache")]
    return Answer(200, headers, repository.blobs.stream(entry.segments), entry.size_bytes)


@post(f"{CONFLICT}/accept", status_code=200, name="accept-conflict")
async def post_accept(request: AnyRequest, dataset: str, conflict: int) -> Response[Json]:
    """Let the instance take the place of what the branch has under its UID, as a commit."""
    return await _resolve(request, dataset, conflict, Resolution.ACCEPT)


@post(f"{CONFLICT}/as-version", status_code=200, name="accept-conflict-as-version")
async def post_as_version(request: AnyRequest, dataset: str, conflict: int) -> Response[Json]:
    """Let the instance be a new version of the one in its own series, as a commit."""
    return await _resolve(request, dataset, conflict, Resolution.AS_VERSION)


@post(f"{CONFLICT}/discard", status_code=200, name="discard-conflict")
async def post_discard(request: AnyRequest, dataset: str, conflict: int) -> Response[Json]:
    """Take the instance out of the queue; the branch stays as it is."""
    return await _resolve(request, dataset, conflict, Resolution.DISCARD)


HANDLERS = (
    get_conflicts,
    get_conflict,
    get_conflict_file,
    post_accept,
    post_as_version,
    post_discard,
)


async def _resolve(
    request: AnyRequest, dataset: str, conflict: int, resolution: Resolution
) -> Response[Json]:
    repository = services_of(request).repository
    owner = await repository.archive.database.read(lambda c: find_dataset(c, dataset))
    decision = Decision(
        resolution,
        ANONYMOUS,
        parse_message(read_header(request, b"lamella-message")),
        parse_expected_head(read_header(request, b"if-match")),
    )
    resolved = await resolve_conflict(repository, conflict, decision, owner.id)
    commit_id = resolved.commit_id
    headers = {} if commit_id is None else {"Lamella-Commit": commit_id.hex()}
    return Response(resolved.describe(), headers=headers)
