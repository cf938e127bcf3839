"""`/healthz`, `/readyz` and `/metrics`.

Source:
    Prometheus text exposition format 0.0.4.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, route
from litestar.response import Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from lamella import __version__
from lamella.archive.migration import read_schema_revision
from lamella.dicomweb.services import services_of
from lamella.errors import LamellaError

AnyRequest = Request[Any, Any, Any]
READ: Any = ["GET", "HEAD"]


@route("/healthz", http_method=READ, name="liveness", sync_to_thread=False)
def get_liveness() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok", "version": __version__}


@route("/readyz", http_method=READ, name="readiness")
async def get_readiness(request: AnyRequest) -> Response[dict[str, str]]:
    """Say whether database, storage and queue would take work now."""
    services = services_of(request)
    archive = services.repository.archive
    checks = {"database": "ok", "storage": "ok", "queue": "ok"}
    try:
        await archive.database.read(read_schema_revision)
    except LamellaError as error:
        checks["database"] = checks["queue"] = error.detail  # the queue is a table of it
    if services.queue is not None and checks["queue"] == "ok":
        try:
            await services.queue.check()
        except LamellaError as error:
            checks["queue"] = error.detail
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


ROUTES = (get_liveness, get_readiness, get_metrics)
