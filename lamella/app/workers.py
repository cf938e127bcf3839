"""More HTTP processes on the same socket (`LAMELLA_WORKERS`), and their supervision.

The server binds once; each worker inherits the listening socket and serves the same
application. A worker lives no longer than its server: it ends when the pipe on its standard
input closes, which the kernel sees to even after `kill -9`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop

from lamella.errors import OutOfResources
from lamella.settings import Settings

logger = logging.getLogger("lamella.workers")

READY = b"worker ready\n"
START_TIMEOUT_S = 60.0
RESTART_DELAY_S = 1.0


class Workers:
    """The HTTP processes besides the server's own."""

    def __init__(self, settings: Settings, listener: socket.socket, stop_timeout_s: float) -> None:
        self._settings = settings
        self._listener = os.dup(listener.fileno())
        self._stop_timeout_s = stop_timeout_s
        self._keepers: list[asyncio.Task[None]] = []
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        """Start them all and wait until each one serves.

        Raises:
            OutOfResources: One does not come up.
        """
        places = range(self._settings.workers - 1)
        for place in places:
            self._processes[place] = await self._spawn()
        for place in places:
            await _wait_until_ready(self._processes[place])
            self._keepers.append(asyncio.create_task(self._keep(place)))

    async def stop(self) -> None:
        """Let each finish the requests it has, within bounds."""
        for keeper in self._keepers:
            keeper.cancel()
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                await asyncio.wait_for(process.wait(), self._stop_timeout_s)
            except TimeoutError:
                process.kill()
        os.close(self._listener)

    async def _keep(self, place: int) -> None:
        """Put another worker in the place of one that died."""
        while True:
            status = await self._processes[place].wait()
            logger.error("an HTTP worker died", extra={"status": status})
            await asyncio.sleep(RESTART_DELAY_S)
            self._processes[place] = await self._spawn()
            await _wait_until_ready(self._processes[place])

    async def _spawn(self) -> asyncio.subprocess.Process:
        fields = dataclasses.asdict(self._settings) | {"data_dir": str(self._settings.data_dir)}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lamella.app.workers",
            str(self._listener),
            json.dumps(fields),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._listener,),
        )


async def _wait_until_ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
    if line != READY:
        raise OutOfResources("An HTTP worker does not start.")


async def _serve(settings: Settings, listener: socket.socket) -> None:
    from lamella.app.application import build_application
    from lamella.app.collector import relax_collector
    from lamella.app.http_server import HttpServer
    from lamella.archive.installation import open_archive
    from lamella.dicomweb.services import Services
    from lamella.vcs.repository import Repository

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the server decides when to stop
    loop.add_reader(0, lambda: os._exit(1) if not os.read(0, 1) else None)
    archive = await open_archive(settings, is_server=True)
    services = Services(Repository(archive), settings)
    http = HttpServer(build_application(services), listener)
    http.start()
    relax_collector()
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    await stop.wait()
    await http.finish(60.0)
    await services.decoders.close()
    await archive.close()


def main() -> None:
    """Run as one worker: `python -m lamella.app.workers FD SETTINGS`."""
    from lamella.app.logs import set_up_logs

    fields = json.loads(sys.argv[2])
    settings = Settings(**(fields | {"data_dir": Path(fields["data_dir"])}))
    set_up_logs(settings.log_level)
    uvloop.run(_serve(settings, socket.socket(fileno=int(sys.argv[1]))))


if __name__ == "__main__":
    main()
