"""Accepts connections and makes an association of each."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from typing import Any

from pynetdicom import AE
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AddressInformation, AssociationServer, RequestHandler

from lamella.dimse_gateway.association import GatewayAssociation, House
from lamella.dimse_gateway.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from lamella.dimse_gateway.transport import MAXIMUM_PDU_BYTES, GatewaySocket

LOGGER = logging.getLogger(__name__)

MAXIMUM_ASSOCIATIONS = 100
MAXIMUM_CONNECTIONS = 150  # some of them are on their way in or out
NETWORK_TIMEOUT_S = 60.0
ACSE_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.1


def make_application_entity(ae_title: str) -> AE:
    """Return the application entity whose limits all associations share."""
    entity = AE(ae_title=ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.maximum_associations = MAXIMUM_ASSOCIATIONS
    entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
    entity.acse_timeout = ACSE_TIMEOUT_S
    entity.dimse_timeout = NETWORK_TIMEOUT_S
    entity.network_timeout = NETWORK_TIMEOUT_S
    entity.add_supported_context(Verification)
    return entity


class _Connection(RequestHandler):  # type: ignore[misc]
    """Makes the association of one connection and starts it."""

    def _create_association(self) -> GatewayAssociation:
        entity, server = self.ae, self.server
        association = GatewayAssociation(entity, server.house)
        association._server = server
        association.name = f"AcceptorThread@{self.client_address[1]}"
        association.set_socket(GatewaySocket(association, self.request, NETWORK_TIMEOUT_S))
        acceptor = association.acceptor
        acceptor.maximum_length = entity.maximum_pdu_size
        acceptor.ae_title = server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = entity.implementation_class_uid
        acceptor.implementation_version_name = entity.implementation_version_name
        acceptor.supported_contexts = server.contexts
        association.requestor.address_info = self.remote
        return association


class GatewayServer(AssociationServer):  # type: ignore[misc]
    """Listens, in a thread of its own.

    Raises:
        OSError: The address cannot be bound.
    """

    request_queue_size = 128

    def __init__(self, host: str, port: int, ae_title: str, house: House) -> None:
        self.house = house
        entity = make_application_entity(ae_title)
        address = AddressInformation.from_addr_port(host, port).as_tuple
        super().__init__(
            entity, address, ae_title, entity.supported_contexts, request_handler=_Connection
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

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away connections that are too many to serve."""
        return len(self.associations) < MAXIMUM_CONNECTIONS

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
