"""What a worker process runs: one door, on a socket that the server has bound."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import uvloop

from lamella.app.collector import relax_collector
from lamella.app.http_server import BACKLOG, HttpServer
from lamella.app.limits import share_heaps
from lamella.app.logs import set_up_logs
from lamella.app.workers import READY
from lamella.archive.installation import Archive, open_archive
from lamella.settings import Settings
from lamella.vcs.repository import Repository

STOP_TIMEOUT_S = 60.0


async def _serve(settings: Settings, door: str, name: str, listener: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the server decides when to stop
    loop.add_reader(0, lambda: os._exit(1) if not os.read(0, 1) else None)
    archive = await open_archive(settings, is_server=True, place=name)
    serve = _serve_http if door == "http" else _serve_dimse
    await serve(settings, archive, listener, stop)
    await archive.close()


async def _serve_http(
    settings: Settings, archive: Archive, listener: socket.socket, stop: asyncio.Event
) -> None:
    from lamella.app.application import build_application
    from lamella.dicomweb.services import Services
    from lamella.jobs.background import open_probe

    services = Services(Repository(archive), settings, queue=open_probe(settings))
    listener.listen(BACKLOG)  # not before now: connections would come, and wait
    http = HttpServer(build_application(services), listener)
    http.start()
    await _announce_until(stop)
    await http.finish(STOP_TIMEOUT_S)
    await services.decoders.close()


async def _serve_dimse(
    settings: Settings, archive: Archive, listener: socket.socket, stop: asyncio.Event
) -> None:
    from lamella.dimse_gateway.gateway import Gateway

    gateway = Gateway(Repository(archive), settings, asyncio.get_running_loop())
    await gateway.start(listener)
    await _announce_until(stop)
    await gateway.stop()


async def _announce_until(stop: asyncio.Event) -> None:
    """Tell the server that this door is open, and wait until it shall close."""
    relax_collector()
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    await stop.wait()


def main() -> None:
    """Run as one worker: `python -m lamella.app.worker DOOR NAME FD SETTINGS`."""
    door, name, listener, text = sys.argv[1:]
    fields = json.loads(text)
    settings = Settings(**(fields | {"data_dir": Path(fields["data_dir"])}))
    set_up_logs(settings.log_level)
    share_heaps()
    uvloop.run(_serve(settings, door, name, socket.socket(fileno=int(listener))))


if __name__ == "__main__":
    main()
