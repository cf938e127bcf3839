"""What a project's key makes: new UIDs, pseudonyms and date shifts, the same each time.

Whoever holds the key can go from an original to its replacement, and by trying, back. So keys
stay outside of datasets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

_UID_BYTES = 16
"""Of the digest, that become the number after `2.25.`: 39 decimal digits at most."""
_PSEUDONYM_BYTES = 10
"""80 bits: a billion patients share one with a chance of one in two million."""


@dataclass(frozen=True, slots=True)
class ProjectKey:
    """The key of one project.

    Attributes:
        id: Its name, which commits and reports may show.
        secret: 16 bytes or more, which nothing shows.
    """

    id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < 16:
            raise ValueError("A project key has 16 bytes or more.")

    def map_uid(self, uid: str) -> str:
        """Return the UID that takes the place of this one.

        Source:
            PS3.5 §B.2 (UIDs below 2.25).
        """
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:_UID_BYTES])}"

    def shift_days(self, patient_id: str, issuer: str = "", *, limit_days: int = 365) -> int:
        """Return by how many whole days a patient's dates move: never 0, at most `limit_days`."""
        number = int.from_bytes(self._digest("shift", f"{issuer}|{patient_id}")[:8])
        days = number % (2 * limit_days)
        return days - limit_days if days < limit_days else days - limit_days + 1

    def map_patient_id(self, patient_id: str, issuer: str = "") -> str:
        """Return the pseudonym of a patient: 17 capitals and digits, beginning with `P`."""
        digest = self._digest("patient", f"{issuer}|{patient_id}")[:_PSEUDONYM_BYTES]
        return "P" + base64.b32encode(digest).decode("ascii")

    def map_text(self, text: str, purpose: str) -> str:
        """Return 12 capitals and digits that stand for a value, for one purpose."""
        return base64.b32encode(self._digest(purpose, text)[:10]).decode("ascii")[:12]

    def _digest(self, purpose: str, text: str) -> bytes:
        # the purpose keeps what is derived apart: a pseudonym tells nothing of a UID
        message = purpose.encode("ascii") + b"\0" + text.encode("utf-8", "surrogatepass")
        return hmac.digest(self.secret, message, hashlib.sha256)
