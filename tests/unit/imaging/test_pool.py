"""Decoder processes that are stopped, killed, abandoned and fed garbage."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from lamella.errors import BrokenInstance, NotAcceptable, OutOfResources
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.encoders import encode_frame
from lamella.imaging.pool import DecoderPool

RNG = np.random.default_rng(11)
GREY = RNG.integers(0, 65536, (64, 48), "u2")
JPEG_LS = "1.2.840.10008.1.2.4.80"
STREAM = bytes(imagecodecs.jpegls_encode(GREY))


def pixel_of(array: np.ndarray, uid: str = JPEG_LS) -> PixelDescription:
    bits = array.dtype.itemsize * 8
    return PixelDescription(*array.shape, 1, bits, bits, 0, "MONOCHROME2", 0, uid)


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    pool = DecoderPool(workers=2, timeout_s=20)
    yield pool
    await pool.close()


def worker_ids(pool: DecoderPool) -> list[int]:
    return [worker.pid for worker in pool.idle_workers]


async def test_many_requests_share_few_workers(pool):
    answers = await asyncio.gather(*(pool.decode_frame(STREAM, pixel_of(GREY)) for _ in range(20)))
    assert {answer.data for answer in answers} == {GREY.tobytes()}
    assert {answer.photometric_interpretation for answer in answers} == {"MONOCHROME2"}
    assert len(worker_ids(pool)) == 2


async def test_refusals_of_a_worker_arrive_as_they_are(pool):
    with pytest.raises(BrokenInstance):
        await pool.decode_frame(STREAM[:50], pixel_of(GREY))
    before = worker_ids(pool)
    with pytest.raises(NotAcceptable):
        await pool.decode_frame(STREAM, pixel_of(GREY, "1.2.840.10008.1.2.4.102"))
    assert worker_ids(pool) == before


async def test_a_crash_costs_one_request(pool):
    await asyncio.gather(*(pool.decode_frame(STREAM, pixel_of(GREY)) for _ in range(2)))
    first, second = worker_ids(pool)
    os.kill(second, signal.SIGSTOP)  # idle workers are taken from the end
    doomed = asyncio.create_task(pool.decode_frame(STREAM, pixel_of(GREY)))
    await asyncio.sleep(0.05)
    assert (await pool.decode_frame(STREAM, pixel_of(GREY))).data == GREY.tobytes()
    os.kill(second, signal.SIGKILL)
    with pytest.raises(BrokenInstance, match="crash"):
        await doomed
    answers = await asyncio.gather(*(pool.decode_frame(STREAM, pixel_of(GREY)) for _ in range(4)))
    assert {answer.data for answer in answers} == {GREY.tobytes()}
    assert first in worker_ids(pool)
    assert second not in worker_ids(pool)


async def test_an_idle_worker_that_died_is_replaced(pool):
    await pool.decode_frame(STREAM, pixel_of(GREY))
    [worker] = pool.idle_workers
    os.kill(worker.pid, signal.SIGKILL)
    while worker.is_alive:
        await asyncio.sleep(0.01)
    assert (await pool.decode_frame(STREAM, pixel_of(GREY))).data == GREY.tobytes()
    assert worker.pid not in worker_ids(pool)


async def test_a_hang_costs_one_request():
    pool = DecoderPool(workers=1, timeout_s=1)
    try:
        await pool.decode_frame(STREAM, pixel_of(GREY))
        [pid] = worker_ids(pool)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(BrokenInstance, match="longer"):
            await pool.decode_frame(STREAM, pixel_of(GREY))
        assert not Path(f"/proc/{pid}").exists()
        assert worker_ids(pool) == []
    finally:
        await pool.close()


async def test_a_client_that_goes_away_costs_no_worker(pool):
    await pool.decode_frame(STREAM, pixel_of(GREY))
    before = worker_ids(pool)
    task = asyncio.create_task(pool.decode_frame(STREAM, pixel_of(GREY)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while not pool.idle_workers:
        await asyncio.sleep(0.01)
    assert worker_ids(pool) == before


async def test_a_closed_pool_takes_nothing_and_leaves_no_process():
    pool = DecoderPool(workers=2)
    await asyncio.gather(*(pool.decode_frame(STREAM, pixel_of(GREY)) for _ in range(4)))
    workers = worker_ids(pool)
    await pool.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    with pytest.raises(OutOfResources):
        await pool.decode_frame(STREAM, pixel_of(GREY))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
async def test_a_worker_stays_small(pool):
    frame = np.repeat(np.repeat(GREY, 64, 0), 64, 1)
    stream = bytes(imagecodecs.jpegls_encode(frame))
    assert (await pool.decode_frame(stream, pixel_of(frame))).data == frame.tobytes()
    status = Path(f"/proc/{worker_ids(pool)[0]}/status").read_text()
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    assert frame.nbytes == 24 << 20
    assert peak_kib < 250 << 10


@pytest.mark.parametrize(
    ("uid", "encode"),
    [
        (JPEG_LS, imagecodecs.jpegls_encode),
        ("1.2.840.10008.1.2.4.90", imagecodecs.jpeg2k_encode),
        ("1.2.840.10008.1.2.4.201", imagecodecs.htj2k_encode),
        ("1.2.840.10008.1.2.4.110", imagecodecs.jpegxl_encode),
        (
            "1.2.840.10008.1.2.4.70",
            lambda array: imagecodecs.jpeg8_encode(array, lossless=True, bitspersample=16),
        ),
    ],
)
async def test_damaged_codestreams_are_errors_or_frames(pool, uid, encode):
    stream = bytes(encode(GREY))
    rng = np.random.default_rng(5)
    wanted = GREY.nbytes

    async def decode_damaged(seed: int) -> None:
        damaged = bytearray(stream)
        for position in rng.integers(0, len(damaged) if seed % 2 else 200, 1 + seed % 4):
            damaged[position] = int(rng.integers(0, 256))
        try:
            frame = await pool.decode_frame(bytes(damaged), pixel_of(GREY, uid))
        except BrokenInstance:
            return
        assert len(frame.data) == wanted

    await asyncio.gather(*(decode_damaged(seed) for seed in range(40)))
    frame = await pool.decode_frame(stream, pixel_of(GREY, uid))
    assert len(frame.data) == wanted


async def test_more_frames_than_may_wait_are_refused_at_once():
    pool = DecoderPool(workers=1, timeout_s=20, most_waiting=2)
    answers = await asyncio.gather(
        *(pool.decode_frame(STREAM, pixel_of(GREY)) for _ in range(5)), return_exceptions=True
    )
    await pool.close()
    kinds = [type(answer) for answer in answers]
    assert kinds.count(OutOfResources) == 2
    assert [answer.data for answer in answers if not isinstance(answer, OutOfResources)] == [
        GREY.tobytes()
    ] * 3


async def test_a_codestream_that_is_cut_short_is_found_out_at_once(pool):
    for length in range(80, len(STREAM), 400):
        with pytest.raises(BrokenInstance, match="JpeglsError"):
            await pool.decode_frame(STREAM[:length], pixel_of(GREY))


async def test_an_error_that_a_codec_ignores_costs_the_frame(pool, monkeypatch):
    frame = np.random.default_rng(3).integers(0, 256, (48, 48), "u1")
    pixel = pixel_of(frame, "1.2.840.10008.1.2.4.201")
    native = replace(pixel, transfer_syntax_uid="1.2.840.10008.1.2.1")
    encoded = encode_frame(frame.tobytes(), native, pixel.transfer_syntax_uid)
    damaged = bytearray(encoded.data)
    damaged[2608] = 127
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    assert imagecodecs.htj2k_decode(bytes(damaged), planar=False).shape == frame.shape
    assert len(ignored) == 1
    with pytest.raises(BrokenInstance, match="RuntimeError"):
        await pool.decode_frame(bytes(damaged), pixel)
