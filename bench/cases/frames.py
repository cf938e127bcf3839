"""Frames and whole series: bytes from disk to socket."""

from __future__ import annotations

from collections.abc import Sequence

from bench.answers import digest, digest_parts, split_parts
from bench.client import HttpAnswer, HttpRequest, Load, build_get, run_load
from bench.measure import Bench, Case, Goal, Measure, Mismatch, Sample, make_sample
from bench.servers import Runner, Server
from bench.yardsticks import FRAME_PATH

_WHOLE = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def _ask_slices(bench: Bench, server: Runner) -> list[HttpRequest]:
    """One frame of each slice of the CT series."""
    if not isinstance(server, Server):
        paths = [FRAME_PATH.format(index) for index in range(bench.series.n_slices)]
        return [build_get(p, "*/*", label=str(index)) for index, p in enumerate(paths)]
    series = f"{server.root}/studies/{bench.series.study_uid}/series/{bench.series.series_uid}"
    return [
        build_get(
            f"{series}/instances/{bench.series.sop_uid(index)}/frames/1",
            server.frames_accept,
            label=str(index),
        )
        for index in range(bench.series.n_slices)
    ]


def _ask_multiframe(bench: Bench, server: Runner) -> list[HttpRequest]:
    """Each frame of the compressed multi-frame, in an order that no read-ahead foresees."""
    assert isinstance(server, Server)
    one = bench.multiframe
    base = f"{server.root}/studies/{one.study_uid}/series/{one.series_uid}"
    order = sorted(range(one.n_frames), key=lambda index: index * 7919 % one.n_frames)
    return [
        build_get(
            f"{base}/instances/{one.sop_uid}/frames/{index + 1}",
            server.compressed_accept,
            label=str(index),
        )
        for index in order
    ]


def _check_slices(bench: Bench, load: Load) -> dict[str, object]:
    for answer in load.kept:
        _expect(answer, [digest(bench.series.make(int(answer.label)).pixels)])
    return {}


def _check_multiframe(bench: Bench, load: Load) -> dict[str, object]:
    for answer in load.kept:
        frame = bench.multiframe.frames[int(answer.label)]
        (part,) = split_parts(answer)
        if part.rstrip(b"\0") != frame.rstrip(b"\0"):  # padding to even length may be cut off
            raise Mismatch(f"frame {answer.label} differs")
    return {}


def _expect(answer: HttpAnswer, digests: Sequence[str]) -> None:
    if digest_parts(answer) != list(digests):
        raise Mismatch(f"the pixels of {answer.label} are not those that were stored")


def _measure_slices(concurrency: int) -> Measure:
    def measure(bench: Bench, server: Runner, turn: int) -> Sample:
        requests = _ask_slices(bench, server)
        run_load(server.port, requests[:concurrency], concurrency=concurrency, keep=0)
        cpu_s = server.cpu_s()
        load = run_load(
            server.port, requests, concurrency=concurrency, seconds=bench.seconds, keep=8
        )
        cpu_s = server.cpu_s() - cpu_s
        return make_sample(load, cpu_s, _check_slices(bench, load))

    return measure


def _measure_multiframe(concurrency: int) -> Measure:
    def measure(bench: Bench, server: Runner, turn: int) -> Sample:
        requests = _ask_multiframe(bench, server)
        run_load(server.port, requests[:2], concurrency=1, keep=0)
        cpu_s = server.cpu_s()
        load = run_load(
            server.port,
            requests,
            concurrency=concurrency,
            seconds=bench.seconds,
            at_least=5,
            keep=8,
        )
        cpu_s = server.cpu_s() - cpu_s
        return make_sample(load, cpu_s, _check_multiframe(bench, load))

    return measure


def _measure_series(concurrency: int) -> Measure:
    """Measure the whole series; its rate is in MB (1e6 bytes) a second."""

    def measure(bench: Bench, server: Runner, turn: int) -> Sample:
        assert isinstance(server, Server)
        target = f"/studies/{bench.series.study_uid}/series/{bench.series.series_uid}"
        request = build_get(server.root + target, _WHOLE, label="series")
        if turn == 0:
            checked = run_load(server.port, [request], concurrency=1, keep=1)
            _check_series(bench, checked.kept[0])
        cpu_s = server.cpu_s()
        load = run_load(
            server.port,
            [request],
            concurrency=concurrency,
            seconds=bench.seconds,
            at_least=concurrency,
            keep=0,
        )
        cpu_s = server.cpu_s() - cpu_s
        return make_sample(load, cpu_s, {}, units=load.body_bytes / 1e6)

    return measure


def _check_series(bench: Bench, answer: HttpAnswer) -> None:
    size = bench.series.make(0).pixel_bytes
    found = sorted(digest(part[-size:]) for part in split_parts(answer))
    if found != sorted(digest(one.pixels) for one in bench.series):
        raise Mismatch(f"{len(found)} instances of the series, or their pixels, differ")


CASES = (
    Case(
        "frames-c16",
        "frames",
        "One frame of a 0.5 MB slice, 16 connections",
        "req/s",
        _measure_slices(16),
        (Goal("orthanc", 12), Goal("granian", 0.6)),
        ("granian", "nginx"),
    ),
    Case(
        "frames-c1",
        "frames",
        "One frame of a 0.5 MB slice, 1 connection",
        "req/s",
        _measure_slices(1),
        (),
        ("granian", "nginx"),
    ),
    Case(
        "multiframe-c1",
        "frames",
        "One frame of the JPEG 2000 multi-frame as stored, 1 connection",
        "req/s",
        _measure_multiframe(1),
        (Goal("orthanc", 80),),
    ),
    Case(
        "multiframe-c4",
        "frames",
        "One frame of the JPEG 2000 multi-frame as stored, 4 connections",
        "req/s",
        _measure_multiframe(4),
        (Goal("orthanc", 80),),
    ),
    Case(
        "series-c1",
        "frames",
        "Whole CT series, multipart, 1 connection",
        "MB/s",
        _measure_series(1),
        (Goal("orthanc", 1),),
    ),
    Case(
        "series-c4",
        "frames",
        "Whole CT series, multipart, 4 connections",
        "MB/s",
        _measure_series(4),
        (Goal("orthanc", 1),),
    ),
)
