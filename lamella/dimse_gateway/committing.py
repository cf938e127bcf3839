"""Storage commitment: from a request to its report, on the association that asked.

    N-ACTION ──judge──▶ promise written down ──▶ response ──▶ N-EVENT-REPORT ──▶ its response: done

The report is work of the outbox too, written with the promise: if the association ends before the
peer has answered, `reporting` sends it on one of our own.

Source:
    PS3.4 Annex J (Storage Commitment Push Model); PS3.3 §C.14 (failure reasons).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Protocol

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from lamella.dimse_gateway.ae_titles import AeTarget
from lamella.dimse_gateway.failures import log_failure
from lamella.dimse_gateway.finding import Ask
from lamella.dimse_gateway.metrics import COMMITMENTS, REPORTS
from lamella.dimse_gateway.negotiation import is_storage_class
from lamella.errors import InvalidRequest, LamellaError
from lamella.vcs.commitments import (
    Commitment,
    Durable,
    Outcome,
    Promise,
    find_durable,
    is_known,
    load_commitment,
    make_commitment,
    note_report,
)
from lamella.vcs.repository import Repository

LOGGER = logging.getLogger(__name__)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
INVALID_ARGUMENT = 0x0115
NO_SUCH_CLASS = 0x0118
CLASS_CONFLICT = 0x0119
CLASS_NOT_SUPPORTED = 0x0122
NO_SUCH_ACTION = 0x0123
DUPLICATE_TRANSACTION = 0x0131
RESOURCE_LIMITATION = 0x0213
REQUEST_STORAGE_COMMITMENT = 1  # Action Type ID
ALL_KEPT, FAILURES_EXIST = 1, 2  # Event Type ID
REPORT_AFTER_S = 5.0  # how long a peer may take for the report on its own association

_OUT_OF_RESOURCES = 0xA700


class Line(Protocol):
    """What is needed of the association that asked."""

    dimse: Any

    @property
    def calling_ae_title(self) -> str:
        """Who called."""
        ...

    @property
    def called_ae_title(self) -> str:
        """Who was called."""
        ...


class Committing:
    """Serves the N-ACTIONs of one association, in its thread.

    Args:
        line: The association.
        repository: Where instances are.
        target: The revision in which, or on the way to which, they have to be.
        ask: Runs work on the event loop.
    """

    def __init__(self, line: Line, repository: Repository, target: AeTarget, ask: Ask) -> None:
        self._line = line
        self._repository = repository
        self._target = target
        self._ask = ask
        self._reports: dict[int, int] = {}  # commitments by the message that reports them
        self._message_id = 0

    def serve(self, request: N_ACTION, context: PresentationContext) -> int:
        """Answer a request and send its report; return the response's status."""
        made = None
        try:
            status = _check_request(request, context)
            if status == SUCCESS:
                made = self._ask(self._make(_read_request(request, context)))
        except LamellaError as error:
            status = _choose_status(error)
        except Exception as error:  # noqa: BLE001  (the peer gets an answer, whatever happens)
            log_failure(LOGGER, "A storage commitment failed", error)
            status = PROCESSING_FAILURE
        self._respond(request, context, status)
        if made is not None:
            self._report(made, context)
        return status

    def take_answer(self, response: N_EVENT_REPORT) -> None:
        """Take the peer's response to a report."""
        commitment_id = self._reports.pop(int(response.MessageIDBeingRespondedTo), None)
        if commitment_id is None or response.Status != SUCCESS:
            return  # the outbox tries again
        REPORTS.labels("same").inc()
        write = self._repository.archive.database.write
        self._ask(write(lambda connection: note_report(connection, commitment_id)))

    async def _make(self, asked: Dataset) -> Commitment:
        database, target = self._repository.archive.database, self._target
        calling, called = self._line.calling_ae_title, self._line.called_ae_title
        transaction_uid, references = _read_references(asked)

        def look(connection: sa.Connection) -> tuple[bool, dict[str, Durable]]:
            uids = [sop_uid for _, sop_uid in references]
            found = find_durable(
                connection, self._repository, target.dataset, target.revision, uids
            )
            return is_known(connection, calling, transaction_uid), found

        def make(connection: sa.Connection) -> Commitment:
            commitment_id = make_commitment(connection, promise, REPORT_AFTER_S)
            made = load_commitment(connection, commitment_id)
            assert made is not None
            return made

        is_duplicate, found = await database.read(look)
        outcomes = [
            Outcome(*pair, DUPLICATE_TRANSACTION if is_duplicate else _judge(*pair, found))
            for pair in references
        ]
        keys = [found[one.sop_uid].key for one in outcomes if not one.reason]
        promise = Promise(target.dataset, transaction_uid, calling, called, outcomes, keys)
        made = await database.write(make)
        COMMITMENTS.labels("kept").inc(len(keys))
        COMMITMENTS.labels("failed").inc(len(outcomes) - len(keys))
        return made

    def _respond(self, request: N_ACTION, context: PresentationContext, status: int) -> None:
        response = N_ACTION()
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.RequestedSOPClassUID
        response.AffectedSOPInstanceUID = request.RequestedSOPInstanceUID
        response.ActionTypeID = request.ActionTypeID
        response.Status = status
        self._line.dimse.send_msg(response, context.context_id)

    def _report(self, made: Commitment, context: PresentationContext) -> None:
        self._message_id += 1
        self._reports[self._message_id] = made.id
        report = N_EVENT_REPORT()
        report.MessageID = self._message_id
        report.AffectedSOPClassUID = StorageCommitmentPushModel
        report.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
        report.EventTypeID = choose_event(made)
        syntax = context.transfer_syntax[0]
        encoded = encode(build_report(made), syntax.is_implicit_VR, syntax.is_little_endian)
        report.EventInformation = BytesIO(encoded)
        self._line.dimse.send_msg(report, context.context_id)


