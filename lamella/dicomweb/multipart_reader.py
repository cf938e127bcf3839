"""An incremental splitter for multipart/related request bodies.

Parts come out while the body is still coming in, in pieces about as large as the chunks that
arrive, so memory stays flat however large a part is. It takes what the field sends: preamble
and epilogue, blanks after a boundary, parts without a Content-Length, parts without headers,
and bodies whose lines end in bare line feeds (only if the first delimiter line does: inside a
body with CRLF, `LF --boundary` is data).

Source:
    RFC 2046 §5.1.1 (grammar), RFC 2387 (multipart/related), PS3.18 §8.6.1.2.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from lamella.dicomweb.media_types import MediaType
from lamella.errors import InvalidRequest, TooLarge, UnsupportedMediaType

MAX_HEADER_BYTES = 16384
MAX_BOUNDARY_LENGTH = 200
_MAX_PADDING = 256
_TRUNCATED = "The multipart body ends before its closing boundary."
_LINE_REST = re.compile(rb"[ \t]*(\r?\n)")
_UNFINISHED_LINE = re.compile(rb"[ \t]*\r?\Z|-\Z")
_HEADER_END = re.compile(rb"\r?\n(?=(\r?\n))")
_BLANK_LINE = re.compile(rb"\r?\n")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def boundary_of(content_type: MediaType) -> bytes:
    """Return the boundary of a multipart/related body.

    Raises:
        UnsupportedMediaType: The type is something else.
        InvalidRequest: It has no usable boundary.

    Source:
        RFC 2046 §5.1.1 (whose limit of 70 characters is not enforced).
    """
    if content_type.essence != "multipart/related":
        raise UnsupportedMediaType("The request body is not multipart/related.")
    boundary = content_type.parameter("boundary") or ""
    is_sound = 0 < len(boundary) <= MAX_BOUNDARY_LENGTH and not boundary.endswith(" ")
    if not is_sound or not re.fullmatch(r"[\x20-\x7e]+", boundary):
        raise InvalidRequest("The multipart Content-Type has no usable boundary.")
    return boundary.encode("ascii")


@dataclass(frozen=True)
class Part:
    """One part of a multipart body; its body can be read once, before the next part.

    Attributes:
        headers: Values by lower-case name.
    """

    headers: dict[str, str]
    _splitter: _Splitter

    async def chunks(self) -> AsyncIterator[memoryview]:
        """Yield the body in the pieces in which it arrives; none if it is empty.

        Raises:
            InvalidRequest: The request ends before the part does.
        """
        while self._splitter.part is self:
            piece = await self._splitter.read_piece()
            if piece is None:
                return
            yield piece

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body of a part that should be small.

        Raises:
            TooLarge: It is longer than `limit_bytes`.
            InvalidRequest: The request ends before the part does.
        """
        pieces: list[memoryview] = []
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit_bytes:
                raise TooLarge(f"A part of the request is longer than {limit_bytes} bytes.")
            pieces.append(piece)
        return b"".join(pieces)


