"""`lamella serve`: both doors, from the lock on the folder to a graceful stop.

One process does it all, unless settings ask for more processes at one of the doors (see
`workers`): these accept on the same sockets.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
from pathlib import Path

import uvloop

from lamella.app.collector import relax_collector
from lamella.app.http_server import HttpServer, listen
from lamella.app.index_builder import IndexBuilder
from lamella.app.limits import raise_open_files, share_heaps
from lamella.app.logs import set_up_logs
from lamella.app.recovery import Sweeper, commit_left_over, remove_left_packs
from lamella.app.workers import Place, Workers
from lamella.archive.installation import ServerLock, open_archive, prepare_folder
from lamella.archive.spool import remove_leftovers
from lamella.dicomweb.services import Services
from lamella.dimse_gateway.identity import Identities
from lamella.dimse_gateway.tls import make_server_context
from lamella.errors import InvalidRequest, OutOfResources
from lamella.jobs.background import Background, open_probe
from lamella.settings import Address, Settings
from lamella.vcs.datasets import ensure_default
from lamella.vcs.repository import Repository

logger = logging.getLogger("lamella.server")

STOP_TIMEOUT_S = 60.0


def run_server(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Raises:
        InvalidRequest: Settings that would be unsafe, or that this version does not know.
        FolderLocked: Another server runs on the data folder.
        OutOfResources: An address is taken, or the folder or database cannot be used.
    """
    settings.check_exposure()
    _check_supported(settings)
    set_up_logs(settings.log_level)
    raise_open_files()
    share_heaps()
    folder = settings.data_dir.absolute()
    try:
        prepare_folder(folder)
        lock = ServerLock(folder)
    except OSError as error:
        raise OutOfResources(f"The data folder cannot be used: {error.strerror}.") from error
    if not settings.is_single_process:
        _share_metrics(folder / "metrics")
    try:
        uvloop.run(_serve(settings))
    finally:
        lock.release()
    return 0


def _check_supported(settings: Settings) -> None:
    """Refuse what would otherwise be silently ignored."""
    if settings.auth != "none":
        raise InvalidRequest(f"LAMELLA_AUTH={settings.auth} is not in this version.")
    if settings.dimse_address is not None:
        make_server_context(settings)  # files that will not do are found out now
        Identities(settings)


def _share_metrics(folder: Path) -> None:
    """Let all processes count into one folder, which prometheus_client reads when imported."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    listener = listen(settings.http_address, is_shared=settings.workers > 1)
    archive = await open_archive(settings, is_server=True)
    repository = Repository(archive)
    services = Services(repository, settings, queue=open_probe(settings))
    try:
        remove_leftovers(archive.spool_folder)
        await archive.database.write(ensure_default)
        await commit_left_over(repository)
        await remove_left_packs(archive.packs)
        await _run_doors(settings, services, listener, stop)
    finally:
        await services.decoders.close()
        await archive.close()


async def _run_doors(
    settings: Settings, services: Services, listener: socket.socket, stop: asyncio.Event
) -> None:
    from lamella.app.application import build_application  # after `_share_metrics`
    from lamella.app.warmer import Warmer
    from lamella.dimse_gateway.gateway import Gateway
    from lamella.dimse_gateway.server import listen as listen_dimse

    http_address = Address(*listener.getsockname()[:2])
    dimse_listener, dimse_address = None, settings.dimse_address
    if dimse_address is not None:
        dimse_listener = listen_dimse(dimse_address)
        dimse_address = Address(dimse_address.host, dimse_listener.getsockname()[1])
    workers = Workers(settings, services.repository, STOP_TIMEOUT_S)
    await workers.start(_list_places(settings, listener, dimse_listener))
    http = HttpServer(build_application(services), listener)
    http.start()
    gateway = Gateway(services.repository, settings, asyncio.get_running_loop())
    if dimse_listener is not None:
        await gateway.start(dimse_listener)
    sweeper = Sweeper(services.repository)
    sweeper.start()
    builder = IndexBuilder(services.repository)
    builder.start()
    jobs = Background(services.repository, settings, services.decoders)
    await jobs.start()
    warmer = Warmer(services) if settings.warms_up else None
    if warmer is not None:
        warmer.start()
    await _wait_until_answering(http_address.host, http_address.port)
    relax_collector()
    _announce(settings, http_address, dimse_address)
    await stop.wait()
    logger.info("stopping")
    await asyncio.gather(http.finish(STOP_TIMEOUT_S), gateway.stop(), workers.stop())
    if warmer is not None:
        await warmer.stop()
    await asyncio.gather(sweeper.stop(), builder.stop(), jobs.stop())


def _list_places(
    settings: Settings, http: socket.socket, dimse: socket.socket | None
) -> list[Place]:
    """Return the places of the processes besides this one, which has a part in each door."""
    places = [Place("http", number, http) for number in range(2, settings.workers + 1)]
    if dimse is not None:
        places += [
            Place("dimse", number, dimse) for number in range(2, settings.dimse_processes + 1)
        ]
    return places


async def _wait_until_answering(host: str, port: int) -> None:
    """Return once the HTTP door has given its first answer.

    Raises:
        OutOfResources: It does not come up.
    """
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    for _ in range(200):
        try:
            reader, writer = await asyncio.open_connection(target, port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await asyncio.wait_for(reader.readline(), 5)
            writer.close()
            if b" 200 " in status:
                return
        except (OSError, TimeoutError):
            pass  # not up yet
        await asyncio.sleep(0.05)
    raise OutOfResources("The HTTP door does not answer.")


def _announce(settings: Settings, http: Address, dimse: Address | None) -> None:
    line = f"lamella ready http=http://{http} dimse={dimse or 'off'} aet={settings.aet}"
    print(line, flush=True)
