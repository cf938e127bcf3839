"""STOW: CT slices one and fifty a request, and tiny instances. Every byte is new each time."""

from __future__ import annotations

from bench.loading import build_stores, store
from bench.measure import Bench, Case, Goal, Measure, Mismatch, Sample, make_sample
from bench.servers import Runner, Server
from bench.workload import CtSeries, Slice, list_tiny_studies, make_tiny

A_BATCH = 50


def _measure(a_request: int, concurrency: int) -> Measure:
    def measure(bench: Bench, server: Runner, turn: int) -> Sample:
        assert isinstance(server, Server)
        copy = bench.next_copy()
        count = max(bench.sizes.store_instances, a_request * concurrency)
        instances = list(CtSeries(copy, count, bench.series.side))
        return _store(server, instances, a_request, concurrency)

    return measure


def _measure_tiny(a_request: int, concurrency: int) -> Measure:
    def measure(bench: Bench, server: Runner, turn: int) -> Sample:
        assert isinstance(server, Server)
        copy = bench.next_copy()
        (study,) = list_tiny_studies(1, first=2_000_000 + copy)
        count = bench.sizes.tiny_instances
        instances = [make_tiny(study, 0, number) for number in range(count)]
        return _store(server, instances, a_request, concurrency)

    return measure


def _store(server: Server, instances: list[Slice], a_request: int, concurrency: int) -> Sample:
    requests = build_stores(server, instances, a_request)
    cpu_s = server.cpu_s()
    load, stored = store(server, requests, concurrency)
    cpu_s = server.cpu_s() - cpu_s
    if stored != len(instances):
        raise Mismatch(f"{server.name} stored {stored} of {len(instances)} instances")
    return make_sample(load, cpu_s, {"stored": stored}, units=stored)


CASES = (
    *(
        Case(
            f"stow-{a_request}-c{concurrency}",
            "store",
            f"STOW of CT slices, {a_request} a request, {concurrency} connections",
            "inst/s",
            _measure(a_request, concurrency),
            (Goal("orthanc", 1.5),),
        )
        for a_request in (1, A_BATCH)
        for concurrency in (1, 4, 16)
    ),
    Case(
        "stow-tiny-c4",
        "store",
        "STOW of tiny instances, 1 a request, 4 connections",
        "inst/s",
        _measure_tiny(1, 4),
        (Goal("orthanc", 2),),
    ),
    Case(
        "stow-tiny-50-c4",
        "store",
        "STOW of tiny instances, 50 a request, 4 connections",
        "inst/s",
        _measure_tiny(A_BATCH, 4),
        (Goal("orthanc", 2),),
    ),
)
