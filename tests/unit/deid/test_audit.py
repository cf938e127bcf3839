"""The audit log shows what was done to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamella.deid.audit import AuditLog
from lamella.errors import IntegrityError

KEY = b"k" * 32


def write_three(folder: Path) -> AuditLog:
    log = AuditLog(folder, KEY)
    for number in (1, 2, 3):
        log.add("export-map uid", f"public key-{number}", "for the study office")
    return log


def test_entries_tell_who_did_what_to_what_and_why(tmp_path: Path) -> None:
    entries = list(write_three(tmp_path).read())
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert entries[1].subject == "public key-2"
    assert entries[1].action == "export-map uid"
    assert entries[1].reason == "for the study office"
    assert "@" in entries[1].actor
    assert entries[0].time < entries[2].time


@pytest.mark.parametrize(
    ("what", "sound"),
    [("drop first", 0), ("drop middle", 1), ("change", 1), ("swap", 1), ("cut", 2)],
)
def test_a_log_that_was_tampered_with_says_where(tmp_path: Path, what: str, sound: int) -> None:
    log = write_three(tmp_path)
    path = tmp_path / "audit.log"
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        {
            "drop first": second + third,
            "drop middle": first + third,
            "change": first + second.replace(b"key-2", b"key-9") + third,
            "swap": first + third + second,
            "cut": first + second + third[: len(third) // 2],
        }[what]
    )
    read = []
    with pytest.raises(IntegrityError, match=f"Entry {sound + 1} "):
        read.extend(entry.number for entry in log.read())
    entries = log.read()
    assert [next(entries).number for _ in range(sound)] == list(range(1, sound + 1))
    with pytest.raises(IntegrityError):
        log.add("export-map uid", "public")


def test_another_key_does_not_vouch_for_it(tmp_path: Path) -> None:
    write_three(tmp_path)
    with pytest.raises(IntegrityError):
        list(AuditLog(tmp_path, b"o" * 32).read())
