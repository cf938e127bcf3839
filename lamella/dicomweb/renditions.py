"""What was made of stored instances: pictures, other encodings. Made once, kept for a while.

Things are named by what they were made from, instances by their content, so what is kept is never
wrong. Requests for a thing that is being made wait for that one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from lamella.archive.threads import run_in_thread
from lamella.vcs.cache import LeastRecent

FORMAT = 1  # change it when the same thing is made differently from now on
FOLDER = f"renditions-{FORMAT}"
MEMORY_BYTES = 4 << 20
ANSWER_BYTES = 3 << 20  # for the most part the same bytes
_LONGEST_IN_MEMORY = 1 << 20
_MOST_WRITES = 8
_ANSWER_OVERHEAD_BYTES = 1000


class Shelf(Protocol):
    """Where things are kept beyond memory; it may forget any of them."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, data: bytes) -> None: ...


def name_rendition(instance_key: bytes, kind: str, *details: Any) -> str:
    """Return the name of a thing.

    Args:
        instance_key: Of the instance it is made from.
        kind: What it is, such as `rendered`.
        details: All that decides how it looks, as JSON would hold it.
    """
    facts = msgspec.json.encode([kind, *details])
    return hashlib.sha256(instance_key + facts).hexdigest()


AnswerKey = tuple[bytes, str, bytes, str | None]
"""Key of the instance, what of it is asked for, query, Accept."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a request was answered with, so that the same one need not be understood again.

    Attributes:
        representation: What tells it from other answers to the same URL.
    """

    representation: str
    content_type: str
    body: bytes


class Renditions:
    """Keeps things in memory and on a shelf, and has each made once at a time.

    Belongs to one event loop.
    """

    def __init__(self, shelf: Shelf | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._shelf = shelf
        self._memory: LeastRecent[str, bytes] = LeastRecent(memory_bytes)
        self._answers: LeastRecent[AnswerKey, Remembered] = LeastRecent(ANSWER_BYTES)
        self._running: dict[str, asyncio.Task[bytes]] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def recall_answer(self, key: AnswerKey) -> Remembered | None:
        """Return what the same request was answered with, if that was not long ago."""
        return self._answers.get(key)

    def remember_answer(self, key: AnswerKey, answer: Remembered) -> None:
        """Keep an answer in memory for whoever asks the same of the same content."""
        if len(answer.body) <= _LONGEST_IN_MEMORY:
            self._answers.put(key, answer, len(answer.body) + _ANSWER_OVERHEAD_BYTES)

    def recall(self, name: str) -> bytes | None:
        """Return a thing that is in memory, or None."""
        return self._memory.get(name)

    async def get(
        self, name: str, make: Callable[[], Awaitable[bytes]], *, is_shelved: bool = True
    ) -> bytes:
        """Return a thing; it is made if it is not kept and not being made.

        Args:
            name: From `name_rendition`.
            make: Makes it.
            is_shelved: Whether it is worth a file, because it costs more to make than to read.

        Raises:
            LamellaError: What `make` raises, to all that wait for it.
        """
        found = self._memory.get(name)
        if found is not None:
            return found
        task = self._running.get(name)
        if task is None:
            task = asyncio.create_task(self._find_or_make(name, make, is_shelved))
            self._running[name] = task
            task.add_done_callback(lambda done: self._forget(name, done))
        # One client that goes away must not take it from the others.
        return await asyncio.shield(task)

    def _forget(self, name: str, task: asyncio.Task[bytes]) -> None:
        del self._running[name]
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would complain of one nobody waits for

    async def _find_or_make(
        self, name: str, make: Callable[[], Awaitable[bytes]], is_shelved: bool
    ) -> bytes:
        data = None
        if self._shelf is not None and is_shelved:
            data = await run_in_thread(self._shelf.read, name)
        if data is None:
            data = await make()
            if is_shelved:
                self._keep(name, data)
        if len(data) <= _LONGEST_IN_MEMORY:
            self._memory.put(name, data, len(data))
        return data

    def _keep(self, name: str, data: bytes) -> None:
        """Write a thing without letting those wait who asked for it; not if too many wait."""
        if self._shelf is None or len(self._writing) >= _MOST_WRITES:
            return
        task = asyncio.create_task(run_in_thread(self._shelf.write, name, data))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
