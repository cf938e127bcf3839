"""Ranges of packs, straight from S3, by obstore: in the calling thread, without Python's lock."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from lamella.archive.packs.s3.credentials import Credentials
from lamella.archive.packs.s3.patience import Patience
from lamella.archive.packs.s3.place import BucketPlace
from lamella.errors import IntegrityError, OutOfResources

if TYPE_CHECKING:
    from obstore import GetOptions

KNOWN_ETAGS = 65_536
_OUTSIDE = "416 Range Not Satisfiable"  # obstore has no error of its own for it


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a pack.

    Attributes:
        view: The bytes; fewer than asked for only where the pack ends.
        pack_bytes: Size of the whole pack.
    """

    view: memoryview
    pack_bytes: int


class _Doubtful(Exception):
    """An answer that does not fit what was asked for, or what was answered before."""


class RangeReader:
    """Reads ranges, with retries. May be used from any number of threads.

    Args:
        place: Where the packs are.
        credentials: Who we are.
        patience: How often to ask.
    """

    def __init__(self, place: BucketPlace, credentials: Credentials, patience: Patience) -> None:
        self._place = place
        self._patience = patience
        self._etags = _Etags()
        authorities = credentials.read_authorities()
        self._store = S3Store(
            place.bucket,
            endpoint=place.endpoint_url,
            region=credentials.region,
            credential_provider=credentials.give,
            retry_config={"max_retries": 0},
            client_options={
                "allow_http": (place.endpoint_url or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=patience.connect_timeout_s),
                "read_timeout": timedelta(seconds=patience.read_timeout_s),
                "timeout": timedelta(seconds=patience.deadline_s),
                **({"root_certificate": authorities} if authorities else {}),
            },
        )

    def read(self, name: str, start: int, stop: int) -> Piece:
        """Return the bytes of a pack from `start` up to `stop`, or up to its end.

        Raises:
            IntegrityError: The pack is missing, ends before `start`, or is not what it was.
            OutOfResources: S3 does not answer, or refuses.
        """
        pauses = self._patience.draw_pauses()
        while True:
            try:
                return self._ask(name, start, stop)
            except (FileNotFoundError, NotFoundError) as error:
                raise IntegrityError(f"Pack {name} is missing.") from error
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise OutOfResources(f"S3 refuses to let pack {name} be read.") from error
            except (BaseError, OSError, _Doubtful) as error:
                if _OUTSIDE in str(error):
                    raise IntegrityError(
                        f"Pack {name} is shorter than its locations say."
                    ) from error
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise _give_up(name, error) from error
            time.sleep(pause_s)

    def _ask(self, name: str, start: int, stop: int) -> Piece:
        options: GetOptions = {"range": (start, stop)}
        answer = obstore.get(self._store, self._place.key_of(name), options=options)
        view = memoryview(answer.bytes())
        pack_bytes = answer.meta["size"]
        expected = (start, min(stop, pack_bytes))
        if tuple(answer.range) != expected or len(view) != expected[1] - expected[0]:
            raise _Doubtful("another range than was asked for")
        if not self._etags.agree(name, answer.meta["e_tag"]):
            raise _Doubtful("another ETag than before")
        return Piece(view, pack_bytes)


def _give_up(name: str, error: Exception) -> Exception:
    if isinstance(error, _Doubtful):
        return IntegrityError(f"S3 answers for pack {name} with {error}.")
    return OutOfResources(f"S3 does not answer: pack {name} cannot be read.")


class _Etags:
    """The ETag of each pack, which never changes: a pack's name is never used again.

    One that was seen once may have been a wrong answer; one that was seen twice is right.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, bool]] = OrderedDict()
        self._lock = threading.Lock()

    def agree(self, name: str, etag: str | None) -> bool:
        """Tell whether an answer's ETag is the pack's, as far as that is known."""
        if etag is None:
            return True
        with self._lock:
            known, is_sure = self._known.get(name, (etag, False))
            agrees = known == etag
            if agrees:
                self._known[name] = (etag, is_sure or name in self._known)
            elif not is_sure:
                self._known[name] = (etag, False)
            if len(self._known) > KNOWN_ETAGS:
                self._known.popitem(last=False)
        return agrees
