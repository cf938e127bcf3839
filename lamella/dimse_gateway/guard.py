"""What an association request has to pass before its AE titles are looked at.

Limits are of one peer, that is of one network address: AE titles can be made up.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque

from pynetdicom.pdu_primitives import UserIdentityNegotiation

from lamella.dimse_gateway.identity import Identities
from lamella.dimse_gateway.rejection import (
    LOCAL_LIMIT_EXCEEDED,
    NO_REASON,
    TEMPORARY_CONGESTION,
    Rejection,
)
from lamella.settings import Settings

MINUTE_S = 60.0
REMEMBERED_PEERS = 10_000


class Guard:
    """Judges requests, from any thread; each process of the door has its share of the limits."""

    def __init__(self, settings: Settings) -> None:
        """Read the files of the settings.

        Raises:
            InvalidRequest: One cannot be read, or is not what it has to be.
        """
        processes = settings.dimse_processes
        self._identities = Identities(settings)
        self._most_associations = math.ceil(settings.dimse_peer_associations / processes)
        self._most_requests = math.ceil(settings.dimse_peer_rate / processes)
        self._requests: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def judge_peer(self, host: str, n_associations: int) -> Rejection | None:
        """Return why a peer has to wait; None if it need not.

        Args:
            host: Its address.
            n_associations: How many it has besides the one that it requests.
        """
        if self._most_requests and not self._count_request(host):
            return TEMPORARY_CONGESTION
        if self._most_associations and n_associations >= self._most_associations:
            return LOCAL_LIMIT_EXCEEDED
        return None

    def judge_identity(self, identity: UserIdentityNegotiation | None) -> Rejection | None:
        """Return why a user may not come in; None if it may."""
        if not self._identities.are_asked:
            return None
        if identity is None or not self._identities.knows(
            identity.user_identity_type, identity.primary_field, identity.secondary_field
        ):
            return NO_REASON
        return None

    def answer_identity(self, identity: UserIdentityNegotiation) -> UserIdentityNegotiation | None:
        """Return the response to an identity that passed; None where none is due.

        Source:
            PS3.7 §D.3.3.7.2: empty for names and passcodes, and there is nothing to say of a
            token; none by an acceptor that does not look at identities.
        """
        if not self._identities.are_asked or not identity.positive_response_requested:
            return None
        response = UserIdentityNegotiation()
        response.server_response = b""
        return response

    def _count_request(self, host: str) -> bool:
        """Count a request; return whether there were few enough within the last minute."""
        now = time.monotonic()
        with self._lock:
            if len(self._requests) > REMEMBERED_PEERS:
                self._requests = {
                    peer: times
                    for peer, times in self._requests.items()
                    if times and times[-1] > now - MINUTE_S
                }
            times = self._requests.setdefault(host, deque())
            while times and times[0] <= now - MINUTE_S:
                times.popleft()
            if len(times) >= self._most_requests:
                return False
            times.append(now)
            return True
