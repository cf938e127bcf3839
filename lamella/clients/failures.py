"""What clients raise when a request fails: `requests.HTTPError` by kinds.

    requests.HTTPError
    └── RequestFailed            any status of 400 or more
        ├── Refused              400, 413: a request that cannot be understood or is too long
        ├── AccessDenied         401, 403
        ├── Missing              404
        ├── ReadOnly             405: a store or delete on what is no branch
        ├── NotAcceptable        406
        ├── ConflictFound        409: also a store that took nothing
        ├── Gone                 410: hidden by a rejection note
        ├── HeadMoved            412
        └── Unavailable          503: to be tried again later

Each has a `response` with status, headers and body, as `requests` has it; an error can be
pickled, with its response.

Source:
    RFC 9457 (the members `title` and `detail` of an error's body); PS3.18 §8.5 (statuses).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests


class RequestFailed(requests.HTTPError):
    """A request that was answered with a status of 400 or more."""

    @property
    def status_code(self) -> int:
        """The status of the answer."""
        return 0 if self.response is None else self.response.status_code

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the response along; the request behind it may hold what cannot be pickled."""
        return _restore, (type(self), self.args, self.response)


class Refused(RequestFailed):
    """The request cannot be understood, or is too long."""


class AccessDenied(RequestFailed):
    """Who asks is not known, or may not."""


class Missing(RequestFailed):
    """There is no such thing in this revision, or no such revision."""


class ReadOnly(RequestFailed):
    """What would be changed cannot change."""


class NotAcceptable(RequestFailed):
    """The thing is there, but not in any of the forms that were asked for."""


class ConflictFound(RequestFailed):
    """Other content is there already, or nothing of what was sent could be stored."""


class Gone(RequestFailed):
    """It was there once."""


class HeadMoved(RequestFailed):
    """The branch is not where the request expected it."""


class Unavailable(RequestFailed):
    """Not now; later it may be."""


_KINDS: dict[int, type[RequestFailed]] = {
    400: Refused,
    401: AccessDenied,
    403: AccessDenied,
    404: Missing,
    405: ReadOnly,
    406: NotAcceptable,
    409: ConflictFound,
    410: Gone,
    412: HeadMoved,
    413: Refused,
    503: Unavailable,
}


def make_failure(response: requests.Response) -> RequestFailed:
    """Return the error that stands for an answer with a status of 400 or more."""
    kind = _KINDS.get(response.status_code, RequestFailed)
    detail = _read_detail(response) or response.reason
    return kind(f"{response.status_code}: {detail}", response=response)


@contextmanager
def named_failures() -> Iterator[None]:
    """Raise what fails within the block as a kind of `RequestFailed`."""
    try:
        yield
    except RequestFailed:
        raise
    except requests.HTTPError as error:
        if error.response is None:
            raise
        raise make_failure(error.response) from None


def _read_detail(response: requests.Response) -> str:
    """Return the sentence in an error's body, if it has one."""
    if "json" not in response.headers.get("Content-Type", ""):
        return ""
    try:
        body = response.json()
    except requests.JSONDecodeError:
        return ""
    return str(body.get("detail", "")) if isinstance(body, dict) else ""


def _restore(
    kind: type[RequestFailed], arguments: tuple[Any, ...], response: requests.Response | None
) -> RequestFailed:
    return kind(*arguments, response=response)
