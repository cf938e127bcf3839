"""Webhooks: an HTTP request for each commit, signed, and repeated until it is taken.

    POST URL
    Lamella-Signature: t=1790000000,sha256=<hex>

    {"dataset": "default", "branch": "main", "commit": "…", "parent": "…"}

The signature is the HMAC-SHA256, under the webhook's secret, of the time, a dot and the body; a
receiver refuses times that are long past. What is answered by 2xx is taken, 410 ends the job for
good, and anything else is tried again: a request may come twice, and later than the next one's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

import sqlalchemy as sa

from lamella.archive.outbox import Arguments, Json
from lamella.archive.threads import run_in_thread
from lamella.errors import InvalidRequest, OutOfResources, ResourceNotFound
from lamella.vcs.refs import find_dataset
from lamella.vcs.subscriptions import SECRET, find_subscription
from lamella.vcs.work import JobContext, JobKind

NAME = "webhook"
HEADER = "Lamella-Signature"
TIMEOUT_S = 10.0
GONE = 410
SENT = ("dataset", "branch", "commit", "parent")


def make_arguments(url: str, secret: str) -> dict[str, str]:
    """Return the arguments of a subscription that calls a URL.

    Raises:
        InvalidRequest: It is no URL of HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest("A webhook is an http:// or https:// URL.")
    return {"url": url, SECRET: secret}


def sign(secret: str, time_s: int, body: bytes) -> str:
    """Return the header's value for a body that is sent now."""
    signed = f"{time_s}.".encode() + body
    return f"t={time_s},sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


async def run(context: JobContext, arguments: Arguments) -> Json:
    """Tell one receiver about one commit; return the status of its answer."""

    def read_secret(connection: sa.Connection) -> str:
        owner = find_dataset(connection, arguments["dataset"])
        found = find_subscription(connection, owner.id, arguments["subscription"])
        return str(found.arguments[SECRET])

    secret = await context.repository.archive.database.read(read_secret)
    body = json.dumps({name: arguments[name] for name in SENT}).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "lamella",
        HEADER: sign(secret, int(time.time()), body),
    }
    return {"status": await run_in_thread(_post, arguments["url"], body, headers)}


KIND = JobKind(NAME, run)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Send a request; return the status if it was taken.

    Raises:
        ResourceNotFound: The receiver wants no more of them.
        OutOfResources: It was not taken.
    """
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == GONE:
            raise ResourceNotFound("The webhook's receiver is gone (410).") from None
        raise OutOfResources(f"The webhook's receiver answered {error.code}.") from None
    except OSError as error:
        raise OutOfResources("The webhook's receiver cannot be reached.") from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is not followed: the signature is for one receiver."""

    def redirect_request(self, *_args: object, **_named: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)
