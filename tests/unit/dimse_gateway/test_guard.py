"""Limits by peer, and who may be a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamella.cli.main import main
from lamella.dimse_gateway.guard import Guard
from lamella.dimse_gateway.identity import USERNAME_AND_PASSCODE, Identities, hash_passcode
from lamella.dimse_gateway.rejection import LOCAL_LIMIT_EXCEEDED, TEMPORARY_CONGESTION
from lamella.errors import InvalidRequest
from lamella.settings import Settings, load_settings


def test_nothing_is_limited_unless_it_is_set() -> None:
    guard = Guard(Settings())
    assert {guard.judge_peer("10.0.0.1", 1000) for _ in range(1000)} == {None}
    assert guard.judge_identity(None) is None


def test_each_peer_has_its_own_limits() -> None:
    guard = Guard(Settings(dimse_peer_rate=3, dimse_peer_associations=2))
    assert [guard.judge_peer("10.0.0.1", n) for n in (0, 1, 2, 0)] == [
        None,
        None,
        LOCAL_LIMIT_EXCEEDED,
        TEMPORARY_CONGESTION,
    ]
    assert guard.judge_peer("10.0.0.2", 0) is None


def test_processes_share_the_limits() -> None:
    guard = Guard(Settings(dimse_processes=2, dimse_peer_associations=4))
    assert guard.judge_peer("10.0.0.1", 1) is None
    assert guard.judge_peer("10.0.0.1", 2) is LOCAL_LIMIT_EXCEEDED


def test_passcodes_are_not_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {hash_passcode("open sesame") for _ in range(2)}
    assert len(lines) == 2
    assert not any("sesame" in line for line in lines)
    (tmp_path / "users").write_text(f"ali:{lines.pop()}\n")
    identities = Identities(Settings(dimse_users=str(tmp_path / "users")))
    assert identities.knows(USERNAME_AND_PASSCODE, b"ali", b"open sesame")
    assert not identities.knows(USERNAME_AND_PASSCODE, b"ali", b"open barley")
    assert not identities.knows(3, b"ali", b"open sesame")
    assert main(["passcode", "a:b"]) == 2
    assert "colon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dimse_timeout", "0"),
        ("dimse_peer_rate", "-1"),
        ("dimse_transfer_syntaxes", "1.2.840.x"),
        ("dimse_transfer_syntaxes", "1.02"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=name.upper()):
        load_settings({name: value}, {}, tmp_path)


@pytest.mark.parametrize(
    ("options", "is_open"),
    [
        ({}, False),
        ({"dimse_tls_cert": "door.pem"}, False),
        ({"dimse_tls_cert": "door.pem", "dimse_tls_ca": "ca.pem"}, True),
        ({"calling_aets": "CT1"}, True),
    ],
)
def test_a_door_to_the_network_needs_a_guard(options: dict[str, str], is_open: bool) -> None:
    settings = Settings(dimse="0.0.0.0:11112", **options)
    if is_open:
        settings.check_exposure()
        return
    with pytest.raises(InvalidRequest, match="open to the network"):
        settings.check_exposure()
