"""The keyring: project keys on disk, each sealed by a master secret.

The master secret is `LAMELLA_DEID_SECRET`, or, where that is not set, a random one in
`master.key`, which only its owner may read. A key has a name, the project's, and an id, which
commits and reports may show. Rotating a project makes a key of the same name that new runs use;
the older ones stay, because what was made with them is continued or looked up with them.

    FOLDER/keyring.json   ids, names, times, sealed secrets
    FOLDER/master.key     only without LAMELLA_DEID_SECRET
    FOLDER/audit.log      who used what (`lamella.deid.audit`)
    FOLDER/maps/…         identifier maps (`lamella.deid.identifier_maps`)
"""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path

import msgspec

from lamella.deid.audit import AuditLog
from lamella.deid.keys import ProjectKey
from lamella.deid.private_files import locked, make_private_folder, read_private, write_private
from lamella.deid.sealing import KEY_BYTES, SALT_BYTES, SealBroken, seal, stretch, unseal
from lamella.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidRequest,
    NotAuthorized,
    ResourceNotFound,
)

DEFAULT_NAME = "default"
LEAST_SECRET_CHARACTERS = 16
_FORMAT = 1
_AUDIT = b"audit log"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class StoredKey(msgspec.Struct, frozen=True):
    """A key as the keyring file has it.

    Attributes:
        id: `name-` and 8 hex digits.
        name: The project.
        created_us: Microseconds since 1970.
        sealed: Its secret, sealed by the master key.
    """

    id: str
    name: str
    created_us: int
    sealed: bytes


class _Content(msgspec.Struct):
    # `audit` is the sealed key of the audit log; that it opens tells the right master secret
    format: int
    salt: bytes
    audit: bytes
    keys: list[StoredKey]


