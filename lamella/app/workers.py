"""More processes at the doors (`LAMELLA_WORKERS`, `LAMELLA_DIMSE_PROCESSES`), and their keeper.

Each worker inherits a socket of a door and serves the same house: at the HTTP door one of its own
beside the server's, at the DIMSE door the server's.
A worker lives no longer than its server: it ends when the pipe on its standard input closes,
which the kernel sees to even after `kill -9`. One that dies is replaced, and what it had
acknowledged and not committed is committed at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lamella.app.http_server import bind_beside
from lamella.app.recovery import commit_left_by
from lamella.archive.spool import remove_leftovers
from lamella.errors import LamellaError, OutOfResources
from lamella.settings import Settings
from lamella.vcs.repository import Repository

logger = logging.getLogger("lamella.workers")

READY = b"worker ready\n"
START_TIMEOUT_S = 60.0
RESTART_DELAY_S = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where one worker stands.

    Attributes:
        door: `http` or `dimse`.
        number: From 2 on: the server itself is the first at each door.
        listener: The door's socket, which listens.
    """

    door: str
    number: int
    listener: socket.socket

    @property
    def name(self) -> str:
        """What the worker is called in logs, and in the owner of its sessions."""
        return f"{self.door}-{self.number}"

    def open_listener(self) -> socket.socket:
        """Return a socket of the door for a process that is about to start.

        Raises:
            OutOfResources: It cannot be opened.
        """
        return bind_beside(self.listener) if self.door == "http" else self.listener.dup()


class Workers:
    """The processes besides the server's own.

    Args:
        settings: Of the server.
        repository: Where what dead workers left behind is committed.
        stop_timeout_s: How long a worker may take to stop; then it is killed.
    """

    def __init__(self, settings: Settings, repository: Repository, stop_timeout_s: float) -> None:
        self._settings = settings
        self._repository = repository
        self._stop_timeout_s = stop_timeout_s
        self._places: list[Place] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, places: Sequence[Place]) -> None:
        """Start them all and wait until each one serves.

        Raises:
            OutOfResources: One does not come up.
        """
        # The owner of a socket may close or detach it; replacements are given another.
        self._places = [replace(place, listener=place.listener.dup()) for place in places]
        for place in self._places:
            await self._spawn(place)
        for place in self._places:
            await _wait_until_ready(self._processes[place.name])
            self._keepers.append(asyncio.create_task(self._keep(place)))

    async def stop(self) -> None:
        """Let each finish what it has, within bounds."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for place in self._places:
            place.listener.close()
        await asyncio.gather(*(self._end(process) for process in self._processes.values()))

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self._stop_timeout_s)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _keep(self, place: Place) -> None:
        """Put another worker in the place of one that died, as often as it takes."""
        from prometheus_client.multiprocess import mark_process_dead  # after `_share_metrics`

        while True:
            process = self._processes[place.name]
            status = await process.wait()
            logger.error("a worker died", extra={"worker": place.name, "status": status})
            mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
            await self._tidy_after(place)
            await asyncio.sleep(RESTART_DELAY_S)
            try:
                await self._spawn(place)
                await _wait_until_ready(self._processes[place.name])
            except (OSError, LamellaError) as error:
                logger.error("no worker starts", extra={"worker": place.name, "reason": str(error)})

    async def _tidy_after(self, place: Place) -> None:
        remove_leftovers(self._repository.archive.spool_folder)
        try:
            await commit_left_by(self._repository, place.name)
        except LamellaError as error:  # the sweeper will, once the lease has run out
            logger.error("a commit has to wait: %s", error.detail, extra={"worker": place.name})

    async def _spawn(self, place: Place) -> None:
        fields = dataclasses.asdict(self._settings) | {"data_dir": str(self._settings.data_dir)}
        with place.open_listener() as listener:
            number = listener.fileno()
            command = ("-m", "lamella.app.worker", place.door, place.name, str(number))
            self._processes[place.name] = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                json.dumps(fields),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=(number,),
            )


async def _wait_until_ready(process: asyncio.subprocess.Process) -> None:
    """Return once a worker serves.

    Raises:
        OutOfResources: It does not come up; it is killed.
    """
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
    except TimeoutError:
        line = b""
    if line != READY:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise OutOfResources("A worker process does not start.")
