"""Messages of one association: data sets of C-STORE turn off to the archive as they arrive.

Everything else (C-ECHO, queries) is small and goes the way pynetdicom has for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from lamella.dimse_gateway.commands import (
    C_CANCEL_RQ,
    C_STORE_RQ,
    C_STORE_RSP,
    RESPONSE,
    Response,
    StoreCommand,
    read_command_field,
    read_response,
    read_store_command,
    split_command,
)
from lamella.dimse_gateway.delivery import Delivery
from lamella.dimse_gateway.transport import WakingQueue

LOGGER = logging.getLogger(__name__)

LONGEST_COMMAND_BYTES = 16 << 10
LONGEST_IDENTIFIER_BYTES = 4 << 20  # a storage commitment of 30,000 instances
WAITING_REQUESTS = 16  # others than stores, which are served before more is read

_COMMAND = 0x01  # bits of the message control header, PS3.8 §E.2
_LAST = 0x02
_INVALID_PDU = "Evt19"


class ProtocolViolation(Exception):
    """The peer sent what no DIMSE peer may send."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One C-STORE whose data set has arrived."""

    command: StoreCommand
    delivery: Delivery


class Reception(DIMSEServiceProvider):  # type: ignore[misc]
    """Makes messages of presentation data values; called in the upper layer's thread.

    Attributes:
        outstanding: How many C-STORE requests of the peer wait for their answers.
        awaits_response: Whether the peer has one of ours to answer.
    """

    def __init__(
        self, association: Any, open_delivery: Callable[[StoreCommand, int], Delivery]
    ) -> None:
        super().__init__(association)
        self.msg_queue = WakingQueue(association.wake)
        self.outstanding = 0
        self.awaits_response = False
        self._open_delivery = open_delivery
        self._fragments = bytearray()
        self._context_id = 0
        self._identifier_bytes = 0
        self._command: StoreCommand | None = None
        self._delivery: Delivery | None = None

    @property
    def is_receiving(self) -> bool:
        """Whether a message has begun and not ended, or waits for its answer."""
        return bool(self._fragments) or self.message is not None or self.outstanding > 0

    @property
    def is_in_data_set(self) -> bool:
        """Whether a data set to store has begun and not ended."""
        return self._delivery is not None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the values of one PDU; a violation aborts the association.

        Source:
            PS3.8 Annex E.
        """
        try:
            for context_id, value in primitive.presentation_data_value_list:
                self._receive_value(context_id, value)
        except Exception as error:  # noqa: BLE001  (peers may send anything)
            LOGGER.warning("An association is aborted: %s", _describe(error))
            self.dul.event_queue.put(_INVALID_PDU)

    def take_unfinished(self) -> list[Delivery]:
        """Return what was under way when the association ended."""
        unfinished = [self._delivery] if self._delivery is not None else []
        self._delivery = None
        return unfinished

    def _receive_value(self, context_id: int, value: memoryview) -> None:
        control = value[0]
        if control & _COMMAND:
            self._receive_command(context_id, control, value[1:])
        elif self._delivery is not None:
            self._receive_data(context_id, control, self._delivery, value[1:])
        elif self.message is not None:
            self._identifier_bytes += len(value)
            if self._identifier_bytes > LONGEST_IDENTIFIER_BYTES:
                raise ProtocolViolation("an identifier is too long")
            self._pass_on(context_id, bytes(value))
        else:
            raise ProtocolViolation("a data set came without a command")

    def _receive_command(self, context_id: int, control: int, fragment: memoryview) -> None:
        if self._delivery is not None or self.message is not None:
            raise ProtocolViolation("a command came within a data set")
        self._fragments += fragment
        if len(self._fragments) > LONGEST_COMMAND_BYTES:
            raise ProtocolViolation("a command set is too long")
        if not control & _LAST:
            return
        encoded = bytes(self._fragments)
        self._fragments.clear()
        if context_id not in self.assoc._accepted_cx:
            raise ProtocolViolation("a message names a context that was not accepted")
        values = split_command(encoded)
        field = read_command_field(values)
        if field == C_STORE_RQ:
            self._begin_store(context_id, read_store_command(values))
        elif field == C_STORE_RSP:
            self._receive_response(context_id, read_response(values))
        else:
            if field != C_CANCEL_RQ and not field & RESPONSE:
                self.cancel_req.clear()  # they were for requests before this one
            if self.msg_queue.qsize() >= WAITING_REQUESTS:
                raise ProtocolViolation("the peer does not wait for answers")
            self._identifier_bytes = 0
            self._pass_on(context_id, bytes([control]) + encoded)

    def _receive_response(self, context_id: int, response: Response) -> None:
        if not self.awaits_response or response.has_data_set:
            raise ProtocolViolation("the peer answers what was not asked")
        self.awaits_response = False
        self.msg_queue.put((context_id, response))

    def _begin_store(self, context_id: int, command: StoreCommand) -> None:
        self.outstanding += 1
        self._context_id = context_id
        self._command = command
        self._delivery = self._open_delivery(command, context_id)
        if not command.has_data_set:
            self._end_store()

    def _receive_data(
        self, context_id: int, control: int, delivery: Delivery, data: memoryview
    ) -> None:
        if context_id != self._context_id:
            raise ProtocolViolation("a data set changes its presentation context")
        delivery.write(data)
        if control & _LAST:
            self._end_store()

    def _end_store(self) -> None:
        assert self._command is not None
        assert self._delivery is not None
        request = StoreRequest(self._command, self._delivery)
        self._delivery = None
        self.assoc.serve_store(request, self._context_id)

    def _pass_on(self, context_id: int, value: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, value))
        super().receive_primitive(primitive)


def _describe(error: Exception) -> str:
    """Name an error by its message only where that is ours, and so without the peer's values."""
    return str(error) if isinstance(error, ProtocolViolation) else type(error).__name__
