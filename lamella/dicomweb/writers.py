"""Who writes where, and on what condition, as a request's headers say.

Source:
    RFC 9110 §13.1.1 (If-Match).
"""

from __future__ import annotations

import re

from lamella.dicomweb.pinned import Pinned, read_header
from lamella.errors import InvalidRequest, RefMoved
from lamella.vcs.staging import Session

LONGEST_MESSAGE = 4096
ANONYMOUS = "anonymous"


def open_session(pinned: Pinned, kind: str) -> Session:
    """Say where the changes of a request go, before anything else of it is read.

    Args:
        pinned: The request.
        kind: Of the commit.

    Raises:
        ReadOnlyRevision: The revision is no branch.
        RefMoved: `If-Match` names another head.
        InvalidRequest: `If-Match` or `Lamella-Message` will not do.
    """
    branch = pinned.view.branch
    expected = parse_expected_head(read_header(pinned.request, b"if-match"))
    if expected is not None and expected != pinned.view.revision.commit_id:
        raise RefMoved(f"The head of {branch!r} is {pinned.view.commit_id}.")
    return Session(
        pinned.view.dataset,
        branch,
        kind=kind,
        author=ANONYMOUS,
        message=parse_message(read_header(pinned.request, b"lamella-message")),
        expected_head=expected,
    )


def parse_expected_head(header: str | None) -> bytes | None:
    """Parse `If-Match`: one commit id in quotes; `*` asks only that the branch exists.

    Raises:
        InvalidRequest: It is neither.
    """
    if header is None or header.strip() == "*":
        return None
    match = re.fullmatch(r'\s*"?([0-9a-f]{64})"?\s*', header, re.IGNORECASE)
    if match is None:
        raise InvalidRequest("If-Match takes one commit id in quotes.")
    return bytes.fromhex(match[1])


def parse_message(header: str | None) -> str:
    """Return the commit message a client sent; header bytes are UTF-8 by custom.

    Raises:
        InvalidRequest: It is too long.
    """
    if header is None:
        return ""
    try:
        text = header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        text = header
    if len(text) > LONGEST_MESSAGE:
        raise InvalidRequest(f"Lamella-Message is longer than {LONGEST_MESSAGE} characters.")
    return " ".join(text.split())
