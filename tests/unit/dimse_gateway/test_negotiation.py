"""Which presentation contexts are accepted, and in which transfer syntax."""

from __future__ import annotations

import pytest
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
)
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from lamella.dimse_gateway.negotiation import TRANSFER_SYNTAX_UIDS, is_storage_class, negotiate

RETIRED_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6"
UNKNOWN_STANDARD = "1.2.840.10008.5.1.4.1.1.999.1"
PRIVATE = "1.2.826.0.1.3680043.9.1"


def propose(context_id: int, sop_class_uid: str, *syntaxes: str) -> PresentationContext:
    """Return a proposed presentation context."""
    context = build_context(sop_class_uid, list(syntaxes))
    context.context_id = context_id
    return context


@pytest.mark.parametrize("uid", [CTImageStorage, RETIRED_ULTRASOUND, UNKNOWN_STANDARD, PRIVATE])
def test_storage_classes(uid: str) -> None:
    assert is_storage_class(uid)


@pytest.mark.parametrize(
    "uid",
    [
        Verification,
        StorageCommitmentPushModel,
        MediaStorageDirectoryStorage,
        ModalityWorklistInformationFind,
        ModalityPerformedProcedureStep,
        StudyRootQueryRetrieveInformationModelFind,
        ExplicitVRLittleEndian,
    ],
)
def test_other_uids_are_no_storage_classes(uid: str) -> None:
    assert not is_storage_class(uid)


@pytest.mark.parametrize(
    "uid",
    [
        HTJ2KLossless,
        "1.2.840.10008.1.2.4.112",  # JPEG XL
        "1.2.840.10008.1.2.4.55",  # JPEG, retired
        "1.2.840.10008.1.2.4.107",  # HEVC
        "1.2.840.10008.1.2.8.1",  # deflated frames
    ],
)
def test_transfer_syntaxes_that_few_know_are_accepted(uid: str) -> None:
    assert uid in TRANSFER_SYNTAX_UIDS


def test_first_known_syntax_of_each_proposal_is_taken() -> None:
    outcomes = negotiate(
        [
            propose(5, CTImageStorage, "1.2.3", ImplicitVRLittleEndian, ExplicitVRLittleEndian),
            propose(1, CTImageStorage, JPEG2000Lossless, ExplicitVRLittleEndian),
            propose(3, CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless),
        ]
    )
    assert [(cx.context_id, cx.result, cx.transfer_syntax[0]) for cx in outcomes] == [
        (1, 0x00, JPEG2000Lossless),
        (3, 0x00, ExplicitVRLittleEndian),
        (5, 0x00, ImplicitVRLittleEndian),
    ]


def test_what_cannot_be_served_is_refused_with_its_reason() -> None:
    outcomes = negotiate(
        [
            propose(1, ModalityWorklistInformationFind, ImplicitVRLittleEndian),
            propose(3, CTImageStorage, "1.2.3"),
            propose(5, Verification, ImplicitVRLittleEndian),
        ]
    )
    assert [cx.result for cx in outcomes] == [0x03, 0x04, 0x00]
