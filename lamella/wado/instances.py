"""Instances as Part 10 files: as stored, rewritten, or decompressed on their way out.

Source:
    PS3.18 §8.7.3 (transfer syntaxes), §10.4.1.1.1.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lamella.archive.frames import FrameTable
from lamella.archive.threads import run_in_thread
from lamella.archive.upsert import split_batches
from lamella.dicomweb.answers import Answer, iterate
from lamella.dicomweb.frame_types import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    UNWANTED_TRANSFER_SYNTAXES,
)
from lamella.dicomweb.media_types import DICOM
from lamella.dicomweb.multipart_writer import (
    closing,
    multipart_content_type,
    new_boundary,
    part_header,
)
from lamella.dicomweb.negotiation import InstanceAnswer, negotiate_instances
from lamella.dicomweb.pinned import Pinned
from lamella.dicomweb.stored_files import answer_stored
from lamella.errors import NotAcceptable
from lamella.imaging.answers import Answer as Form
from lamella.imaging.answers import plan_answer
from lamella.imaging.decoders import PixelDescription
from lamella.imaging.encoders import TARGETS
from lamella.imaging.explicit import decompress_instance, rewrite_explicit
from lamella.vcs.selection import Selected
from lamella.wado.stored_documents import read_documents
from lamella.wado.transcoding import name_whole, open_transcoded

PLANNED_AT_A_TIME = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """How one instance goes out.

    Attributes:
        wanted: The transfer syntax that the client named: None, `*` or a UID. If it named none,
            the stored form may stand in for one that cannot be made.
    """

    instance: Selected
    form: Form
    is_multipart: bool
    wanted: str | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A Part 10 file on its way out."""

    transfer_syntax_uid: str
    length_bytes: int | None
    chunks: AsyncIterator[bytes]


async def answer_instances(
    pinned: Pinned, selected: Sequence[Selected], *, single_item: bool
) -> Answer:
    """Return instances in the first form that the client accepts and each of them can take.

    Raises:
        NotAcceptable: None of them can go out as asked.
    """
    accepted = negotiate_instances(pinned.accept, single_item=single_item)
    headers = pinned.headers(str(accepted))
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    known = _recall_plan(pinned, selected[0], accepted[0]) if single_item else None
    plans = [known] if known is not None else await plan_instances(pinned, selected, accepted)
    if not plans:
        raise NotAcceptable("No instance can be given in any of the transfer syntaxes asked for.")
    if single_item and not plans[0].is_multipart:
        return await _answer_single(pinned, plans[0], headers)
    boundary = new_boundary()
    status = 200 if len(plans) == len(selected) else 206
    headers.append(("content-type", multipart_content_type(boundary, DICOM)))
    return Answer(status, headers, _write_parts(pinned, plans, boundary))


def _recall_plan(pinned: Pinned, instance: Selected, accepted: InstanceAnswer) -> Plan | None:
    """Return the plan for a form that was made lately and is in memory, or None."""
    wanted = accepted.transfer_syntax
    if wanted not in TARGETS or wanted == instance.entry.transfer_syntax_uid:
        return None
    if pinned.services.renditions.recall(name_whole(instance, wanted)) is None:
        return None
    return Plan(instance, Form.TRANSCODED, accepted.is_multipart, wanted)


async def _answer_single(pinned: Pinned, plan: Plan, headers: list[tuple[str, str]]) -> Answer:
    if plan.form is Form.STORED:
        return answer_stored(pinned, plan.instance.entry)
    outgoing = await open_outgoing(pinned, plan)
    kind = f"{DICOM}; transfer-syntax={outgoing.transfer_syntax_uid}"
    return Answer(200, [*headers, ("content-type", kind)], outgoing.chunks, outgoing.length_bytes)


