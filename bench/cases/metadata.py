"""Metadata of the CT series: cold, warm, and warm beside nginx sending the same bytes.

Cold is the first such request after a restart with derived caches deleted. Viewers accept gzip,
so that is what is asked for; the plain form is a case of its own.
"""

from __future__ import annotations

from bench.answers import summarize_metadata
from bench.client import HttpAnswer, HttpRequest, build_get, run_load, send_once
from bench.measure import Bench, Case, Goal, Mismatch, Sample, make_sample
from bench.servers import Runner, Server
from bench.yardsticks import METADATA_PATH

_JSON = "application/dicom+json"
CONCURRENCY = 4


def build_request(bench: Bench, server: Runner, *, gzip_ok: bool = True) -> HttpRequest:
    """Return the request for the series' metadata."""
    if not isinstance(server, Server):
        return build_get(METADATA_PATH, "*/*", gzip_ok=gzip_ok, label="metadata")
    path = f"{server.root}/studies/{bench.series.study_uid}/series/{bench.series.series_uid}"
    return build_get(f"{path}/metadata", _JSON, gzip_ok=gzip_ok, label="metadata")


def measure_cold(bench: Bench, server: Runner, turn: int) -> Sample:
    """Time the first request after a restart."""
    assert isinstance(server, Server)
    server.restart_cold()
    cpu_s = server.cpu_s()
    load = run_load(server.port, [build_request(bench, server)], concurrency=1, keep=1)
    cpu_s = server.cpu_s() - cpu_s
    return make_sample(load, cpu_s, {"metadata": _check(bench, load.kept[0])})


def measure_warm(bench: Bench, server: Runner, turn: int) -> Sample:
    """Time repeated requests, one after the other, gzip accepted."""
    return _measure(bench, server, build_request(bench, server), 1)


def measure_plain(bench: Bench, server: Runner, turn: int) -> Sample:
    """Time repeated requests for the uncompressed form."""
    return _measure(bench, server, build_request(bench, server, gzip_ok=False), 1)


def measure_busy(bench: Bench, server: Runner, turn: int) -> Sample:
    """Time repeated requests on several connections, gzip accepted."""
    return _measure(bench, server, build_request(bench, server), CONCURRENCY)


def _measure(bench: Bench, server: Runner, request: HttpRequest, concurrency: int) -> Sample:
    send_once(server.port, request)
    cpu_s = server.cpu_s()
    load = run_load(
        server.port, [request], concurrency=concurrency, seconds=bench.seconds, at_least=3, keep=1
    )
    cpu_s = server.cpu_s() - cpu_s
    return make_sample(load, cpu_s, {"metadata": _check(bench, load.kept[0])})


def _check(bench: Bench, answer: HttpAnswer) -> object:
    found = summarize_metadata(answer)
    if found["instances"] != bench.series.n_slices:
        raise Mismatch(f"metadata of {found['instances']} instances")
    return found


CASES = (
    Case(
        "metadata-cold",
        "metadata",
        "Metadata of the CT series, cold",
        "req/s",
        measure_cold,
        (Goal("orthanc", 20),),
    ),
    Case(
        "metadata-warm",
        "metadata",
        "Metadata of the CT series, warm, gzip",
        "req/s",
        measure_warm,
        (Goal("orthanc", 100), Goal("nginx-metadata", 0.6)),
        ("nginx-metadata", "granian-metadata"),
    ),
    Case(
        "metadata-plain",
        "metadata",
        "Metadata of the CT series, warm, uncompressed",
        "req/s",
        measure_plain,
        (),
    ),
    Case(
        "metadata-busy",
        "metadata",
        f"Metadata of the CT series, warm, gzip, {CONCURRENCY} connections",
        "req/s",
        measure_busy,
        (Goal("nginx-metadata", 0.6),),
        ("nginx-metadata", "granian-metadata"),
    ),
)
