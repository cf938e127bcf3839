"""Accepts connections and makes an association of each.

Several processes may accept on one listening socket. The one that has the fewest associations
is the quickest to take the next: each waits a moment longer for every association it has.
"""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
import time
from typing import Any

from pynetdicom import AE
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationServer, RequestHandler

from lamella.archive.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from lamella.dimse_gateway.association import GatewayAssociation, House
from lamella.dimse_gateway.transport import MAXIMUM_PDU_BYTES, GatewaySocket, SecureSocket
from lamella.errors import OutOfResources
from lamella.settings import Address

LOGGER = logging.getLogger(__name__)

BACKLOG = 128
CONNECTIONS_IN_TRANSIT = 50  # more than associations: some are on their way in or out
YIELD_S = 0.001  # how much longer to leave a connection to others, by association
FULL_YIELD_S = 0.1  # the same if it would have to be rejected here
ACSE_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.1


def listen(address: Address) -> socket.socket:
    """Bind and listen.

    Raises:
        OutOfResources: The address is taken or cannot be bound.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OutOfResources(f"DIMSE cannot listen on {address}: {error.strerror}.") from error
    return listener


def make_application_entity(ae_title: str, most_associations: int, timeout_s: float) -> AE:
    """Return the application entity whose limits all associations share."""
    entity = AE(ae_title=ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_associations = most_associations
    entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
    entity.acse_timeout = ACSE_TIMEOUT_S
    entity.dimse_timeout = timeout_s
    entity.network_timeout = timeout_s
    entity.add_supported_context(Verification)
    return entity


class _Connection(RequestHandler):  # type: ignore[misc]
    """Makes the association of one connection and starts it."""

    def _create_association(self) -> GatewayAssociation:
        entity, server = self.ae, self.server
        association = GatewayAssociation(entity, server.house)
        association._server = server
        association.name = f"AcceptorThread@{self.client_address[1]}"
        association.set_socket(self._make_socket(association))
        acceptor = association.acceptor
        acceptor.maximum_length = entity.maximum_pdu_size
        acceptor.ae_title = server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = entity.implementation_class_uid
        acceptor.implementation_version_name = entity.implementation_version_name
        acceptor.supported_contexts = server.contexts
        association.requestor.address_info = self.remote
        return association

    def _make_socket(self, association: GatewayAssociation) -> GatewaySocket:
        connection: socket.socket = self.request
        context: ssl.SSLContext | None = self.server.tls_context
        timeout_s = self.ae.network_timeout
        if context is None:
            return GatewaySocket(association, connection, timeout_s)
        secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return SecureSocket(association, secured, timeout_s)


class GatewayServer(AssociationServer):  # type: ignore[misc]
    """Accepts, in a thread of its own.

    Args:
        listener: Listens already; closed when this stops.
        ae_title: Ours.
        house: The gateway.
        most_associations: How many there may be; more are rejected.
        is_shared: Whether other processes accept on the same socket.
        timeout_s: How long a peer may be silent, in seconds.
        tls_context: What secures connections; None where they are not.
    """

    def __init__(
        self,
        listener: socket.socket,
        ae_title: str,
        house: House,
        *,
        most_associations: int,
        is_shared: bool,
        timeout_s: float,
        tls_context: ssl.SSLContext | None,
    ) -> None:
        self.house = house
        self.tls_context = tls_context
        self._listener = listener
        self._most_associations = most_associations
        self._is_shared = is_shared
        entity = make_application_entity(ae_title, most_associations, timeout_s)
        super().__init__(
            entity,
            listener.getsockname(),
            ae_title,
            entity.supported_contexts,
            request_handler=_Connection,
        )
        entity._servers.append(self)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(POLL_INTERVAL_S,), name="dimse-server", daemon=True
        )

    @property
    def associations(self) -> list[GatewayAssociation]:
        """The associations whose threads run."""
        threads = threading.enumerate()
        return [t for t in threads if isinstance(t, GatewayAssociation) and t._server is self]

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more; associations go on."""
        self.shutdown()
        self._thread.join()

    def server_bind(self) -> None:
        """Take the socket that is bound, in place of the one made here."""
        self.socket.close()
        self.socket: socket.socket = self._listener
        self.socket.setblocking(False)  # another process may be first to accept

    def server_activate(self) -> None:
        """Listen: that it does."""

    def server_close(self) -> None:
        """Close our hold of the socket; a shutdown would end it for other processes too."""
        self.socket.close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, unless a process with fewer associations does.

        Raises:
            BlockingIOError: One did.
        """
        if self._is_shared:
            count = len(self.associations)
            time.sleep(YIELD_S * count if count < self._most_associations else FULL_YIELD_S)
        request: tuple[socket.socket, Any] = self.socket.accept()
        return request

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away connections that are too many to serve."""
        return len(self.associations) < self._most_associations + CONNECTIONS_IN_TRANSIT

    def service_actions(self) -> None:
        """Leave garbage to its collector: a full collection here would stop the whole server."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a connection could not be made an association."""
        LOGGER.warning("A connection could not be taken: %s", sys.exc_info()[1])

    def _bind_defaults(self) -> None:
        """Bind nothing: pynetdicom's handlers format every message for its log."""

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection."""
        if isinstance(request, socket.socket):
            super().shutdown_request(request)
