"""The audit log: who used keys and maps, when and why. Written before the use, or no use.

One JSON object a line. Each has an HMAC over itself and the one before it, so that a line which
is changed, dropped or put elsewhere shows. Lines cut off from the end do not show here: who has to
prove more sends the log elsewhere as it grows.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lamella.deid.private_files import OWNER_ONLY, locked
from lamella.errors import IntegrityError, OutOfResources

_NOTHING = "0" * 64


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One use.

    Attributes:
        number: Counted from 1.
        time: RFC 3339, UTC.
        actor: User and host.
        action: Such as `export-map`.
        subject: What it was done to: a key's id, a dataset.
        reason: What the actor said it is for.
        mark: HMAC-SHA256 of the rest and of the entry before.
    """

    number: int
    time: str
    actor: str
    action: str
    subject: str
    reason: str = ""
    mark: str = ""


class AuditLog:
    """The log of one installation.

    Args:
        folder: Where it is: that of the keyring.
        key: Of 32 bytes, from the keyring.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self._path = folder / "audit.log"
        self._key = key

    def add(self, action: str, subject: str, reason: str = "", actor: str = "") -> Entry:
        """Write an entry, durable when this returns.

        Args:
            action: What is about to be done.
            subject: To what.
            reason: What for.
            actor: Who; the process's user where empty.

        Raises:
            OutOfResources: It cannot be written: do not do it.
            IntegrityError: The log was tampered with.
        """
        with locked(self._path.parent):
            before = self._read_last()
            entry = Entry(
                before.number + 1 if before else 1,
                datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                actor or f"{getpass.getuser()}@{socket.gethostname()}",
                action,
                subject,
                reason,
            )
            entry = msgspec.structs.replace(
                entry, mark=self._mark(entry, before.mark if before else _NOTHING)
            )
            self._append(msgspec.json.encode(entry) + b"\n")
            return entry

    def read(self) -> Iterator[Entry]:
        """Yield the entries, oldest first, each checked.

        Raises:
            IntegrityError: One was changed, dropped or moved; those before it are sound.
        """
        before = _NOTHING
        for number, line in enumerate(self._read_lines(), 1):
            entry = _parse(line, number)
            if entry.number != number or entry.mark != self._mark(entry, before):
                raise IntegrityError(f"Entry {number} of the audit log is not what was written.")
            before = entry.mark
            yield entry

    def _read_last(self) -> Entry | None:
        last = None
        for last in self.read():  # noqa: B007 - only the last is wanted, all are checked
            pass
        return last

    def _mark(self, entry: Entry, before: str) -> str:
        bare = msgspec.json.encode(msgspec.structs.replace(entry, mark=""))
        return hmac.digest(self._key, before.encode("ascii") + bare, hashlib.sha256).hex()

    def _read_lines(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            file = os.open(self._path, flags, OWNER_ONLY)
            try:
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise OutOfResources(f"{self._path} cannot be written: {error.strerror}.") from error


def _parse(line: bytes, number: int) -> Entry:
    try:
        return msgspec.json.decode(line, type=Entry)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"Entry {number} of the audit log cannot be read.") from error