async def read_parts(chunks: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[Part]:
    """Yield the parts of a multipart body as they arrive.

    What a caller leaves unread of a part is skipped when it asks for the next one. The epilogue
    is read to its end and dropped, so that the connection can be used again.

    Args:
        chunks: The request body in pieces of any size.
        boundary: Without its leading hyphens, from `boundary_of`.

    Raises:
        InvalidRequest: No delimiter, a malformed or too large header block, or a body that ends
            before its closing delimiter.
    """
    splitter = _Splitter(chunks, boundary)
    await splitter.skip_preamble()
    while not splitter.is_closed:
        part = Part(await splitter.read_headers(), splitter)
        splitter.part = part
        yield part
        while await splitter.read_piece() is not None:
            pass
    await splitter.skip_rest()


class _Splitter:
    """The state between chunks: bytes not yet given out, and where the search goes on.

    Pieces are views into what arrived: of a chunk that holds no delimiter nothing is copied but
    what may be the begin of one.
    """

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self.part: Part | None = None
        self.is_closed = False
        self._chunks = chunks
        self._dash_boundary = b"--" + boundary
        self._delimiter = b"\r\n" + self._dash_boundary
        self._buffer = b""
        self._position = 0
        self._searched = 0
        # Bytes at the front of the buffer that belong to the header block's last line end; they
        # stay there because they may also be the line end that opens the next delimiter.
        self._borrowed = 0

    async def _fill(self) -> bool:
        """Append the next chunk that holds anything; False at the end of the request.

        What has been given out is cut off, so positions in the buffer change.
        """
        async for chunk in self._chunks:
            if chunk:
                rest = self._buffer[self._position :]
                self._buffer = rest + chunk if rest else chunk
                self._searched = max(0, self._searched - self._position)
                self._position = 0
                return True
        return False

    async def _fill_or_fail(self) -> None:
        if not await self._fill():
            raise InvalidRequest(_TRUNCATED)

    async def skip_preamble(self) -> None:
        """Drop everything up to and including the first delimiter line."""
        mark = self._dash_boundary
        while True:
            index = self._buffer.find(mark, self._searched)
            if index < 0:
                # One byte more than the mark is kept: the line end before it has to be seen.
                self._position = max(self._position, len(self._buffer) - len(mark))
                self._searched = self._position + 1 if self._position else 0
                if not await self._fill():
                    raise InvalidRequest("The multipart body has no boundary.")
            elif index and self._buffer[index - 1 : index] != b"\n":
                self._searched = index + 1
            else:
                offset = index - self._position
                line_end = await self._finish_delimiter(index + len(mark))
                if line_end is not None:
                    if line_end == b"\n":
                        self._delimiter = b"\n" + mark
                    return
                self._searched = self._position + offset + 1

    async def _finish_delimiter(self, end: int) -> bytes | None:
        """Consume the rest of a delimiter line.

        Args:
            end: Where the boundary's text ends in the buffer.

        Returns:
            The line end, or b"" for the closing delimiter; None if this is no delimiter.
        """
        while True:
            if self._buffer.startswith(b"--", end):
                self.is_closed = True
                self._move_to(end + 2)
                return b""
            match = _LINE_REST.match(self._buffer, end, end + _MAX_PADDING)
            if match:
                self._move_to(match.end())
                return match[1]
            rest = self._buffer[end : end + _MAX_PADDING]
            if len(rest) == _MAX_PADDING or not _UNFINISHED_LINE.match(rest):
                return None
            end -= self._position
            await self._fill_or_fail()

    def _move_to(self, position: int) -> None:
        self._position = self._searched = position

    async def read_headers(self) -> dict[str, str]:
        """Consume the header block of a part and return it by lower-case name."""
        while True:
            start, limit = self._position, self._position + MAX_HEADER_BYTES
            blank = _BLANK_LINE.match(self._buffer, start)
            if blank:
                self._borrowed = blank.end() - start
                return {}
            end = _HEADER_END.search(self._buffer, start, limit)
            stop = self._buffer.find(self._delimiter, start, limit)
            if end and not 0 <= stop < end.start():
                block = self._buffer[start : end.start()]
                self._move_to(end.end())
                self._borrowed = len(end[1])
                return _parse_headers(block)
            if stop >= 0:
                # No blank line, no body: the delimiter ends the header block.
                block = self._buffer[start:stop]
                self._move_to(stop)
                return _parse_headers(block)
            if len(self._buffer) >= limit:
                raise InvalidRequest("A part's header block is too large or has no end.")
            await self._fill_or_fail()

    async def read_piece(self) -> memoryview | None:
        """Return the next piece of the current part's body, or None at its end."""
        while self.part is not None:
            index = self._buffer.find(self._delimiter, self._searched)
            start = self._position + self._borrowed
            if index < 0:
                # What may be the start of a delimiter stays.
                end = max(self._position, len(self._buffer) - len(self._delimiter) + 1)
                if end > start:
                    return self._take(end)
                self._searched = max(self._searched, end)
                await self._fill_or_fail()
                continue
            if index > start:
                # The next call finds the delimiter again at once, at the front of what is left.
                return self._take(index)
            offset = index - self._position
            if await self._finish_delimiter(index + len(self._delimiter)) is not None:
                self.part, self._borrowed = None, 0
                return None
            # A longer boundary that starts like ours: data.
            end = self._position + offset + 1
            if offset + 1 > self._borrowed:
                return self._take(end)
            self._searched = end
        return None

    def _take(self, end: int) -> memoryview:
        """Return the buffer's bytes up to `end`, without borrowed ones, and step over them."""
        piece = memoryview(self._buffer)[self._position + self._borrowed : end]
        self._move_to(end)
        self._borrowed = 0
        return piece

    async def skip_rest(self) -> None:
        """Read the epilogue to its end."""
        async for _ in self._chunks:
            pass


def _parse_headers(block: bytes) -> dict[str, str]:
    """Return header fields by lower-case name; folded lines are joined.

    Raises:
        InvalidRequest: A line is no header field.
    """
    headers: dict[str, str] = {}
    name = ""
    for line in block.decode("latin-1").split("\n"):
        text = line.rstrip("\r")
        if text[:1] in (" ", "\t") and name:
            headers[name] += " " + text.strip(" \t")
            continue
        key, colon, value = text.partition(":")
        if not colon or not _HEADER_NAME.fullmatch(key.rstrip(" \t")):
            raise InvalidRequest("A part's header block has a malformed line.")
        name = key.rstrip(" \t").lower()
        value = value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