def choose_event(made: Commitment) -> int:
    """Return the Event Type ID of a report."""
    return FAILURES_EXIST if made.has_failures else ALL_KEPT


def build_report(made: Commitment) -> Dataset:
    """Return the event information of a commitment.

    Source:
        PS3.4 Table J.3-2.
    """
    report = Dataset()
    report.TransactionUID = made.transaction_uid
    report.RetrieveAETitle = made.called
    kept = [_refer(one) for one in made.outcomes if not one.reason]
    failed = [_refer(one) for one in made.outcomes if one.reason]
    if kept:
        report.ReferencedSOPSequence = kept
    if failed:
        report.FailedSOPSequence = failed
    return report


def _refer(outcome: Outcome) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = outcome.sop_class_uid
    item.ReferencedSOPInstanceUID = outcome.sop_uid
    if outcome.reason:
        item.FailureReason = outcome.reason
    return item


def _judge(sop_class_uid: str, sop_uid: str, found: dict[str, Durable]) -> int:
    """Return why an instance is not kept; 0 if it is."""
    if not is_storage_class(sop_class_uid):
        return CLASS_NOT_SUPPORTED
    durable = found.get(sop_uid)
    if durable is None:
        return NO_SUCH_INSTANCE
    if durable.sop_class_uid != sop_class_uid:
        return CLASS_CONFLICT
    return SUCCESS if durable.is_whole else PROCESSING_FAILURE


def _check_request(request: N_ACTION, context: PresentationContext) -> int:
    if str(context.abstract_syntax) != StorageCommitmentPushModel:
        return NO_SUCH_CLASS
    if str(request.RequestedSOPClassUID) != StorageCommitmentPushModel:
        return NO_SUCH_CLASS
    if str(request.RequestedSOPInstanceUID) != StorageCommitmentPushModelInstance:
        return NO_SUCH_INSTANCE
    return SUCCESS if request.ActionTypeID == REQUEST_STORAGE_COMMITMENT else NO_SUCH_ACTION


def _read_request(request: N_ACTION, context: PresentationContext) -> Dataset:
    """Return the action information.

    Raises:
        InvalidRequest: There is none, or it cannot be read.
    """
    if request.ActionInformation is None:
        raise InvalidRequest("The request has no action information.")
    syntax: UID = context.transfer_syntax[0]
    try:
        return decode(request.ActionInformation, syntax.is_implicit_VR, syntax.is_little_endian)
    except Exception as error:
        raise InvalidRequest("The action information cannot be read.") from error


def _read_references(asked: Dataset) -> tuple[str, Sequence[tuple[str, str]]]:
    """Return the Transaction UID, and (SOP Class UID, SOP Instance UID) of each instance.

    Raises:
        InvalidRequest: Something is missing.
    """
    try:
        transaction_uid = str(asked.TransactionUID)
        references = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in asked.ReferencedSOPSequence
        ]
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidRequest("The action information is not complete.") from error
    if not references or not transaction_uid or not all(all(pair) for pair in references):
        raise InvalidRequest("The action information is not complete.")
    return transaction_uid, references


def _choose_status(error: LamellaError) -> int:
    """Return the status of PS3.7 §10.1.4.1.10 for an error."""
    if isinstance(error, InvalidRequest):
        return INVALID_ARGUMENT
    if error.dimse_status == _OUT_OF_RESOURCES:
        return RESOURCE_LIMITATION
    return error.dimse_status if error.http_status == 404 else PROCESSING_FAILURE