class Keyring:
    """The keys of one installation.

    Args:
        folder: Where they are; made when the first key is.
        secret: The master secret; empty for one in a file beside the keys.
    """

    def __init__(self, folder: Path, secret: str = "") -> None:
        if secret and len(secret) < LEAST_SECRET_CHARACTERS:
            raise InvalidRequest(
                f"LAMELLA_DEID_SECRET must have {LEAST_SECRET_CHARACTERS} characters or more."
            )
        self.folder = folder
        self._secret = secret

    def list_keys(self) -> list[StoredKey]:
        """Return all keys, the newest last; no secret is opened."""
        content = self._read()
        return content.keys if content else []

    def create(self, name: str = DEFAULT_NAME) -> ProjectKey:
        """Make the first key of a project.

        Raises:
            InvalidRequest: The name is none.
            AlreadyExists: The project has a key: rotate it.
        """
        with locked(self.folder):
            if any(key.name == name for key in self.list_keys()):
                raise AlreadyExists(f"Project {name} has a key: rotate it to make another.")
            return self._add(name, secrets.token_bytes(KEY_BYTES))

    def rotate(self, name: str = DEFAULT_NAME) -> ProjectKey:
        """Make another key for a project, which new runs use; the older ones stay.

        Raises:
            ResourceNotFound: There is no such project.
        """
        with locked(self.folder):
            if not any(key.name == name for key in self.list_keys()):
                raise ResourceNotFound(f"No project {name} has a key.")
            return self._add(name, secrets.token_bytes(KEY_BYTES))

    def find(self, wanted: str | None = None) -> ProjectKey:
        """Return a key by its id, or the newest of a project by its name.

        Args:
            wanted: Id or name; None for the project `default`, whose key is made if it has none.

        Raises:
            ResourceNotFound: Neither is known.
            NotAuthorized: The master secret is another.
        """
        with locked(self.folder):
            found = self._find_stored(wanted or DEFAULT_NAME)
            if found is None and wanted is None:
                return self._add(DEFAULT_NAME, secrets.token_bytes(KEY_BYTES))
            if found is None:
                raise ResourceNotFound(f"No key and no project is called {wanted}.")
            return self._open(found)

    def adopt(self, key: ProjectKey, name: str) -> None:
        """Keep a key that was made elsewhere.

        Raises:
            AlreadyExists: Its id is known.
        """
        with locked(self.folder):
            if any(stored.id == key.id for stored in self.list_keys()):
                raise AlreadyExists(f"Key {key.id} is here.")
            self._add(name, key.secret, key.id)

    def change_master(self, secret: str) -> Keyring:
        """Seal all keys anew under another master secret; return the keyring that opens them.

        Args:
            secret: The new one; empty for a new random one in the key file.

        Raises:
            NotAuthorized: The present secret does not open them.
        """
        new = Keyring(self.folder, secret)
        with locked(self.folder):
            opened = [(stored, self._open(stored).secret) for stored in self.list_keys()]
            file = self.folder / "master.key"
            if not secret:
                # the old keyring opens by neither file until it is replaced: keep both till then
                write_private(self.folder / "master.key.next", secrets.token_bytes(KEY_BYTES))
                file = self.folder / "master.key.next"
            audit_key = self._open_audit()
            salt = secrets.token_bytes(SALT_BYTES)
            master = stretch(secret, salt) if secret else _read_master(file)
            keys = [
                msgspec.structs.replace(stored, sealed=seal(master, key, _name_context(stored)))
                for stored, key in opened
            ]
            self._write(_Content(_FORMAT, salt, seal(master, audit_key, _AUDIT), keys))
            if not secret:
                file.replace(self.folder / "master.key")
            else:
                (self.folder / "master.key").unlink(missing_ok=True)
        return new

    def open_log(self) -> AuditLog:
        """Return the audit log, whose key is in the keyring.

        Raises:
            NotAuthorized: The master secret is another.
        """
        with locked(self.folder):
            return AuditLog(self.folder, self._open_audit())

    def _open_audit(self) -> bytes:
        content = self._read() or self._begin()
        return unseal(self._unlock(content), content.audit, _AUDIT)

    def _find_stored(self, wanted: str) -> StoredKey | None:
        keys = self.list_keys()
        by_id = [key for key in keys if key.id == wanted]
        found = by_id or [key for key in keys if key.name == wanted]
        return found[-1] if found else None

    def _open(self, stored: StoredKey) -> ProjectKey:
        content = self._read()
        assert content is not None, "a stored key comes out of a keyring"
        master = self._unlock(content)
        return ProjectKey(stored.id, unseal(master, stored.sealed, _name_context(stored)))

    def _add(self, name: str, secret: bytes, key_id: str = "") -> ProjectKey:
        for word in (name, key_id or name):
            if not _NAME.fullmatch(word):
                raise InvalidRequest(f"{word!r} is no name of a project or key.")
        content = self._read() or self._begin()
        stored = StoredKey(
            key_id or f"{name}-{secrets.token_hex(4)}", name, time.time_ns() // 1000, b""
        )
        sealed = seal(self._unlock(content), secret, _name_context(stored))
        content.keys.append(msgspec.structs.replace(stored, sealed=sealed))
        self._write(content)
        return ProjectKey(stored.id, secret)

    def _begin(self) -> _Content:
        """Write an empty keyring, with a master secret if none was given."""
        make_private_folder(self.folder)
        path = self.folder / "master.key"
        if not self._secret and read_private(path) is None:
            write_private(path, secrets.token_bytes(KEY_BYTES))
        salt = secrets.token_bytes(SALT_BYTES)
        master = stretch(self._secret, salt) if self._secret else _read_master(path)
        audit_key = secrets.token_bytes(KEY_BYTES)
        content = _Content(_FORMAT, salt, seal(master, audit_key, _AUDIT), [])
        self._write(content)
        return content

    def _unlock(self, content: _Content) -> bytes:
        if self._secret:
            candidates = [stretch(self._secret, content.salt)]
        else:
            files = [self.folder / "master.key", self.folder / "master.key.next"]
            candidates = [_read_master(file) for file in files if file.exists()]
        for master in candidates:
            try:
                unseal(master, content.audit, _AUDIT)
            except SealBroken:
                continue
            return master
        raise NotAuthorized(
            "The master secret (LAMELLA_DEID_SECRET, or master.key beside the keys) does not "
            "open the keyring."
        )

    def _read(self) -> _Content | None:
        raw = read_private(self.folder / "keyring.json")
        if raw is None:
            return None
        try:
            content = msgspec.json.decode(raw, type=_Content)
        except msgspec.DecodeError as error:
            raise IntegrityError(f"{self.folder / 'keyring.json'} is no keyring.") from error
        if content.format != _FORMAT:
            raise InvalidRequest(f"A keyring of format {content.format} needs a newer Lamella.")
        return content

    def _write(self, content: _Content) -> None:
        write_private(
            self.folder / "keyring.json", msgspec.json.format(msgspec.json.encode(content))
        )


def _read_master(path: Path) -> bytes:
    master = read_private(path)
    if master is None or len(master) != KEY_BYTES:
        raise NotAuthorized(f"{path} is missing or no key: the keyring cannot be opened.")
    return master


def _name_context(stored: StoredKey) -> bytes:
    return f"project key {stored.id}".encode("ascii")
