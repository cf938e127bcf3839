"""What is between a request and its sender is let go of when the request has been answered."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pytest

from lamella.errors import InvalidRequest, SenderStalled
from lamella.web.patience import MOST_AHEAD, Patience

SCOPE: Any = {"type": "http", "method": "POST"}


class Sender:
    """One that has sent a piece of a body, and nothing since."""

    def __init__(self) -> None:
        self.pieces = [b"a piece"]
        self.answer: list[Any] = []
        self.waiting: asyncio.Future[Any] | None = None

    async def receive(self) -> Any:
        if self.pieces:
            return {"type": "http.request", "body": self.pieces.pop(), "more_body": True}
        self.waiting = asyncio.get_running_loop().create_future()
        return await self.waiting

    async def send(self, message: Any) -> None:
        self.answer.append(message)


class Keeper:
    """An application that refers to what it was given for ever."""

    def __init__(self) -> None:
        self.ends: tuple[Any, Any] = (None, None)

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        self.ends = receive, send
        assert (await receive())["body"] == b"a piece"
        with pytest.raises(SenderStalled):
            await receive()
        await send({"type": "http.response.start", "status": 408})


async def test_nothing_refers_to_a_sender_that_was_answered() -> None:
    app, sender = Keeper(), Sender()
    await Patience(app, 0.01)(SCOPE, sender.receive, sender.send)
    assert sender.answer == [{"type": "http.response.start", "status": 408}]
    await asyncio.sleep(0)  # what was cancelled ends
    assert sender.waiting is not None
    assert sender.waiting.cancelled()
    gone = weakref.ref(sender)
    del sender
    assert gone() is None


async def test_a_body_that_breaks_off_is_an_invalid_request() -> None:
    piece = {"type": "http.request", "body": b"{", "more_body": True}
    messages = [piece, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        with pytest.raises(InvalidRequest):
            await receive()

    await Patience(app, 1)(SCOPE, receive, Sender().send)
    assert messages == []


async def test_who_still_asks_is_told_that_it_is_over() -> None:
    app, sender = Keeper(), Sender()
    await Patience(app, 0.01)(SCOPE, sender.receive, sender.send)
    receive, send = app.ends
    assert await receive() == {"type": "http.disconnect"}
    await send({"type": "http.response.body"})
    assert len(sender.answer) == 1


async def test_the_next_piece_is_asked_for_while_one_is_worked_on() -> None:
    asked = 0

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"piece", "more_body": asked < 3}

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        for number in (2, 3, 3):  # behind the last there is nothing to ask for
            await receive()
            await asyncio.sleep(0)
            assert asked == number

    await Patience(app, 1)(SCOPE, receive, Sender().send)


async def test_few_requests_hear_ahead_at_a_time() -> None:
    senders = [Sender() for _ in range(MOST_AHEAD + 4)]
    working = asyncio.Event()

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        await working.wait()

    patience = Patience(app, 0.01)
    requests = [asyncio.create_task(patience(SCOPE, s.receive, s.send)) for s in senders]
    while any(sender.pieces for sender in senders):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert sum(sender.waiting is not None for sender in senders) == MOST_AHEAD
    working.set()
    await asyncio.gather(*requests)
