"""Where instances are carried to, one C-STORE each: back on a C-GET, or on a call of our own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, Protocol

from lamella.dimse_gateway.calling import Call, Proposal
from lamella.dimse_gateway.commands import Originator, Response, build_store_request
from lamella.dimse_gateway.data_sets import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    Outgoing,
    Transcoder,
    choose_syntax,
)
from lamella.dimse_gateway.outflow import Buffer
from lamella.errors import LamellaError, PeerUnavailable, TransferSyntaxNotSupported
from lamella.imaging.explicit import EXPLICIT_VR_LITTLE_ENDIAN

WARNINGS: Final = (0xB000, 0xB006, 0xB007)
"""Coercion, elements discarded, data set does not match: it is stored all the same."""

Contexts = Mapping[tuple[str, str], int]
"""IDs of presentation contexts by SOP class and transfer syntax UID."""


class Carrier(Protocol):
    """Sends instances one by one."""

    @property
    def contexts(self) -> Contexts:
        """What can be sent."""
        ...

    def carry(self, context_id: int, outgoing: Outgoing, pieces: Iterable[Buffer]) -> int:
        """Send one instance and return the status it is answered.

        Raises:
            PeerUnavailable: Nothing more can be sent.
        """
        ...


class CallCarrier:
    """Sends over an association that was requested for it.

    Args:
        call: The association.
        originator: Whose C-MOVE it is for, if it is.
    """

    def __init__(self, call: Call, originator: Originator | None = None) -> None:
        self.contexts: Contexts = call.contexts
        self._call = call
        self._originator = originator

    def carry(self, context_id: int, outgoing: Outgoing, pieces: Iterable[Buffer]) -> int:
        """Send one instance and return the status it is answered.

        Raises:
            PeerUnavailable: Nothing more can be sent.
        """
        one = outgoing.instance
        message_id = self._call.next_message_id()
        command = build_store_request(
            message_id, one.entry.sop_class_uid, one.sop_uid, self._originator
        )
        self._call.send(context_id, command, pieces)
        response: Response = self._call.receive_response()[0]
        if response.message_id != message_id:
            raise PeerUnavailable("The peer answers what was not asked.")
        return response.status


def send_instance(carrier: Carrier, outgoing: Outgoing, transcoder: Transcoder) -> int:
    """Send one instance as it is stored where the peer takes that, else re-encoded.

    Returns:
        The status that the peer answered, or why nothing was sent.

    Raises:
        PeerUnavailable: Nothing more can be sent.
    """
    entry = outgoing.instance.entry
    syntaxes = [uid for name, uid in carrier.contexts if name == entry.sop_class_uid]
    chosen = choose_syntax(entry.transfer_syntax_uid, syntaxes)
    if chosen is None:
        return TransferSyntaxNotSupported.dimse_status
    try:
        pieces = _begin(transcoder.read(outgoing, chosen))
    except LamellaError as error:
        return error.dimse_status
    return carrier.carry(carrier.contexts[entry.sop_class_uid, chosen], outgoing, pieces)


def propose(kinds: Collection[tuple[str, str]]) -> list[Proposal]:
    """Return the contexts to propose for instances of these kinds, their own syntaxes first.

    Each has one transfer syntax, so that the peer cannot choose a worse one for all.
    """
    natives = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    stored = sorted(kinds)
    native = [(name, uid) for name in sorted({name for name, _ in kinds}) for uid in natives]
    return [(name, [uid]) for name, uid in dict.fromkeys([*stored, *native])]


def _begin(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    """Have the first piece made, so that what cannot be sent fails before anything is."""
    iterator = iter(pieces)
    return chain([next(iterator, b"")], iterator)
