"""Bringing the workload into the servers, before anything is timed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from bench.answers import count_stored
from bench.client import HttpRequest, Load, build_stow, run_load
from bench.measure import Bench
from bench.servers import Server
from bench.workload import Slice, make_tiny_instances

STOW_STATUS = (200, 202, 409)  # which of them is success, `count_stored` tells
A_REQUEST = 50
AT_ONCE = 10  # requests kept in memory


def load_workload(bench: Bench, parts: Iterable[str]) -> None:
    """Store what cases need: of `tiny`, `series`, `multiframe`, `instances`."""
    for part in parts:
        for server in bench.servers.values():
            marker = server.folder.with_name(f"{server.name}-{part}.loaded")
            if marker.exists():
                continue  # a folder of an earlier run is used again
            print(f"loading {part} into {server.name}", flush=True)
            _store_all(server, _generate(bench, part))
            marker.touch()


def build_stores(server: Server, instances: Iterable[Slice], a_request: int) -> list[HttpRequest]:
    """Return requests that store instances, so many at a time."""
    iterator = iter(instances)
    requests = []
    while batch := list(islice(iterator, a_request)):
        label = f"{batch[0].sop_uid}+{len(batch)}"
        requests.append(build_stow(f"{server.root}/studies", [one.data for one in batch], label))
    return requests


def store(server: Server, requests: list[HttpRequest], concurrency: int) -> tuple[Load, int]:
    """Send store requests once each; return the load and how many instances were stored."""
    load = run_load(
        server.port,
        requests,
        concurrency=concurrency,
        keep=len(requests),
        expected_status=STOW_STATUS,
    )
    return load, sum(map(count_stored, load.kept))


def _store_all(server: Server, instances: Iterator[Slice]) -> None:
    while batch := list(islice(instances, A_REQUEST * AT_ONCE)):
        _, stored = store(server, build_stores(server, batch, A_REQUEST), 2)
        if stored != len(batch):
            raise RuntimeError(f"{server.name} stored {stored} of {len(batch)} instances")


def _generate(bench: Bench, part: str) -> Iterator[Slice]:
    match part:
        case "tiny":
            for study in bench.studies:
                yield from make_tiny_instances(study)
        case "series":
            yield from bench.series
        case "multiframe":
            one = bench.multiframe
            yield Slice(one.study_uid, one.series_uid, one.sop_uid, one.data, 0)
        case _:
            raise ValueError(f"there is no {part} to load")
