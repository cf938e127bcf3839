"""Sealing: AES-256-GCM around what must not be read without a key, nor moved to another place.

A sealed message is nonce, ciphertext and tag in one. What it belongs to (its context) is
authenticated with it: a key's secret pasted under another key's name, or a piece of a map put
where another was, does not open.

`cryptography` does the work: AES-GCM is in no standard library, and it is OpenSSL's, with wheels
for every platform.

Source:
    NIST SP 800-38D (GCM, 96-bit random nonces); RFC 5869 (HKDF); RFC 7914 (scrypt).
"""

from __future__ import annotations

import secrets
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from lamella.errors import LamellaError

KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
_SCRYPT_COST = 1 << 15
"""32 MiB and some 0.1 s a guess (with 8 blocks, RFC 7914 §2)."""


class SealBroken(LamellaError):
    """A sealed message that this key does not open, or that was changed or moved."""

    http_status, title = 500, "Seal broken"


def seal(key: bytes, message: bytes, context: bytes) -> bytes:
    """Encrypt and authenticate a message.

    Args:
        key: 32 bytes.
        message: Anything.
        context: What it belongs to; the same is needed to open it.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, message, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Return the message in a seal.

    Raises:
        SealBroken: Another key, another context, or changed bytes.
    """
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise SealBroken("What was sealed does not open with this key.") from error


def derive_key(secret: bytes, purpose: str) -> bytes:
    """Return a key of 32 bytes for one purpose from a secret that nobody can guess."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode("ascii")).derive(secret)


@lru_cache(maxsize=8)
def stretch(passphrase: str, salt: bytes) -> bytes:
    """Return a key of 32 bytes from what a person chose, slowly on purpose."""
    return Scrypt(salt, KEY_BYTES, _SCRYPT_COST, 8, 1).derive(passphrase.encode("utf-8"))
