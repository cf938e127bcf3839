"""Who we are to AWS: one chain for both clients (variables, profiles, roles of the machine)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session

from lamella.errors import InvalidRequest

if TYPE_CHECKING:
    from obstore.store import S3Credential

DEFAULT_REGION = "us-east-1"  # stores other than AWS's own take any
ASK_AGAIN_AFTER = timedelta(minutes=10)


class Credentials:
    """What botocore finds, and finds anew before it expires. May be asked from any thread.

    Raises:
        InvalidRequest: There are none.
    """

    def __init__(self) -> None:
        self._session: Any = botocore.session.get_session()
        if self._session.get_credentials() is None:
            raise InvalidRequest(
                "S3 needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
                "profile or role."
            )
        self.region: str = self._session.get_config_variable("region") or DEFAULT_REGION

    def read_authorities(self) -> bytes | None:
        """Return the certificates that TLS should trust (`AWS_CA_BUNDLE`); None: the system's.

        Raises:
            InvalidRequest: They cannot be read.
        """
        path = self._session.get_config_variable("ca_bundle")
        if not path:
            return None
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise InvalidRequest(f"AWS_CA_BUNDLE cannot be read: {error.strerror}.") from error

    def give(self) -> S3Credential:
        """Return what is valid now, as obstore asks for it."""
        found = self._session.get_credentials().get_frozen_credentials()
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) + ASK_AGAIN_AFTER if found.token else None,
        }
