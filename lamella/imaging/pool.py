"""Codecs in processes of their own, because they crash and hang on broken codestreams.

Each worker has its own pipe and does one task at a time: it decodes, encodes or renders a frame.
So one that dies or takes too long costs the request it worked on and nobody else's (an executor
would fail all that are running), and a new one takes its place with the next request. Workers are
plain subprocesses: they import nothing of the server, and work from within server processes that
may not have children through `multiprocessing`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lamella
from lamella import errors
from lamella.errors import BrokenInstance, LamellaError, OutOfResources
from lamella.imaging.decoders import DecodedFrame, PixelDescription
from lamella.imaging.encoders import EncodedFrame
from lamella.imaging.worker import MESSAGE_HEADER, PAYLOAD_HEADER, pack_message

MOST_WAITING = 256
_GRACE_S = 2.0
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is asked to do.

    Attributes:
        fields: The name of the task, and what it needs to know; JSON.
        payload: The frame it works on, or several as they can be read.
        n_payloads: How many there are.
        timeout_s: How long it may take; None: as long as the pool says.
    """

    fields: dict[str, Any]
    payload: bytes | AsyncIterator[bytes]
    n_payloads: int = 1
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a worker made of it."""

    fields: dict[str, Any]
    data: bytes


class DecoderPool:
    """A few decoder processes, started when they are first needed.

    Belongs to the event loop that first uses it.

    Args:
        workers: Processes at most.
        timeout_s: How long one frame may take.
        most_waiting: How many may wait for a worker; each holds its compressed frame in memory.
    """

    def __init__(
        self, workers: int = 2, timeout_s: float = 60.0, most_waiting: int = MOST_WAITING
    ) -> None:
        self._most_waiting = most_waiting
        self._waiting = 0
        self._slots = asyncio.Semaphore(workers)
        self._timeout_s = timeout_s
        self._idle: list[Worker] = []
        self._running: set[asyncio.Task[Result]] = set()
        self._is_closed = False

    async def decode_frame(self, codestream: bytes, pixel: PixelDescription) -> DecodedFrame:
        """Decode one frame in a worker; waits while all of them are busy.

        Raises:
            NotAcceptable: There is no decoder for the transfer syntax.
            BrokenInstance: The codestream is broken; also if its decoder crashed or timed out.
            OutOfResources: No worker can be started, or the pool is closed.
        """
        result = await self.work(Job({"task": "decode", "pixel": asdict(pixel)}, codestream))
        return DecodedFrame(result.data, result.fields["photometric_interpretation"])

    async def encode_frame(
        self, frame: bytes, pixel: PixelDescription, transfer_syntax_uid: str
    ) -> EncodedFrame:
        """Encode one frame, stored or native, in a worker.

        Raises:
            NotAcceptable: These pixels cannot be given in that transfer syntax.
            BrokenInstance, OutOfResources: As `decode_frame`.
        """
        fields = {"task": "encode", "pixel": asdict(pixel), "target": transfer_syntax_uid}
        result = await self.work(Job(fields, frame))
        return EncodedFrame(result.data, result.fields["photometric_interpretation"])

    async def work(self, job: Job) -> Result:
        """Do a job in a worker; waits while all of them are busy.

        Raises:
            LamellaError: What the task raises.
            BrokenInstance: Also if the worker crashed or timed out.
            OutOfResources: No worker can be started, or the pool is closed.
        """
        if self._waiting >= self._most_waiting:
            raise OutOfResources("Too many frames wait for a decoder: try again later.")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        if self._is_closed:
            self._slots.release()
            raise OutOfResources("The decoders are shut down.")
        task = asyncio.create_task(self._work(job))
        self._running.add(task)
        task.add_done_callback(self._finish)
        # A client that goes away must not cost a worker: it finishes its frame and is idle. Until
        # then it keeps its slot, or impatient clients would start more workers than there may be.
        return await asyncio.shield(task)

    @property
    def idle_workers(self) -> tuple[Worker, ...]:
        """The workers that wait for a frame; the last one is taken next."""
        return tuple(self._idle)

    def _finish(self, task: asyncio.Task[Result]) -> None:
        self._slots.release()
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would complain of one nobody waits for

    async def _work(self, job: Job) -> Result:
        worker = await self._find_worker()
        timeout_s = job.timeout_s or self._timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                result = await worker.do(job)
        except TimeoutError:
            await worker.kill()
            raise BrokenInstance(f"A frame took longer than {timeout_s} s.") from None
        except (EOFError, OSError):
            await worker.kill()
            raise BrokenInstance("A frame's codestream made its decoder crash.") from None
        except Refusal as refusal:
            self._idle.append(worker)
            raise refusal.error from None
        except BaseException:
            await worker.kill()
            raise
        self._idle.append(worker)
        return result

    async def _find_worker(self) -> Worker:
        """Return an idle worker that is alive (a system short of memory kills idle ones too)."""
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            await worker.kill()
        return await Worker.start()

    async def close(self) -> None:
        """Let the workers end; the pool takes no more frames."""
        self._is_closed = True
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.gather(*(worker.close() for worker in self._idle))
        self._idle.clear()


class Refusal(Exception):
    """What a worker answered instead of a result."""

    def __init__(self, error: LamellaError) -> None:
        super().__init__(error.detail)
        self.error = error


class Worker:
    """One decoder process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._answers = process.stdout

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.returncode is None

    @classmethod
    async def start(cls) -> Worker:
        """Start a decoder process.

        Raises:
            OutOfResources: The system does not let us.
        """
        root = str(Path(lamella.__file__).parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        # One thread a worker: the pool's size says how many cores decoding may use.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = (sys.executable, "-m", "lamella.imaging.worker")
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, env=environment, limit=_PIPE_BYTES
            )
        except OSError as error:
            raise OutOfResources("No decoder process can be started.") from error
        return cls(process)

    async def do(self, job: Job) -> Result:
        """Send one job and return its result.

        Raises:
            EOFError, OSError: The process is gone.
            Refusal: The worker answered with an error, and can go on.
        """
        self._requests.write(pack_message(job.fields, job.n_payloads))
        if isinstance(job.payload, bytes):
            await self._send(job.payload)
        else:
            async for payload in job.payload:
                await self._send(payload)
        head = await self._answers.readexactly(MESSAGE_HEADER.size)
        fields: dict[str, Any] = json.loads(
            await self._answers.readexactly(MESSAGE_HEADER.unpack(head)[0])
        )
        (length,) = PAYLOAD_HEADER.unpack(await self._answers.readexactly(PAYLOAD_HEADER.size))
        data = await self._answers.readexactly(length)
        if "error" in fields:
            kind: type[LamellaError] = getattr(errors, fields["error"])
            raise Refusal(kind(fields["detail"]))
        return Result(fields, data)

    async def _send(self, payload: bytes) -> None:
        self._requests.writelines((PAYLOAD_HEADER.pack(len(payload)), payload))
        await self._requests.drain()

    async def close(self) -> None:
        """End the process by closing its stdin, by force if it does not listen."""
        self._requests.close()
        try:
            async with asyncio.timeout(_GRACE_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End the process at once."""
        try:
            self._process.kill()
        except ProcessLookupError:
            pass  # it is gone already, which is what was wanted
        self._requests.close()
        await self._process.wait()
