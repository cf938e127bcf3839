"""Commits have one encoding and one id."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lamella.errors import IntegrityError
from lamella.vcs.commit_object import (
    Commit,
    compute_commit_id,
    decode_commit,
    encode_commit,
    format_time,
)
from lamella.vcs.nodes import EMPTY_ROOT

GOLDEN = json.loads((Path(__file__).parent / "golden" / "commits.json").read_text())


def make_commit(fields: dict[str, Any]) -> Commit:
    tree = bytes.fromhex(fields["tree"])
    return Commit(**{**fields, "tree": tree, "parents": tuple(fields["parents"])})


PLAIN = Commit(
    EMPTY_ROOT, (), "PACS", "lamella", 1_790_000_000_000_001, "First", "initial", {"b": 1, "a": 2}
)


def pack(**changes: Any) -> bytes:
    fields = {
        "format": 1,
        "tree": EMPTY_ROOT,
        "parents": [],
        "author": "a",
        "committer": "c",
        "time_us": 1,
        "message": "m",
        "kind": "store",
        "provenance": {"a": 1, "b": 2},
    }
    return msgspec.msgpack.encode(["commit", *{**fields, **changes}.values()])


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["name"])
def test_commits_keep_their_encoding_and_id(vector: dict[str, Any]) -> None:
    commit = make_commit(vector["fields"])
    encoded = encode_commit(commit)
    assert encoded.hex() == vector["encoded"]
    assert commit.commit_id == compute_commit_id(encoded) == vector["id"]
    assert decode_commit(encoded) == commit


def test_provenance_has_one_form_at_every_depth() -> None:
    ab = replace(PLAIN, provenance={"a": {"x": (1, {"q": 1, "p": 2}), "y": None}, "b": b"\x01"})
    ba = replace(PLAIN, provenance={"b": b"\x01", "a": {"y": None, "x": [1, {"p": 2, "q": 1}]}})
    assert ab == ba == decode_commit(encode_commit(ba))
    assert ab.commit_id == ba.commit_id
    assert list(ba.provenance) == ["a", "b"]


@pytest.mark.parametrize(
    "change",
    [
        {"tree": bytes(32)},
        {"parents": ("00" * 32,)},
        {"author": "x"},
        {"committer": "x"},
        {"time_us": 0},
        {"message": ""},
        {"kind": "store"},
        {"provenance": {}},
    ],
)
def test_every_field_counts(change: dict[str, Any]) -> None:
    assert replace(PLAIN, **change).commit_id != PLAIN.commit_id


def test_parents_are_ordered() -> None:
    one, two = "01" * 32, "02" * 32
    merged, swapped = replace(PLAIN, parents=(one, two)), replace(PLAIN, parents=(two, one))
    assert merged.commit_id != swapped.commit_id
    assert decode_commit(encode_commit(merged)).parents == (one, two)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        ({1: 2}, TypeError),
        ({"deep": [object()]}, TypeError),
        ({1, 2}, TypeError),
    ],
)
def test_provenance_refuses(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        replace(PLAIN, provenance={"key": value})


@pytest.mark.parametrize("time_us", [-1, 253_402_300_800_000_000])
def test_times_outside_the_calendar_are_refused(time_us: int) -> None:
    with pytest.raises(ValueError, match="time"):
        replace(PLAIN, time_us=time_us)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xc1",
        pack() + b"\x00",
        pack(format=2),
        pack(tree=b"short"),
        pack(parents=[b"short"]),
        pack(time_us=1.0),
        pack(time_us=-1),
        pack(provenance={"b": 2, "a": 1}),
        pack(provenance={"a": float("nan")}),
        pack(provenance=[]),
        pack(extra=1),
        pack().replace(b"\xa6commit", b"\xa6commix"),
        pack().replace(b"\xa1m", b"\xd9\x01m"),
    ],
)
def test_decoding_refuses(encoded: bytes) -> None:
    assert decode_commit(pack()).kind == "store"
    with pytest.raises(IntegrityError):
        decode_commit(encoded)


def test_a_commit_is_described_as_the_contract_has_it() -> None:
    commit = replace(PLAIN, parents=("ab" * 32,), provenance={"of": [b"\x01\xff", {"n": 1.5}]})
    described = commit.describe(commit.commit_id)
    assert described == {
        "id": commit.commit_id,
        "tree": EMPTY_ROOT.hex(),
        "parents": ["ab" * 32],
        "author": "PACS",
        "committer": "lamella",
        "time": "2026-09-21T14:13:20.000001Z",
        "message": "First",
        "kind": "initial",
        "provenance": {"of": ["01ff", {"n": 1.5}]},
    }
    assert json.loads(json.dumps(described)) == described


def test_times_are_shown_to_the_microsecond() -> None:
    assert format_time(0) == "1970-01-01T00:00:00.000000Z"
    assert format_time(1_790_000_000_000_000) == "2026-09-21T14:13:20.000000Z"
    assert format_time(253_402_300_799_999_999) == "9999-12-31T23:59:59.999999Z"
