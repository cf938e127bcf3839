"""Starts and stops the DIMSE door within one process, and commits what came in.

pynetdicom's threads receive; whatever touches the archive runs on the process's event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from collections.abc import Iterable
from dataclasses import replace

from pydicom.config import IGNORE
from pydicom.config import settings as pydicom_settings
from pynetdicom import _config as pynetdicom_settings

from lamella.archive.installation import Archive
from lamella.dimse_gateway.ae_titles import AeTarget, AeTitles, KnownAeTitles
from lamella.dimse_gateway.association import GatewayAssociation
from lamella.dimse_gateway.calling import Call
from lamella.dimse_gateway.carriers import propose
from lamella.dimse_gateway.depot import Depot
from lamella.dimse_gateway.guard import Guard
from lamella.dimse_gateway.peers import Peer, find_destination
from lamella.dimse_gateway.rejection import (
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    CALLING_AE_TITLE_NOT_RECOGNIZED,
    Rejection,
)
from lamella.dimse_gateway.routed_depot import RoutedDepot
from lamella.dimse_gateway.routes import list_routes
from lamella.dimse_gateway.server import GatewayServer
from lamella.dimse_gateway.tls import make_client_context, make_server_context
from lamella.imaging.pool import DecoderPool
from lamella.settings import Settings
from lamella.vcs.repository import Repository

LOGGER = logging.getLogger(__name__)

QUIET_S = 5.0
STOP_TIMEOUT_S = 10.0
HANG_UP_S = 2.0  # how long an abort may take before the connection is closed on it
IDLE_S = 0.5  # how long an association does nothing before a stop takes it for idle


class Gateway:
    """The DIMSE door, or one process's part of it.

    Attributes:
        loop: Where everything that touches the archive runs.
        archive: Where instances go.
        repository: Where queries look.
        guard: What requests have to pass first.
        transfer_syntaxes: Private ones in which instances may come.
        decoders: For peers that do not take instances as they are stored.
    """

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        *,
        ae_titles: AeTitles | None = None,
        quiet_s: float = QUIET_S,
    ) -> None:
        """Prepare the door.

        Raises:
            InvalidRequest: A file that the settings name cannot be used.
        """
        self.loop = loop
        self.archive: Archive = repository.archive
        self.repository = repository
        self.guard = Guard(settings)
        self.decoders = DecoderPool()
        self.transfer_syntaxes = settings.private_transfer_syntaxes
        self._settings = settings
        self._ae_titles = ae_titles or KnownAeTitles(settings, repository.archive.database)
        self._tls_context = make_server_context(settings)
        self._quiet_s = quiet_s
        self._depots: set[Depot] = set()  # looked through as copies: associations change it
        self._server: GatewayServer | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to accept.

        Args:
            listener: From `server.listen`; closed by `stop`.
        """
        _hush_libraries()
        processes = self._settings.dimse_processes
        self._server = GatewayServer(
            listener,
            self._settings.aet.strip(),
            self,
            most_associations=math.ceil(self._settings.dimse_associations / processes),
            is_shared=processes > 1,
            timeout_s=self._settings.dimse_timeout,
            tls_context=self._tls_context,
        )
        self._watch = asyncio.create_task(self._commit_quiet())
        self._server.start()

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Accept no more, let associations finish what they have, and commit it.

        Args:
            timeout_s: After this, associations that still send are aborted; what was
                acknowledged is kept.
        """
        server, self._server = self._server, None
        if server is None:
            return
        await asyncio.to_thread(server.stop)
        await self._drain(server, timeout_s)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        for depot in list(self._depots):
            await depot.try_commit()
        self._depots.clear()
        await self.decoders.close()

    def list_associations(self) -> list[GatewayAssociation]:
        """Return the associations that there are now."""
        return [] if self._server is None else self._server.associations

    def count_associations(self, host: str) -> int:
        """Return how many associations from an address there are, or are asked for."""
        return sum(one.has_requested and one.host == host for one in self.list_associations())

    async def commit_association(self, association: GatewayAssociation) -> None:
        """Commit what an association has stored so far, so that its own query finds it.

        Raises:
            LamellaError: It could not be committed, and stays staged.
        """
        if association.depot is not None:
            await association.depot.commit()

    async def admit(self, called_ae_title: str, calling_ae_title: str) -> AeTarget | Rejection:
        """Return where an association lands, or why it is rejected."""
        target = await self._ae_titles.resolve_ae_title(called_ae_title)
        own = target.callers if target is not None else frozenset()
        allowed = own or self._settings.allowed_calling_aets
        if allowed and calling_ae_title.strip() not in allowed:
            return CALLING_AE_TITLE_NOT_RECOGNIZED
        if target is None:
            return CALLED_AE_TITLE_NOT_RECOGNIZED
        routes = await self.archive.database.read(list_routes)
        names = called_ae_title.strip(), calling_ae_title.strip()
        fitting = tuple(route for route in routes if route.fits_association(*names))
        return replace(target, routes=fitting)

    async def find_destination(self, ae_title: str) -> Peer | None:
        """Return the peer that a C-MOVE names, or None."""
        return await self.archive.database.read(lambda c: find_destination(c, ae_title))

    def call(self, peer: Peer, ae_title: str, kinds: Iterable[tuple[str, str]]) -> Call:
        """Associate with a peer to send it instances; in a thread that may wait.

        Raises:
            PeerUnavailable: It is not there, or rejects.
        """
        tls = make_client_context(self._settings) if peer.is_tls else None
        return Call(peer, ae_title, propose(list(kinds)), tls=tls)

    def open_depot(self, target: AeTarget, calling_ae_title: str) -> Depot:
        """Return the depot of a new association."""
        depot = (
            RoutedDepot(self.repository, target, calling_ae_title, target.routes)
            if target.routes
            else Depot(self.repository, target, calling_ae_title)
        )
        self._depots.add(depot)
        return depot

    async def close_depot(self, depot: Depot) -> None:
        """Commit what is in a depot whose association is over; if that fails, try again later."""
        depot.is_closed = True
        if await depot.try_commit():
            self.drop_depot(depot)

    def drop_depot(self, depot: Depot) -> None:
        """Forget a depot with nothing in it whose association is over."""
        self._depots.discard(depot)

    async def _commit_quiet(self) -> None:
        """Commit, now and then, what associations that fell silent have stored."""
        while True:
            await asyncio.sleep(min(1.0, self._quiet_s / 4))
            quiet_since = time.monotonic() - self._quiet_s
            for depot in list(self._depots):
                if depot.changed_at > quiet_since or depot.is_empty:
                    continue
                if await depot.try_commit() and depot.is_closed:
                    self._depots.discard(depot)

    async def _drain(self, server: GatewayServer, timeout_s: float) -> None:
        """Wait until associations are over; abort idle ones at once, others in the end."""
        deadline = time.monotonic() + timeout_s
        busy_at: dict[GatewayAssociation, float] = {}
        while associations := server.associations:
            now = time.monotonic()
            for association in associations:
                if association.is_busy or association not in busy_at:
                    busy_at[association] = now
                if now > deadline or now - busy_at[association] > min(IDLE_S, timeout_s):
                    association.cut_off()
                if now > deadline + HANG_UP_S:
                    association.hang_up()
            if now > deadline + 2 * HANG_UP_S:
                LOGGER.warning("%d associations did not end and are left", len(associations))
                return
            await asyncio.sleep(0.02)


def _hush_libraries() -> None:
    """Let no library log or warn of peers' values, nor look for what it would warn of.

    Of an association that proposes 120 contexts, looking took a third of the time.
    """
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    pynetdicom_settings.LOG_HANDLER_LEVEL = "none"
    pydicom_settings.reading_validation_mode = IGNORE
