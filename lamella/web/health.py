"""`/healthz`, `/readyz`, `/metrics`, and the first page.

Source:
    Prometheus text exposition format 0.0.4.
"""

from __future__ import annotations

from html import escape
from typing import Any

from litestar import MediaType, Request, route
from litestar.response import Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from lamella import __version__
from lamella.archive.migration import read_schema_revision
from lamella.dicomweb.services import services_of
from lamella.errors import LamellaError
from lamella.vcs.refs import list_datasets

AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]


@route("/healthz", http_method=READ, name="liveness", sync_to_thread=False)
def get_liveness() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok", "version": __version__}


@route("/readyz", http_method=READ, name="readiness")
async def get_readiness(request: AnyRequest) -> Response[dict[str, str]]:
    """Say whether database, storage and queue would take work now."""
    archive = services_of(request).repository.archive
    checks = {"database": "ok", "storage": "ok", "queue": "ok"}
    try:
        await archive.database.read(read_schema_revision)
    except LamellaError as error:
        checks["database"] = checks["queue"] = error.detail  # the queue is a table of it
    try:
        await archive.packs.check()
    except LamellaError as error:
        checks["storage"] = error.detail
    ready = all(state == "ok" for state in checks.values())
    return Response(
        {"status": "ready" if ready else "not ready", **checks}, status_code=200 if ready else 503
    )


@route("/metrics", http_method=READ, name="metrics", sync_to_thread=False)
def get_metrics(request: AnyRequest) -> Response[bytes]:
    """Give counters to Prometheus; those of all processes together."""
    registry = REGISTRY
    if not services_of(request).settings.is_single_process:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


@route("/", http_method=READ, name="first-page", media_type=MediaType.HTML)
async def get_first_page(request: AnyRequest) -> str:
    """Show what is here and where its doors are."""
    rows = await services_of(request).repository.archive.database.read(list_datasets)
    items = "".join(
        f'<li><a href="/dicomweb/{escape(row.name)}/{escape(row.default_branch)}/studies">'
        f"{escape(row.name)}</a> · "
        f'<a href="/api/v1/datasets/{escape(row.name)}/commits">history</a></li>'
        for row in rows
    )
    return _PAGE.format(items=items, version=escape(__version__))


ROUTES = (get_liveness, get_readiness, get_metrics, get_first_page)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lamella</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}}
code{{background:#f2f2f2;padding:.1em .3em}}</style></head>
<body><h1>Lamella</h1>
<p>A DICOMweb archive in which every view is pinned to a commit. Version {version}.</p>
<h2>Datasets</h2><ul>{items}</ul>
<p>DICOMweb root of a dataset: <code>/dicomweb/&lt;dataset&gt;/&lt;revision&gt;</code>, where the
revision is a branch, a tag, a commit id, <code>main~2</code> or
<code>main@2026-11-01T12:00:00Z</code>.</p>
<p><a href="/schema/openapi.json">OpenAPI</a> · <a href="/metrics">metrics</a> ·
<a href="/readyz">readiness</a></p></body></html>
"""
