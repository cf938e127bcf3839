"""What a process of the decoder pool runs: frames in on stdin, native frames out on stdout.

A message is a header of two lengths, a JSON object and bytes. The process ends when its stdin
does, so it cannot outlive the server. It imports numpy and, on first use, one codec.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any, BinaryIO

from lamella.errors import LamellaError
from lamella.imaging.decoders import PixelDescription, decode_frame

MESSAGE_HEADER = struct.Struct("<IQ")


def pack_message(fields: dict[str, Any], payload: bytes) -> tuple[bytes, bytes]:
    """Return a message as (header with fields, payload), so that the payload is not copied."""
    text = json.dumps(fields).encode()
    return MESSAGE_HEADER.pack(len(text), len(payload)) + text, payload


def _answer(fields: dict[str, Any], codestream: bytes) -> tuple[bytes, bytes]:
    try:
        frame = decode_frame(codestream, PixelDescription(**fields))
    except LamellaError as error:
        return pack_message({"error": type(error).__name__, "detail": error.detail}, b"")
    photometric = frame.photometric_interpretation
    return pack_message({"photometric_interpretation": photometric}, frame.data)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more.

    Args:
        requests: Messages whose fields are those of `PixelDescription`, their payload a codestream.
        answers: Gets one message a request: a native frame, or the name of an error.
    """
    while len(head := requests.read(MESSAGE_HEADER.size)) == MESSAGE_HEADER.size:
        text_length, payload_length = MESSAGE_HEADER.unpack(head)
        fields = json.loads(requests.read(text_length))
        for piece in _answer(fields, requests.read(payload_length)):
            answers.write(piece)
        answers.flush()


def main() -> None:
    """Serve on stdin and stdout; what codecs print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
