"""Key files: one project key under a passphrase, to carry it to another installation."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from lamella.deid.keys import ProjectKey
from lamella.deid.private_files import write_private
from lamella.deid.sealing import SALT_BYTES, seal, stretch, unseal
from lamella.errors import InvalidRequest, NotFound

LEAST_PASSPHRASE_CHARACTERS = 12
_FORMAT = 1


class _KeyFile(msgspec.Struct):
    format: int
    id: str
    name: str
    salt: bytes
    sealed: bytes


def write_key_file(path: Path, key: ProjectKey, name: str, passphrase: str) -> None:
    """Write a key, sealed by a passphrase.

    Raises:
        InvalidRequest: The passphrase is short.
        OutOfResources: The file cannot be written.
    """
    _check_passphrase(passphrase)
    salt = secrets.token_bytes(SALT_BYTES)
    sealed = seal(stretch(passphrase, salt), key.secret, key.id.encode("utf-8"))
    write_private(path, msgspec.json.encode(_KeyFile(_FORMAT, key.id, name, salt, sealed)) + b"\n")


def read_key_file(path: Path, passphrase: str) -> tuple[ProjectKey, str]:
    """Return the key in a file, and the name of its project.

    Raises:
        NotFound: There is no such file.
        InvalidRequest: It is no key file.
        SealBroken: The passphrase is another.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_KeyFile)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{path} is no key file.") from error
    if file.format != _FORMAT:
        raise InvalidRequest(f"A key file of format {file.format} needs a newer Lamella.")
    secret = unseal(stretch(passphrase, file.salt), file.sealed, file.id.encode("utf-8"))
    return ProjectKey(file.id, secret), file.name


def _check_passphrase(passphrase: str) -> None:
    if len(passphrase) < LEAST_PASSPHRASE_CHARACTERS:
        raise InvalidRequest(f"A passphrase has {LEAST_PASSPHRASE_CHARACTERS} characters or more.")
