"""Association PDUs are read and written as pynetdicom does it, with known contexts and others."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import build_context

from lamella.dimse_gateway.negotiation import agree, negotiate
from lamella.dimse_gateway.proposals import AssociateRequestPdu, insert_outcomes

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT, RLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"

uids = st.sampled_from([CT, MR, "1.2.826.0.1.3680043.9", "2.25.1"])
syntaxes = st.lists(st.sampled_from([IMPLICIT, EXPLICIT, RLE]), min_size=1, unique=True)
proposals = st.lists(st.tuples(uids, syntaxes), min_size=1, max_size=12)


def encode_request(proposed: list[tuple[str, list[str]]], calling: str = "SCU") -> bytes:
    """Return an A-ASSOCIATE-RQ, made by pynetdicom."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, "LAMELLA"
    longest, kind = MaximumLengthNotification(), ImplementationClassUIDNotification()
    longest.maximum_length_received, kind.implementation_class_uid = 16382, "1.2.3.4"
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, False, True
    request.user_information = [longest, kind, role]
    contexts = []
    for number, (uid, syntax) in enumerate(proposed):
        context = build_context(uid, syntax)
        context.context_id = 2 * number + 1
        contexts.append(context)
    request.presentation_context_definition_list = contexts
    return bytes(A_ASSOCIATE_RQ(request).encode())


def describe(primitive: Any) -> tuple[object, ...]:
    """Return all that association control looks at."""
    contexts = [
        (one.context_id, one.abstract_syntax, one.transfer_syntax)
        for one in primitive.presentation_context_definition_list
    ]
    items = [repr(vars(item)) for item in primitive.user_information]
    titles = primitive.calling_ae_title, primitive.called_ae_title
    return titles, primitive.application_context_name, contexts, items


def read_as_pynetdicom(encoded: bytes) -> tuple[object, ...]:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(encoded)
    return describe(pdu.to_primitive())


@given(proposals)
def test_requests_are_read_as_pynetdicom_reads_them(proposed: list[tuple[str, list[str]]]) -> None:
    for calling in ("ONE", "TWO"):  # the second has contexts that are known
        encoded = encode_request(proposed, calling)
        pdu = AssociateRequestPdu(encoded)
        assert describe(pdu.to_primitive()) == read_as_pynetdicom(encoded)
        assert pdu.protocol_version == 1


def test_one_association_does_not_change_what_the_next_proposes() -> None:
    encoded = encode_request([(CT, [EXPLICIT]), (MR, [RLE])])
    first = AssociateRequestPdu(encoded).to_primitive()
    first.presentation_context_definition_list.clear()
    assert describe(AssociateRequestPdu(encoded).to_primitive()) == read_as_pynetdicom(encoded)


@pytest.mark.parametrize("lost", [1, 3, 20, 60])
def test_what_is_cut_off_is_refused(lost: int) -> None:
    encoded = encode_request([(CT, [EXPLICIT])])[:-lost]
    with pytest.raises(Exception):  # noqa: B017, PT011  (pynetdicom has many kinds)
        AssociateRequestPdu(encoded)


def test_more_contexts_than_are_remembered_are_read_all_the_same() -> None:
    name = f"1.2.{'3' * 50}"
    encoded = encode_request([(name, [EXPLICIT, IMPLICIT, RLE])] * 128)
    header, items = encoded[:74], encoded[74:]
    longer = header[:2] + struct.pack(">L", len(encoded) - 6 + 5 * len(items)) + header[6:]
    longer += items * 6
    assert describe(AssociateRequestPdu(longer).to_primitive()) == read_as_pynetdicom(longer)


@given(proposals)
def test_acceptances_are_encoded_as_pynetdicom_encodes_them(
    proposed: list[tuple[str, list[str]]],
) -> None:
    request = AssociateRequestPdu(encode_request(proposed)).to_primitive()
    contexts = request.presentation_context_definition_list
    accepted = A_ASSOCIATE()
    accepted.application_context_name = request.application_context_name
    accepted.calling_ae_title, accepted.called_ae_title = "SCU", "LAMELLA"
    accepted.result, accepted.result_source = 0, 1
    accepted.user_information = request.user_information
    bare = A_ASSOCIATE_AC(accepted).encode()
    accepted.presentation_context_definition_results_list = negotiate(contexts)
    assert insert_outcomes(bare, agree(contexts).encoded) == A_ASSOCIATE_AC(accepted).encode()