async def plan_instances(
    pinned: Pinned, selected: Sequence[Selected], accepted: Sequence[InstanceAnswer]
) -> list[Plan]:
    """Return how instances go out, without those that can go out in no form that is accepted.

    Args:
        accepted: Ways in which the client takes instances, most wanted first.
    """
    plans: list[Plan] = []
    for batch in split_batches(selected, PLANNED_AT_A_TIME):
        unclear = [one for one in batch if not _is_clear(one, accepted[0])]
        documents = await read_documents(pinned, unclear)
        for one in batch:
            document: dict[str, Any] = {}
            n_frames = 0
            if one.key in documents:
                document = msgspec.json.decode(documents[one.key].dicom_json)
                frames = documents[one.key].frames
                n_frames = FrameTable.from_bytes(frames).n_frames if frames else 0
            plan = _plan_one(one, accepted, document, n_frames)
            if plan is not None:
                plans.append(plan)
    return plans


def _is_clear(instance: Selected, answer: InstanceAnswer) -> bool:
    """Tell the usual cases, which need no look at the header."""
    stored, wanted = instance.entry.transfer_syntax_uid, answer.transfer_syntax
    if wanted is None:
        return stored == EXPLICIT_VR_LITTLE_ENDIAN
    return wanted == "*" or (wanted == stored and stored not in UNWANTED_TRANSFER_SYNTAXES)


def _plan_one(
    instance: Selected,
    accepted: Sequence[InstanceAnswer],
    document: dict[str, Any],
    n_frames: int,
) -> Plan | None:
    for answer in accepted:
        wanted = answer.transfer_syntax
        form = plan_answer(wanted, instance.entry.transfer_syntax_uid, document, n_frames)
        if form is not None:
            return Plan(instance, form, answer.is_multipart, wanted)
    return None


async def _write_parts(
    pinned: Pinned, plans: Sequence[Plan], boundary: str
) -> AsyncIterator[bytes]:
    is_first = True
    for plan in plans:
        outgoing = await open_outgoing(pinned, plan)
        kind = f"{DICOM}; transfer-syntax={outgoing.transfer_syntax_uid}"
        url = pinned.url(*plan.instance.path)
        yield part_header(boundary, kind, url, outgoing.length_bytes, is_first=is_first)
        async for chunk in outgoing.chunks:
            yield chunk
        is_first = False
    yield closing(boundary)


async def open_outgoing(pinned: Pinned, plan: Plan) -> Outgoing:
    """Begin to read one instance in its planned form.

    Raises:
        BrokenInstance: The client insists on a form that a broken codestream does not allow.
        IntegrityError: What is stored is gone.
    """
    try:
        if plan.form is Form.REWRITTEN:
            return await _rewrite(pinned, plan.instance)
        if plan.form is Form.DECOMPRESSED:
            return await _decompress(pinned, plan.instance)
        if plan.form is Form.TRANSCODED and plan.wanted is not None:
            made = await open_transcoded(pinned, plan.instance, plan.wanted)
            return Outgoing(plan.wanted, made.length_bytes, made.chunks)
    except NotAcceptable:
        if plan.wanted is not None:
            raise
    entry = plan.instance.entry
    chunks = pinned.services.repository.blobs.stream(entry.segments)
    return Outgoing(entry.transfer_syntax_uid, entry.size_bytes, chunks)


async def _rewrite(pinned: Pinned, instance: Selected) -> Outgoing:
    source = await pinned.services.repository.blobs.open(instance.entry.segments)
    explicit = await run_in_thread(rewrite_explicit, source)
    return Outgoing(EXPLICIT_VR_LITTLE_ENDIAN, explicit.length_bytes, iterate(explicit.chunks))


async def _decompress(pinned: Pinned, instance: Selected) -> Outgoing:
    documents = await read_documents(pinned, [instance])
    document = documents[instance.key]
    if document.frames is None:
        raise NotAcceptable("The frames of this instance cannot be told apart.")
    table = FrameTable.from_bytes(document.frames)
    attributes = msgspec.json.decode(document.dicom_json)
    pixel = PixelDescription.from_dicom_json(attributes, instance.entry.transfer_syntax_uid)
    source = await pinned.services.repository.blobs.open(instance.entry.segments)
    decode = pinned.services.decoders.decode_frame
    made = await decompress_instance(source, table.all_ranges, pixel, decode)
    return Outgoing(EXPLICIT_VR_LITTLE_ENDIAN, made.length_bytes, made.chunks)
