"""Searches, one after the other on one connection, each with other values than the last."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from bench.answers import SERIES_UID, SOP_UID, STUDY_UID, read_uids
from bench.client import HttpAnswer, HttpRequest, build_get, run_load
from bench.measure import Bench, Case, Goal, Measure, Mismatch, Sample, make_sample
from bench.servers import Runner, Server
from bench.workload import SEED, TinyStudy, make_uid

_JSON = "application/dicom+json"
_OHIF = "fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030"
PAGE = 101
KEPT = 40

Ask = Callable[[Bench], Sequence[str]]
"""Returns targets below the DICOMweb root."""


def _list_first_page(bench: Bench) -> Sequence[str]:
    return [f"/studies?limit={PAGE}&offset=0&{_OHIF}"]


def _list_patients(bench: Bench) -> Sequence[str]:
    return [f"/studies?PatientID={study.patient_id}" for study in _sample(bench)]


def _list_prefixes(bench: Bench) -> Sequence[str]:
    prefixes = dict.fromkeys(study.patient_name[:4] for study in _sample(bench))
    return [f"/studies?PatientName={prefix}*" for prefix in prefixes]


def _list_months(bench: Bench) -> Sequence[str]:
    months = dict.fromkeys(study.study_date[:6] for study in _sample(bench))
    return [f"/studies?StudyDate={month}01-{month}28" for month in months]


def _list_series(bench: Bench) -> Sequence[str]:
    return [f"/studies/{study.study_uid}/series" for study in _sample(bench)]


def _list_instances(bench: Bench) -> Sequence[str]:
    return [
        f"/studies/{study.study_uid}/series/{make_uid(4, 0, 0, study.index)}/instances"
        for study in _sample(bench)
    ]


def _list_slices(bench: Bench) -> Sequence[str]:
    return [f"/studies/{bench.series.study_uid}/series/{bench.series.series_uid}/instances"]


def _sample(bench: Bench) -> list[TinyStudy]:
    return random.Random(SEED).sample(bench.studies, min(200, len(bench.studies)))


def _measure(ask: Ask, tag: str, expected: Callable[[Bench], int] | None) -> Measure:
    def measure(bench: Bench, server: Runner, turn: int) -> Sample:
        assert isinstance(server, Server)
        requests = [build_get(server.root + t, _JSON, label=t) for t in ask(bench)]
        _warm_up(server, requests)
        cpu_s = server.cpu_s()
        load = run_load(
            server.port, requests, concurrency=1, seconds=bench.seconds, at_least=3, keep=KEPT
        )
        cpu_s = server.cpu_s() - cpu_s
        facts = {answer.label: _check(bench, answer, tag, expected) for answer in load.kept}
        return make_sample(load, cpu_s, facts)

    return measure


def _warm_up(server: Server, requests: Sequence[HttpRequest]) -> None:
    run_load(server.port, requests[:3], concurrency=1, keep=0)


def _check(
    bench: Bench, answer: HttpAnswer, tag: str, expected: Callable[[Bench], int] | None
) -> object:
    """Return the UIDs found, or how many where each server may choose its own first page."""
    uids = read_uids(answer, tag)
    if expected is not None and len(uids) != expected(bench):
        raise Mismatch(f"{len(uids)} results for {answer.label}, not {expected(bench)}")
    if len(set(uids)) != len(uids):
        raise Mismatch(f"a result came twice for {answer.label}")
    return len(uids) if "limit=" in answer.label else uids


CASES = (
    Case(
        "search-101",
        "search",
        "First 101 studies with OHIF's includefield",
        "req/s",
        _measure(_list_first_page, STUDY_UID, None),
        (Goal("orthanc", 30),),
    ),
    Case(
        "search-patient-id",
        "search",
        "Studies by PatientID",
        "req/s",
        _measure(_list_patients, STUDY_UID, lambda _: 1),
        (Goal("orthanc", 10),),
    ),
    Case(
        "search-name-prefix",
        "search",
        "Studies by the beginning of PatientName",
        "req/s",
        _measure(_list_prefixes, STUDY_UID, None),
        (Goal("orthanc", 10),),
    ),
    Case(
        "search-date-range",
        "search",
        "Studies of one month",
        "req/s",
        _measure(_list_months, STUDY_UID, None),
        (Goal("orthanc", 10),),
    ),
    Case(
        "search-series",
        "search",
        "Series of a study",
        "req/s",
        _measure(_list_series, SERIES_UID, lambda _: 2),
        (Goal("orthanc", 10),),
    ),
    Case(
        "search-instances-5",
        "search",
        "Instances of a series of 5",
        "req/s",
        _measure(_list_instances, SOP_UID, lambda _: 5),
        (Goal("orthanc", 10),),
    ),
    Case(
        "search-instances-500",
        "search",
        "Instances of the CT series",
        "req/s",
        _measure(_list_slices, SOP_UID, lambda bench: bench.series.n_slices),
        (Goal("orthanc", 50),),
    ),
)
