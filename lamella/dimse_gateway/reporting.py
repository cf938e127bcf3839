"""Reports of storage commitments, on associations of our own: work of the outbox.

Tried again until the peer takes it, with pauses of up to an hour.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from lamella.archive.outbox import Arguments, Json
from lamella.dimse_gateway.calling import Call
from lamella.dimse_gateway.commands import build_event_report
from lamella.dimse_gateway.committing import SUCCESS, build_report, choose_event
from lamella.dimse_gateway.metrics import REPORTS
from lamella.dimse_gateway.peers import Peer, find_destination
from lamella.dimse_gateway.tls import make_client_context
from lamella.errors import PeerUnavailable
from lamella.settings import Settings
from lamella.vcs.commitments import REPORT, Commitment, load_commitment, note_report
from lamella.vcs.work import JobContext, JobKind

FOR_EVER = 1_000_000

_CLASS = str(StorageCommitmentPushModel)


async def report_commitment(context: JobContext, arguments: Arguments) -> Json:
    """Tell a peer what became of its commitment, unless it knows.

    Raises:
        PeerUnavailable: It is not known, not there, or does not take it: try again later.
    """
    database = context.repository.archive.database
    commitment_id = int(arguments["commitment"])

    def find(connection: sa.Connection) -> tuple[Commitment | None, Peer | None]:
        made = load_commitment(connection, commitment_id)
        return made, None if made is None else find_destination(connection, made.calling)

    made, peer = await database.read(find)
    if made is None or made.is_reported:
        return None
    if peer is None:
        raise PeerUnavailable(
            f"Where AE title {made.calling} is, is not known: lamella peer add NAME "
            f"HOST:PORT {made.calling}."
        )
    await asyncio.to_thread(send_report, made, peer, context.settings)
    await database.write(lambda connection: note_report(connection, commitment_id))
    REPORTS.labels("own").inc()
    return {"peer": peer.name}


def send_report(made: Commitment, peer: Peer, settings: Settings) -> None:
    """Associate with a peer and send the N-EVENT-REPORT; it blocks.

    Raises:
        PeerUnavailable: It did not take it.

    Source:
        PS3.4 §J.3.3; PS3.7 §D.3.3.4: who sends the report proposes to be the SCP.
    """
    tls = make_client_context(settings) if peer.is_tls else None
    proposal = (_CLASS, [str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)])
    with Call(peer, made.called, [proposal], tls=tls, receives=[_CLASS]) as call:
        syntax, context_id = _choose_context(call, peer)
        command = build_event_report(
            call.next_message_id(),
            _CLASS,
            str(StorageCommitmentPushModelInstance),
            choose_event(made),
        )
        report = encode(build_report(made), syntax.is_implicit_VR, syntax.is_little_endian)
        call.send(context_id, command, [report])
        response, _ = call.receive_response()
    if response.status != SUCCESS:
        raise PeerUnavailable(
            f"Peer {peer.name} answers the report of a commitment with {response.status:04X}."
        )


def _choose_context(call: Call, peer: Peer) -> tuple[UID, int]:
    for (_, syntax), context_id in call.contexts.items():
        return UID(syntax), context_id
    raise PeerUnavailable(f"Peer {peer.name} takes no reports of storage commitments.")


KIND = JobKind(REPORT, report_commitment, attempts=FOR_EVER)
