"""Answers of retrieve requests that still hold, found before a request is routed.

What a commit answers to a GET never changes. An answer is therefore known by all that it depends
on (URL, what the client accepts, how the request came), and holds for as long as the revision
that was typed leads to the same commit. Routing, negotiation and the way down the tree take three
times as long as reading a frame; viewers ask for the same frames and metadata again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from litestar.types import HTTPScope

from lamella.dicomweb.answers import Answer
from lamella.dicomweb.locations import TELLING
from lamella.dicomweb.services import Services
from lamella.vcs.view import View, recall_view

if TYPE_CHECKING:
    from lamella.dicomweb.pinned import Pinned

LONGEST_HEADERS = 1000  # letters of those that count; what is longer is not worth the memory
_DECIDING = TELLING | {b"accept", b"accept-encoding"}
_EXCLUDING = frozenset(
    {b"if-none-match", b"if-match", b"if-modified-since", b"if-unmodified-since", b"range"}
)
_KEY_WEIGHT = 2500  # bytes that key, headers and what leads to a body take in memory, about

AnswerKey = tuple[Any, ...]
"""All that an answer depends on besides the commit."""


class KnownBody(Protocol):
    """The body of an answer, or how it is come by."""

    async def read(self) -> tuple[bytes, ...] | None:
        """Return the body in a few pieces, or None if it has to be made anew."""


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """An answer with status 200.

    Attributes:
        dataset: Name of the dataset, as in the URL.
        revision: As typed; None for the default branch.
        view: What it was resolved to.
        handler: The route's handler, for the log.
        headers: Names in lower case.
        body: Its body.
    """

    dataset: str
    revision: str | None
    view: View
    handler: Any
    headers: Sequence[tuple[bytes, bytes]]
    body: KnownBody


async def recall(services: Services, scope: HTTPScope) -> KnownAnswer | None:
    """Return the answer to a GET request if it is known and still holds."""
    key = _name(scope)
    known = services.known_answers.get(key) if key is not None else None
    if known is None:
        return None
    view = await recall_view(services.repository, known.dataset, known.revision)
    if view is None or view.shown_id != known.view.shown_id or view.dataset != known.view.dataset:
        return None
    return known


def remember(pinned: Pinned, answer: Answer, body: KnownBody) -> None:
    """Keep the answer to a GET request for those who ask the same.

    Args:
        pinned: The request.
        answer: What it is answered; it depends on nothing but commit, URL, settings, the way the
            request came, Accept and Accept-Encoding.
        body: How its body is come by again.
    """
    scope = pinned.request.scope
    key = _name(scope)
    if key is None or answer.status != 200:
        return
    names = pinned.request.path_params
    known = KnownAnswer(
        names["dataset"],
        names.get("revision"),
        pinned.view,
        scope["route_handler"],
        answer.encode_headers(),
        body,
    )
    pinned.services.known_answers.put(key, known, _KEY_WEIGHT)


def _name(scope: HTTPScope) -> AnswerKey | None:
    """Return what the answer to a request depends on; None if that is more than can be told."""
    if scope["method"] != "GET":
        return None
    deciding = []
    for header in scope["headers"]:
        if header[0] in _DECIDING:
            deciding.append(header)
        elif header[0] in _EXCLUDING:
            return None
    if sum(len(value) for _, value in deciding) > LONGEST_HEADERS:
        return None
    client, server = scope.get("client"), scope.get("server")
    return (
        scope["path"],
        scope["query_string"],
        tuple(deciding),
        scope.get("scheme"),
        client[0] if client else None,
        tuple(server) if server else None,
    )
