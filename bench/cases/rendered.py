"""Pictures and other encodings: made for the first time, and asked for again."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import generate_frames

from bench.answers import split_parts
from bench.client import HttpAnswer, HttpRequest, Load, build_get, run_load
from bench.measure import Bench, Case, Goal, Mismatch, Sample, make_sample
from bench.servers import Runner, Server
from bench.workload import CT_SIDE

CONCURRENCY = 4
REPEATED = 20  # slices
PASSES = 40  # through the series, each with a window of its own
MIDDLE, WIDTH = -984, 400  # of soft tissue, after the rescale intercept of -1,024
JPEG_LS = "1.2.840.10008.1.2.4.80"
Check = Callable[[Bench, Load], dict[str, object]]
# Servers differ in how they round; a picture of another slice or window is further off.
MOST_GREYS_OFF = 6.0


def _ask_rendered(
    bench: Bench, server: Server, indices: Iterable[int], center: int
) -> list[HttpRequest]:
    window = f"?window={center},{WIDTH},linear"
    return [
        build_get(
            f"{_name_instance(bench, server, index)}/rendered{window}",
            "image/jpeg",
            label=f"{index} {center}",
        )
        for index in indices
    ]


def _name_instance(bench: Bench, server: Server, index: int) -> str:
    series = bench.series
    base = f"{server.root}/studies/{series.study_uid}/series/{series.series_uid}"
    return f"{base}/instances/{series.sop_uid(index)}"


def _check_rendered(bench: Bench, load: Load) -> dict[str, object]:
    for answer in load.kept:
        index, center = map(int, answer.label.split())
        picture = np.asarray(Image.open(io.BytesIO(answer.body)).convert("L")).astype(float)
        values = _read_slice(bench, index) - 1024.0
        expected = 255 * np.clip((values - (center - 0.5)) / (WIDTH - 1) + 0.5, 0, 1)
        if picture.shape != expected.shape or np.abs(picture - expected).mean() > MOST_GREYS_OFF:
            raise Mismatch(f"slice {index} does not look as it should")
    return {}


def _read_slice(bench: Bench, index: int) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    pixels = np.frombuffer(bench.series.make(index).pixels, "<i2")
    return pixels.reshape(CT_SIDE, CT_SIDE)


def _measure_fresh(bench: Bench, server: Runner, turn: int) -> Sample:
    """Measure pictures that nobody asked for before: each pass has a window of its own."""
    assert isinstance(server, Server)
    first = MIDDLE - 20 + turn * PASSES
    run_load(
        server.port,
        _ask_rendered(bench, server, range(CONCURRENCY), MIDDLE - 100 + turn),
        concurrency=CONCURRENCY,
        keep=0,
    )
    slices = range(bench.series.n_slices)
    requests = [
        request
        for center in range(first, first + PASSES)
        for request in _ask_rendered(bench, server, slices, center)
    ]
    return _run(bench, server, requests, _check_rendered)


def _measure_again(bench: Bench, server: Runner, turn: int) -> Sample:
    """Measure a few pictures over and over."""
    assert isinstance(server, Server)
    requests = _ask_rendered(bench, server, range(REPEATED), MIDDLE)
    run_load(server.port, requests, concurrency=CONCURRENCY, keep=0)
    return _run(bench, server, requests, _check_rendered)


def _measure_transcoded(bench: Bench, server: Runner, turn: int) -> Sample:
    """Measure a few instances in JPEG-LS, over and over."""
    assert isinstance(server, Server)
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LS}'
    requests = [
        build_get(_name_instance(bench, server, index), accept, label=str(index))
        for index in range(REPEATED)
    ]
    run_load(server.port, requests, concurrency=CONCURRENCY, keep=0)
    return _run(bench, server, requests, _check_transcoded)


def _check_transcoded(bench: Bench, load: Load) -> dict[str, object]:
    for answer in load.kept:
        if not np.array_equal(_decode(answer), _read_slice(bench, int(answer.label))):
            raise Mismatch(f"slice {answer.label} does not decode to its pixels")
    return {}


def _decode(answer: HttpAnswer) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    (part,) = split_parts(answer)
    ds = pydicom.dcmread(io.BytesIO(part))
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    return imagecodecs.jpegls_decode(frame).view(np.int16)


def _run(bench: Bench, server: Server, requests: Sequence[HttpRequest], check: Check) -> Sample:
    cpu_s = server.cpu_s()
    load = run_load(server.port, requests, concurrency=CONCURRENCY, seconds=bench.seconds, keep=8)
    return make_sample(load, server.cpu_s() - cpu_s, check(bench, load))


CASES = (
    Case(
        "rendered-fresh",
        "rendered",
        "JPEG of a 512×512 slice, windowed, never asked for before, 4 connections",
        "req/s",
        _measure_fresh,
        (Goal("orthanc", 1.5),),
    ),
    Case(
        "rendered-again",
        "rendered",
        "JPEG of a 512×512 slice, windowed, asked for again, 4 connections",
        "req/s",
        _measure_again,
        (Goal("orthanc", 20),),
    ),
    Case(
        "transcoded-again",
        "rendered",
        "A slice as an instance in JPEG-LS, asked for again, 4 connections",
        "req/s",
        _measure_transcoded,
        (Goal("orthanc", 20),),
    ),
)
