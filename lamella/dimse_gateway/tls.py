"""TLS of associations: the settings' certificates, within what BCP 195 recommends.

Source:
    PS3.15 §B.10 (Non-Downgrading BCP 195 TLS Secure Transport Connection Profile) and §B.12;
    RFC 9325 §3.1 (versions), §4.2 (cipher suites).
"""

from __future__ import annotations

import ssl

from lamella.errors import InvalidRequest
from lamella.settings import Settings

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption. Those of TLS 1.3 all have both."""


def make_server_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what secures associations that peers request; None where TLS is not set up.

    With a CA each peer has to have a certificate that it, or who it trusts, has signed.

    Raises:
        InvalidRequest: A file is missing, cannot be read, or does not fit the others.
    """
    if not settings.dimse_tls_cert:
        _refuse_half(settings)
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    _load_own(context, settings)
    if settings.dimse_tls_ca:
        _load_trusted(context, settings.dimse_tls_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def make_client_context(settings: Settings) -> ssl.SSLContext:
    """Return what secures associations with peers that are called over TLS.

    A peer's certificate has to be of its host or address, and of the CA of the settings, or of one
    that the system trusts where there is none. Ours is shown to peers that ask for it.

    Raises:
        InvalidRequest: A file is missing, cannot be read, or does not fit the others.
    """
    context = ssl.create_default_context()
    if settings.dimse_tls_ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load_trusted(context, settings.dimse_tls_ca)
    _harden(context)
    if settings.dimse_tls_cert:
        _load_own(context, settings)
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_own(context: ssl.SSLContext, settings: Settings) -> None:
    try:
        context.load_cert_chain(settings.dimse_tls_cert, settings.dimse_tls_key or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise InvalidRequest(
            "LAMELLA_DIMSE_TLS_CERT and LAMELLA_DIMSE_TLS_KEY must be a certificate and its "
            f"private key in PEM files: {_explain(error)}."
        ) from error


def _load_trusted(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"LAMELLA_DIMSE_TLS_CA must be a PEM file of certificates: {_explain(error)}."
        ) from error


def _refuse_half(settings: Settings) -> None:
    if settings.dimse_tls_key:
        raise InvalidRequest("LAMELLA_DIMSE_TLS_KEY needs LAMELLA_DIMSE_TLS_CERT beside it.")


def _explain(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or "it cannot be read")
