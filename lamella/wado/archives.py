"""Instances as one zip archive, written while it is sent.

Nothing is compressed: pixels that can be made smaller mostly are, and the archive is to be made
as fast as it is sent. The same commit gives the same bytes: names and times do not depend on when
it is asked for.

Source:
    PS3.18 §8.7.3 and Supplement 211 (application/zip); rule of transfer syntaxes as for
    `transfer-syntax=*`.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from lamella.dicomweb.answers import Answer
from lamella.dicomweb.media_types import MediaRange
from lamella.dicomweb.negotiation import InstanceAnswer
from lamella.dicomweb.pinned import Pinned
from lamella.errors import NotAcceptable
from lamella.vcs.selection import Selected
from lamella.wado.instances import Plan, open_outgoing, plan_instances

ZIP = "application/zip"
_AS_STORED = InstanceAnswer(False, "*")


class _Sink(io.RawIOBase):
    """Takes what a `ZipFile` writes, and gives it on; nothing can be sought in it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        """Return what was written since."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def wants_archive(accept: Sequence[MediaRange]) -> bool:
    """Return whether a zip archive is what the client wants most."""
    return bool(accept) and accept[0].essence == ZIP and accept[0].weight > 0


async def answer_archive(pinned: Pinned, selected: Sequence[Selected]) -> Answer:
    """Return instances as files of one archive, `{study}/{series}/{instance}.dcm`.

    Raises:
        NotAcceptable: None of them can go out.
    """
    headers = pinned.headers(ZIP)
    if pinned.is_fresh(headers):
        return Answer(304, headers)
    plans = await plan_instances(pinned, selected, (_AS_STORED,))
    if not plans:
        raise NotAcceptable("None of these instances can be put into an archive.")
    status = 200 if len(plans) == len(selected) else 206
    return Answer(status, [*headers, ("content-type", ZIP)], _write(pinned, plans))


async def _write(pinned: Pinned, plans: Sequence[Plan]) -> AsyncIterator[bytes]:
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_STORED) as archive:
        for plan in plans:
            outgoing = await open_outgoing(pinned, plan)
            _, study, _, series, _, instance = plan.instance.path
            with archive.open(
                ZipInfo(f"{study}/{series}/{instance}.dcm"), "w", force_zip64=True
            ) as file:
                async for chunk in outgoing.chunks:
                    file.write(chunk)
                    yield sink.take()
    yield sink.take()
