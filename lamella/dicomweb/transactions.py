"""What a route says of itself: what it answers, takes and understands.

The capabilities and the conformance statement tell it; handlers negotiate by the same tables.

Source:
    PS3.18 §8.9 (Retrieve Capabilities); PS3.2 Annex N (Studies Service).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamella.dicomweb.media_types import (
    DICOM_JSON,
    DICOM_XML,
    JSON,
    MULTIPART_RELATED,
    quote_parameter,
)

_OPTION = "transaction"


def related(media_type: str) -> str:
    """Return the multipart type whose parts are of a media type."""
    return f"{MULTIPART_RELATED}; type={quote_parameter(media_type)}"


DATA_SETS = (DICOM_JSON, JSON, related(DICOM_XML))
"""Ways to write search results and metadata, the default first."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction of a DICOMweb service.

    Attributes:
        section: Where PS3.18 has it; '' for what it has not.
        answers: Media types of its answers, the default first.
        single_answers: Those that one instance, or a part of it, can have besides.
        bodies: Media types of request bodies that it takes.
        parameters: Query parameters besides attributes, `accept` and `charset`.
        status: Of its success.
    """

    section: str
    answers: tuple[str, ...] = ()
    single_answers: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    status: int = 200


def declare(transaction: Transaction) -> dict[str, Any]:
    """Return the options of a route that carries out a transaction."""
    return {_OPTION: transaction}


def transaction_of(options: Mapping[str, Any]) -> Transaction:
    """Return what a route declared.

    Raises:
        LookupError: It declared nothing.
    """
    declared = options.get(_OPTION)
    if not isinstance(declared, Transaction):
        raise LookupError("A route below a DICOMweb root says nothing of itself.")
    return declared
