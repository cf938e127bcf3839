"""The client's own book of what it sent and what it was told, kept outside the server."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Door(Enum):
    """The way an instance goes in."""

    STOW = "stow"
    C_STORE = "c-store"
    IMPORT = "import"


@dataclass(frozen=True)
class Sample:
    """One version of one instance, as its sender has it.

    Attributes:
        file: A Part 10 file.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    file: bytes

    def digest(self, door: Door) -> str:
        """Return what the archive must give back, as a digest: by C-STORE no file meta comes."""
        return digest_file(self.file, door)


class Fate(Enum):
    """What became of a request, as far as its sender knows."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CUT = "cut"


@dataclass
class Request:
    """One request: a STOW, one C-STORE, or one import."""

    number: int
    door: Door
    samples: Sequence[Sample]
    fate: Fate = Fate.OPEN


@dataclass
class Ledger:
    """All requests, in the order they began; used from many threads.

    An instance is sent by one thread only, so its versions have an order.
    """

    requests: list[Request] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, door: Door, samples: Sequence[Sample]) -> Request:
        """Note a request that is about to be sent."""
        with self._lock:
            request = Request(len(self.requests), door, samples)
            self.requests.append(request)
            return request

    def end(self, request: Request, fate: Fate) -> None:
        """Note what the sender was told, or that it was told nothing."""
        with self._lock:
            request.fate = fate

    def complain(self, trouble: str) -> None:
        """Note an answer that no server should give."""
        with self._lock:
            self.troubles.append(trouble)

    def list_open(self, *doors: Door) -> list[Request]:
        """Return the requests under way by these doors."""
        with self._lock:
            return [one for one in self.requests if one.fate is Fate.OPEN and one.door in doors]

    def since(self, number: int) -> list[Request]:
        """Return the requests from a number on."""
        with self._lock:
            return self.requests[number:]

    def list_acceptable(self) -> dict[str, tuple[Door, list[str], bool]]:
        """Return, for each instance: its door, the digests it may have now, whether it must be.

        It may be as it was last acknowledged, or as any later request that was cut off has it.
        """
        found: dict[str, tuple[Door, list[str], bool]] = {}
        for request in self.since(0):
            for sample in request.samples:
                digest = sample.digest(request.door)
                if request.fate is Fate.ACKNOWLEDGED:
                    found[sample.sop_uid] = (request.door, [digest], True)
                else:
                    door, digests, must = found.get(sample.sop_uid, (request.door, [], False))
                    found[sample.sop_uid] = (door, [*digests, digest], must)
        return found


def digest_file(file: bytes, door: Door) -> str:
    """Return the SHA-256 of a file; of its data set alone where the archive made the file meta.

    Source:
        PS3.10 §7.1.
    """
    start = 0
    if door is Door.C_STORE:
        (length,) = struct.unpack_from("<I", file, 140)
        start = 144 + length
    return hashlib.sha256(file[start:]).hexdigest()
