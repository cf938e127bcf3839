"""`/api/v1/datasets/{dataset}/deid`: runs in the background, their reports, and rules.

A run is asked for at its source; runs are listed at their destination.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from litestar import MediaType, Request, Response, delete, post, route
from litestar.params import Parameter

from lamella.archive.database import Database
from lamella.archive.outbox import Job
from lamella.deid.orders import Order, choose_profile, parse_destination, settle
from lamella.deid.report_pages import render_html
from lamella.deid.rules import Rule, add_rule, delete_rule, list_rules
from lamella.deid.run_rows import RunRow, find_ended_run, find_run, list_runs
from lamella.deid.work import ask_for_run
from lamella.dicomweb.locations import base_url, join_path
from lamella.dicomweb.services import services_of
from lamella.dicomweb.writers import ANONYMOUS
from lamella.vcs.conflicts import LARGEST_ID
from lamella.vcs.refs import find_dataset
from lamella.vcs.work import describe_job
from lamella.web import deid_reviews

Json = dict[str, Any]
AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]
DEID = "/datasets/{dataset:str}/deid"
LARGEST_LIMIT = 1_000
Limit = Annotated[int, Parameter(ge=1, le=LARGEST_LIMIT, description="runs to return")]
Id = Annotated[int, Parameter(ge=1, le=LARGEST_ID)]


class NewRun(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be de-identified, how, and where to.

    Attributes:
        destination: `DATASET` or `DATASET@BRANCH`, of another dataset.
        revision: Of the source; its default branch if left out.
        profile: A built-in one's name, or the fields of one.
        key: A project, or a key's id.
        map: Whether sealed maps of identifiers are kept.
        message: Of the commit.
    """

    destination: str
    revision: str | None = None
    profile: str | dict[str, Any] = "basic"
    key: str | None = None
    map: bool = True
    message: str = ""


class NewRule(msgspec.Struct, forbid_unknown_fields=True):
    """The same for all that commits bring to a branch; without one, to the default branch."""

    destination: str
    branch: str | None = None
    profile: str | dict[str, Any] = "basic"
    key: str | None = None
    map: bool = True
    message: str = ""


@post(DEID, status_code=202, name="deidentify")
async def post_run(request: AnyRequest, dataset: str, data: NewRun) -> Response[Json]:
    """De-identify a revision in the background; `Location` is where the job is."""
    order = await _read_order(request, data)
    job = await _database(request).write(lambda c: ask_for_run(c, dataset, data.revision, order))
    return Response(describe_job(job), headers={"Location": _locate(request, job)})


@route(f"{DEID}/runs", http_method=READ, name="list-deid-runs")
async def get_runs(
    request: AnyRequest, dataset: str, before: Id | None = None, limit: Limit = 100
) -> list[Json]:
    """List the runs into a dataset, newest first; `before` continues an earlier page."""

    def read(connection: sa.Connection) -> list[RunRow]:
        owner = find_dataset(connection, dataset)
        return list_runs(connection, owner.id, before=before, limit=limit)

    return [run.describe() for run in await _database(request).read(read)]


@route(f"{DEID}/runs/{{run:int}}", http_method=READ, name="show-deid-run")
async def get_run(request: AnyRequest, dataset: str, run: Id) -> Json:
    """Show one run with its report, if it has come to its end."""

    def read(connection: sa.Connection) -> RunRow:
        return find_run(connection, find_dataset(connection, dataset).id, run)

    found = await _database(request).read(read)
    return {**found.describe(), "report": found.report}


@route(
    f"{DEID}/runs/{{run:int}}/report",
    http_method=READ,
    name="deid-report",
    media_type=MediaType.HTML,
)
async def get_report(request: AnyRequest, dataset: str, run: Id) -> str:
    """Show the report of a run as a page."""

    def read(connection: sa.Connection) -> RunRow:
        return find_ended_run(connection, find_dataset(connection, dataset).id, run)

    found = await _database(request).read(read)
    assert found.report is not None
    return render_html(found.report)


@route(f"{DEID}/rules", http_method=READ, name="list-deid-rules")
async def get_rules(request: AnyRequest, dataset: str) -> list[Json]:
    """List the rules by which branches of a dataset are de-identified."""
    found = await _database(request).read(lambda c: list_rules(c, dataset))
    return [rule.describe() for rule in found]


@post(f"{DEID}/rules", name="add-deid-rule")
async def post_rule(request: AnyRequest, dataset: str, data: NewRule) -> Response[Json]:
    """De-identify what a branch has, and each commit from now on; `Location` is the first job's."""
    order = await _read_order(request, data)

    def write(connection: sa.Connection) -> tuple[Rule, Job]:
        return add_rule(connection, dataset, data.branch, order)

    rule, job = await _database(request).write(write)
    return Response(rule.describe(), headers={"Location": _locate(request, job)})


@delete(f"{DEID}/rules/{{rule:int}}", name="delete-deid-rule")
async def remove_rule(request: AnyRequest, dataset: str, rule: Id) -> None:
    """De-identify no more by a rule."""
    await _database(request).write(lambda c: delete_rule(c, rule, dataset))


HANDLERS = (
    post_run,
    get_runs,
    get_run,
    get_report,
    get_rules,
    post_rule,
    remove_rule,
    *deid_reviews.HANDLERS,
)


async def _read_order(request: AnyRequest, data: NewRun | NewRule) -> Order:
    dataset, branch = parse_destination(data.destination)
    order = Order(
        dataset=dataset,
        branch=branch,
        profile=choose_profile(data.profile),
        key=data.key,
        keeps_map=data.map,
        message=data.message,
        author=ANONYMOUS,
    )
    return await asyncio.to_thread(settle, order, services_of(request).settings)


def _locate(request: AnyRequest, job: Job) -> str:
    return f"{base_url(request)}{join_path('api', 'v1', 'jobs', str(job.id))}"


def _database(request: AnyRequest) -> Database:
    return services_of(request).repository.archive.database
