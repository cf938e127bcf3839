"""`/api/v1/jobs`: work that is done in the background, how far it is, and stopping it."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, post, route
from litestar.params import Parameter

from lamella.archive.database import Database
from lamella.archive.outbox import State, cancel, find_job, list_jobs, retry
from lamella.dicomweb.services import services_of
from lamella.errors import InvalidRequest
from lamella.vcs.conflicts import LARGEST_ID
from lamella.vcs.work import describe_job

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]
LARGEST_LIMIT = 1_000
Limit = Annotated[int, Parameter(ge=1, le=LARGEST_LIMIT, description="jobs to return")]
JobId = Annotated[int, Parameter(ge=1, le=LARGEST_ID)]


@route("/jobs", http_method=READ, name="list-jobs")
async def get_jobs(
    request: AnyRequest,
    kind: str | None = None,
    state_: Annotated[str | None, Parameter(query="state")] = None,
    before: JobId | None = None,
    limit: Limit = 100,
) -> list[Json]:
    """List jobs, newest first; `before` continues an earlier page."""
    if state_ is not None and state_ not in list(State):
        raise InvalidRequest(f"The state of a job is one of {', '.join(State)}.")
    wanted = None if state_ is None else State(state_)
    found = await _database(request).read(
        lambda c: list_jobs(c, state=wanted, kind=kind, before=before, limit=limit)
    )
    return [describe_job(job) for job in found]


@route("/jobs/{job:int}", http_method=READ, name="show-job")
async def get_job(request: AnyRequest, job: JobId) -> Json:
    """Show one job."""
    return describe_job(await _database(request).read(lambda c: find_job(c, job)))


@post("/jobs/{job:int}/cancel", status_code=200, name="cancel-job")
async def post_cancel(request: AnyRequest, job: JobId) -> Json:
    """Cancel a job: one that waits ends at once, one that runs as soon as its runner notices."""
    return describe_job(await _database(request).write(lambda c: cancel(c, job)))


@post("/jobs/{job:int}/retry", status_code=200, name="retry-job")
async def post_retry(request: AnyRequest, job: JobId) -> Json:
    """Let a job that failed, was cancelled or waits begin now."""
    return describe_job(await _database(request).write(lambda c: retry(c, job)))


HANDLERS = (get_jobs, get_job, post_cancel, post_retry)


def _database(request: AnyRequest) -> Database:
    return services_of(request).repository.archive.database
