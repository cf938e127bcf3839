"""Command sets, compared with what pynetdicom reads and writes."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from lamella.dimse_gateway.commands import (
    C_STORE_RQ,
    Answer,
    StoreCommand,
    build_store_response,
    read_command_field,
    read_store_command,
    split_command,
)

COMMAND = StoreCommand(7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", has_data_set=True)


def encode_request(**changes: object) -> bytes:
    """Return a C-STORE request as pydicom encodes it; None leaves an element out."""
    ds = Dataset()
    ds.AffectedSOPClassUID = COMMAND.sop_class_uid
    ds.CommandField = C_STORE_RQ
    ds.MessageID = COMMAND.message_id
    ds.Priority = 0
    ds.CommandDataSetType = 1
    ds.AffectedSOPInstanceUID = COMMAND.sop_instance_uid
    ds.MoveOriginatorApplicationEntityTitle = "MOVER"
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    encoded = encode(ds, True, True)
    assert encoded is not None
    return encoded


def test_store_request_is_read() -> None:
    values = split_command(encode_request())
    assert read_command_field(values) == C_STORE_RQ
    assert read_store_command(values) == COMMAND


def test_request_without_a_data_set_says_so() -> None:
    values = split_command(encode_request(CommandDataSetType=0x0101))
    assert not read_store_command(values).has_data_set


@pytest.mark.parametrize(
    "missing", ["AffectedSOPClassUID", "MessageID", "CommandDataSetType", "AffectedSOPInstanceUID"]
)
def test_incomplete_request_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match="missing"):
        read_store_command(split_command(encode_request(**{missing: None})))


@pytest.mark.parametrize("cut", range(1, 12))
def test_truncated_command_is_refused(cut: int) -> None:
    encoded = encode_request()
    with pytest.raises(ValueError, match=r"command|missing"):
        read_store_command(split_command(encoded[:-cut]))


def test_other_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="group 0000"):
        split_command(b"\x08\x00\x18\x00\x02\x00\x00\x001\x00")


@pytest.mark.parametrize("element", [0x0002, 0x1000])
def test_longer_values_than_uids_are_refused(element: int) -> None:
    values = split_command(encode_request()) | {element: b"1" * 66}
    with pytest.raises(ValueError, match="no UID"):
        read_store_command(values)


@pytest.mark.parametrize("uid", ["1.2.x", "../../etc"])
def test_a_sop_class_that_is_no_uid_is_refused(uid: str) -> None:
    values = split_command(encode_request()) | {0x0002: uid.encode()}
    with pytest.raises(ValueError, match="no UID"):
        read_store_command(values)


@pytest.mark.parametrize("uid", [b"1.2.x", b"../../etc", b"1.2.\xc6"])
def test_an_instance_that_is_no_uid_is_answered_under_its_name(uid: bytes) -> None:
    command = read_store_command(split_command(encode_request()) | {0x1000: uid})
    values = split_command(build_store_response(command, Answer(0xC000)))
    assert values[0x1000].rstrip(b"\0") == uid


def read_response(answer: Answer) -> Dataset:
    """Read a response the way a peer does."""
    return decode(BytesIO(build_store_response(COMMAND, answer)), True, True)


def test_response_is_what_peers_read() -> None:
    ds = read_response(Answer(0x0000))
    assert ds.CommandField == 0x8001
    assert ds.MessageIDBeingRespondedTo == COMMAND.message_id
    assert ds.AffectedSOPClassUID == COMMAND.sop_class_uid
    assert ds.AffectedSOPInstanceUID == COMMAND.sop_instance_uid
    assert ds.CommandDataSetType == 0x0101
    assert ds.Status == 0x0000
    assert "ErrorComment" not in ds
    assert [elem.tag for elem in ds] == sorted(elem.tag for elem in ds)


def test_group_length_counts_what_follows() -> None:
    encoded = build_store_response(COMMAND, Answer(0xA900, "odd"))
    assert int.from_bytes(encoded[8:12], "little") == len(encoded) - 12


def test_comment_fits_its_element() -> None:
    ds = read_response(Answer(0xC000, "é\\" + "x" * 100))
    assert ds.ErrorComment == "?/" + "x" * 62
