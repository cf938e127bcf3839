"""Who uses a peer, as its association request says: a name with a passcode, or a token.

Source:
    PS3.7 §D.3.3.7 (User Identity Negotiation).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from pathlib import Path
from typing import Any

from lamella.errors import InvalidRequest
from lamella.settings import Settings

USERNAME, USERNAME_AND_PASSCODE, TOKEN = 1, 2, 5  # PS3.7 Table D.3-14
LEAST_SECRET_BYTES = 32  # RFC 7518 §3.2, for HS256

_SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
_COST = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 32 << 20}  # 16 MiB, some 50 ms
_KIND = "scrypt"


class Identities:
    """The users that the settings know; where they know none, anybody is let in."""

    def __init__(self, settings: Settings) -> None:
        """Read the files.

        Raises:
            InvalidRequest: A file cannot be read, or is not what it has to be.
        """
        self._users = _read_users(settings.dimse_users)
        self._tokens = _Tokens(settings) if settings.dimse_jwt else None
        self._spare = hash_passcode(secrets.token_hex(8))
        self._turn = threading.Lock()  # one hash at a time: each takes 16 MiB

    @property
    def are_asked(self) -> bool:
        """Whether an association needs an identity."""
        return bool(self._users) or self._tokens is not None

    def knows(self, kind: int, primary: bytes, secondary: bytes | None) -> bool:
        """Tell whether an identity is that of a user.

        Args:
            kind: User-Identity-Type.
            primary: User name, or token.
            secondary: Passcode.
        """
        if kind == TOKEN:
            return self._tokens is not None and self._tokens.accept(primary)
        if kind not in (USERNAME, USERNAME_AND_PASSCODE):
            return False
        known = self._users.get(primary.decode("utf-8", "replace"))
        if kind == USERNAME:
            return known == ""
        with self._turn:
            # A name that nobody has takes as long as a wrong passcode.
            is_right = _matches(known or self._spare, secondary or b"")
        return bool(known) and is_right


def hash_passcode(passcode: str) -> str:
    """Return what stands for a passcode in a file of users."""
    salt = secrets.token_bytes(16)
    return f"{_KIND}:{salt.hex()}:{_derive(passcode.encode(), salt).hex()}"


def _matches(known: str, passcode: bytes) -> bool:
    _, salt, expected = known.split(":")
    return hmac.compare_digest(_derive(passcode, bytes.fromhex(salt)).hex(), expected)


def _derive(passcode: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(passcode, salt=salt, **_COST)


def _read_users(path: str) -> dict[str, str]:
    """Return hashes by user name; one without a hash needs no passcode."""
    if not path:
        return {}
    users = {}
    for line in _read_text(path, "LAMELLA_DIMSE_USERS").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, known = line.strip().partition(":")
        if known and not _is_hash(known):
            raise InvalidRequest(
                "LAMELLA_DIMSE_USERS has a line that is none of `lamella passcode`."
            )
        users[name] = known
    if not users:
        raise InvalidRequest("LAMELLA_DIMSE_USERS names a file without users.")
    return users


def _is_hash(text: str) -> bool:
    parts = text.split(":")
    return len(parts) == 3 and parts[0] == _KIND and all(_is_hex(part) for part in parts[1:])


def _is_hex(text: str) -> bool:
    return bool(text) and len(text) % 2 == 0 and set(text) <= set("0123456789abcdef")


class _Tokens:
    """Judges JSON Web Tokens by a shared secret, or by the keys of who issues them."""

    def __init__(self, settings: Settings) -> None:
        try:
            import jwt
        except ImportError as error:
            raise InvalidRequest("LAMELLA_DIMSE_JWT needs an extra: lamella[auth].") from error
        self._jwt = jwt
        self._audience = settings.dimse_jwt_audience or None
        text = _read_text(settings.dimse_jwt, "LAMELLA_DIMSE_JWT").strip()
        self._keys: Any = None
        self._secret = b""
        if text.startswith("{"):
            self._keys = _read_keys(jwt, text)
        elif len(text.encode()) < LEAST_SECRET_BYTES:
            raise InvalidRequest(
                f"The secret in LAMELLA_DIMSE_JWT must be of {LEAST_SECRET_BYTES} bytes or more."
            )
        else:
            self._secret = text.encode()

    def accept(self, token: bytes) -> bool:
        """Tell whether a token is genuine, for us, and of this time."""
        try:
            self._jwt.decode(
                token,
                self._find_key(token),
                algorithms=["HS256"] if self._keys is None else _SIGNATURES,
                audience=self._audience,
                options={"require": ["exp"], "verify_aud": self._audience is not None},
            )
        except (self._jwt.PyJWTError, KeyError, ValueError):
            return False
        return True

    def _find_key(self, token: bytes) -> Any:
        if self._keys is None:
            return self._secret
        kid = self._jwt.get_unverified_header(token).get("kid")
        return self._keys[kid] if kid else self._keys.keys[0]


def _read_keys(jwt: Any, text: str) -> Any:
    try:
        return jwt.PyJWKSet.from_dict(json.loads(text))
    except (ValueError, jwt.PyJWTError) as error:
        raise InvalidRequest("LAMELLA_DIMSE_JWT names a file that is no JWK Set.") from error


def _read_text(path: str, name: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} must be a text in UTF-8.") from error
