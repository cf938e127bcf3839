"""What a process of the decoder pool runs: tasks in on stdin, their results out on stdout.

A message is a header of two numbers, a JSON object, and as many payloads as the header says, each
behind its length. The process ends when its stdin does, so it cannot outlive the server. It
imports numpy and, on first use, what a task needs.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from lamella.errors import BrokenInstance, LamellaError
from lamella.imaging.decoders import PixelDescription, decode_frame

MESSAGE_HEADER = struct.Struct("<II")
PAYLOAD_HEADER = struct.Struct("<Q")

Fields = dict[str, Any]
Task = Callable[[Fields, Iterator[bytes]], tuple[Fields, bytes]]
# What codecs and numpy raise on attributes and bytes that contradict each other.
_BROKEN = (
    ValueError,
    TypeError,
    RuntimeError,
    ArithmeticError,
    LookupError,
    MemoryError,
    OSError,
    zlib.error,
)


def pack_message(fields: Fields, n_payloads: int) -> bytes:
    """Return the start of a message; each payload follows as `PAYLOAD_HEADER` and bytes."""
    text = json.dumps(fields).encode()
    return MESSAGE_HEADER.pack(len(text), n_payloads) + text


def _decode(fields: Fields, payloads: Iterator[bytes]) -> tuple[Fields, bytes]:
    frame = decode_frame(next(payloads), PixelDescription(**fields["pixel"]))
    return {"photometric_interpretation": frame.photometric_interpretation}, frame.data


def _render(fields: Fields, payloads: Iterator[bytes]) -> tuple[Fields, bytes]:
    from lamella.imaging.rendering.renderer import render_picture

    return {}, render_picture(fields, payloads)


def _animate(fields: Fields, payloads: Iterator[bytes]) -> tuple[Fields, bytes]:
    from lamella.imaging.rendering.movies import render_movie

    return {}, render_movie(fields, payloads)


def _plot(fields: Fields, payloads: Iterator[bytes]) -> tuple[Fields, bytes]:
    from lamella.imaging.rendering.waveforms import render_waveform

    return {}, render_waveform(fields, payloads)


def _encode(fields: Fields, payloads: Iterator[bytes]) -> tuple[Fields, bytes]:
    from lamella.imaging.encoders import encode_frame

    pixel = PixelDescription(**fields["pixel"])
    frame = encode_frame(next(payloads), pixel, fields["target"])
    return {"photometric_interpretation": frame.photometric_interpretation}, frame.data


TASKS: dict[str, Task] = {
    "decode": _decode,
    "encode": _encode,
    "render": _render,
    "animate": _animate,
    "plot": _plot,
}


def _answer(fields: Fields, payloads: Iterator[bytes]) -> tuple[Fields, bytes]:
    try:
        with _heed_ignored_errors():
            return TASKS[fields["task"]](fields, payloads)
    except LamellaError as error:
        return {"error": type(error).__name__, "detail": error.detail}, b""
    except _BROKEN as error:
        detail = f"A frame cannot be worked on ({type(error).__name__})."
        return {"error": BrokenInstance.__name__, "detail": detail}, b""


@contextmanager
def _heed_ignored_errors() -> Iterator[None]:
    """Let a task fail of an error that a codec ignores.

    OpenJPH's in imagecodecs is one: what it has not decoded of a frame by then is missing from the
    picture, which looks like one all the same.

    Raises:
        RuntimeError: An error was ignored.
    """
    ignored: list[str] = []

    def note(told: Any) -> None:
        ignored.append(told.exc_type.__name__)

    before, sys.unraisablehook = sys.unraisablehook, note
    try:
        yield
    finally:
        sys.unraisablehook = before
    if ignored:
        raise RuntimeError(f"a codec ignored {ignored[0]}")


def _read_payloads(requests: BinaryIO, count: int) -> Iterator[bytes]:
    for _ in range(count):
        (length,) = PAYLOAD_HEADER.unpack(requests.read(PAYLOAD_HEADER.size))
        yield requests.read(length)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more.

    Args:
        requests: Messages whose fields name a task and what it needs.
        answers: Gets one message a request: a result, or the name of an error.
    """
    while len(head := requests.read(MESSAGE_HEADER.size)) == MESSAGE_HEADER.size:
        text_length, count = MESSAGE_HEADER.unpack(head)
        fields = json.loads(requests.read(text_length))
        payloads = _read_payloads(requests, count)
        result, payload = _answer(fields, payloads)
        for _ in payloads:
            pass  # what a task that failed left over
        answers.write(pack_message(result, 1) + PAYLOAD_HEADER.pack(len(payload)))
        answers.write(payload)
        answers.flush()


def main() -> None:
    """Serve on stdin and stdout; what codecs print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
