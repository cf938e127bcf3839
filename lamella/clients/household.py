"""The installations that this process has open, and the thread that works on them.

Everything of Lamella runs in an event loop; clients are called from any thread. So each process
has one thread with one event loop, made when it is first needed.

A process that is forked must not share its parent's threads and connections; of a SQLite file it
must not even have open ones lying about, for SQLite believes them to be its own. So before a
fork requests are finished, installations closed and the thread ended; both processes open what
they need again.

Source:
    SQLite, How To Corrupt An SQLite Database File, §2.6 (connections across a fork).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from litestar.types import ASGIApp

from lamella.app.application import build_application
from lamella.archive.installation import Archive
from lamella.clients.answers import AnswerBody
from lamella.dicomweb.services import Services
from lamella.settings import Settings
from lamella.vcs.repository import Repository

Work = Callable[[AnswerBody], Awaitable[None]]
THREAD_NAME = "lamella-clients"


class Place(Protocol):
    """Where an installation is, and how it is opened; equal places are opened once."""

    def __hash__(self) -> int: ...

    async def open(self) -> OpenHouse:
        """Open it.

        Raises:
            LamellaError: It cannot be.
        """
        ...


@dataclass
class OpenHouse:
    """An installation that is open in this process.

    Attributes:
        services: The house.
        doors: Answer requests to it.
    """

    services: Services
    doors: ASGIApp

    @classmethod
    def build(cls, archive: Archive, settings: Settings) -> OpenHouse:
        """Return the house with its doors, over an archive that is open."""
        services = Services(Repository(archive), settings)
        return cls(services, build_application(services))

    async def close(self) -> None:
        """End its decoders, close its database and pack store."""
        await self.services.decoders.close()
        await self.services.repository.archive.close()


@dataclass
class Household:
    """What one process has open; use `HOUSEHOLD`."""

    _bodies: set[AnswerBody] = field(default_factory=set)
    _houses: dict[Place, OpenHouse] = field(default_factory=dict)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _gate: threading.Condition = field(default_factory=threading.Condition)
    _under_way: int = 0
    _is_resting: bool = False
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def start(self, work: Work) -> AnswerBody:
        """Begin work in the loop; waits while the process is being forked.

        Returns:
            What the work writes to.
        """
        with self._gate:
            self._gate.wait_for(lambda: not self._is_resting)
            self._under_way += 1
            loop = self._loop or self._start_loop()
        body = AnswerBody(loop)
        asyncio.run_coroutine_threadsafe(self._run(work, body), loop)
        return body

    async def open_doors(self, place: Place) -> ASGIApp:
        """Return the doors of an installation, which is opened if it is not yet.

        Raises:
            LamellaError: It cannot be.
        """
        async with self._opening:
            house = self._houses.get(place)
            if house is None:
                house = self._houses[place] = await place.open()
        return house.doors

    def rest(self) -> None:
        """Finish requests, close everything, end the thread; new requests wait for `rise`."""
        self._gate.acquire()
        self._finish_requests()
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            for place in list(self._houses):
                self._close_house(place, loop)
            asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
        self._loop = self._thread = None

    def rise(self) -> None:
        """Take requests again."""
        self._is_resting = False
        self._gate.notify_all()
        self._gate.release()

    def close(self, place: Place) -> None:
        """Finish requests and close an installation, if it is open; the next one opens it again."""
        with self._gate:
            if place in self._houses and self._loop is not None:
                self._finish_requests()
                self._close_house(place, self._loop)
                self._is_resting = False
                self._gate.notify_all()

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=loop.run_forever, name="lamella-clients", daemon=True
        )
        self._thread.start()
        return loop

    def _finish_requests(self) -> None:
        """Wait until none is under way, and let none begin."""
        self._is_resting = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._let_bodies_come)
        self._gate.wait_for(lambda: not self._under_way)

    def _let_bodies_come(self) -> None:
        """Write bodies to their end, for who reads them may wait for what waits for them."""
        for body in self._bodies:
            body.lift_bound()

    def _close_house(self, place: Place, loop: asyncio.AbstractEventLoop) -> None:
        house = self._houses.pop(place)
        asyncio.run_coroutine_threadsafe(house.close(), loop).result()

    async def _run(self, work: Work, body: AnswerBody) -> None:
        self._bodies.add(body)
        try:
            await work(body)
        finally:
            self._bodies.discard(body)
            with self._gate:
                self._under_way -= 1
                self._gate.notify_all()


HOUSEHOLD = Household()

os.register_at_fork(
    before=HOUSEHOLD.rest, after_in_parent=HOUSEHOLD.rise, after_in_child=HOUSEHOLD.rise
)
