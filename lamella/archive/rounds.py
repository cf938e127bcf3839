"""What is done again and again in the background, for as long as a process runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from lamella.errors import LamellaError

_NOTHING: Mapping[str, object] = {}


class Rounds:
    """Does something, pauses, and does it again; what fails is logged, and tried in the next round.

    Args:
        work: One round.
        every_s: The pause.
        logger: Is told what fails; the same error in rounds that follow each other, once.
        complaint: What the log says of a round that failed, such as `jobs wait`.
        details: What the log's lines have besides.
        pauses_first: Whether to begin with a pause.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[object]],
        every_s: float,
        logger: logging.Logger,
        complaint: str,
        *,
        details: Mapping[str, object] = _NOTHING,
        pauses_first: bool = False,
    ) -> None:
        self._work = work
        self._every_s = every_s
        self._logger = logger
        self._complaint = complaint
        self._details = details
        self._pauses_first = pauses_first
        self._trouble = ""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._go_round())

    async def stop(self) -> None:
        """Stop, in the midst of a round if need be."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _go_round(self) -> None:
        if self._pauses_first:
            await asyncio.sleep(self._every_s)
        while True:
            try:
                await self._work()
                self._trouble = ""
            except LamellaError as error:
                if error.detail != self._trouble:
                    self._complain(error.detail)
                self._trouble = error.detail
            except Exception:  # the next round may succeed, so this must not end here
                self._logger.exception(self._complaint, extra=dict(self._details))
            await asyncio.sleep(self._every_s)

    def _complain(self, detail: str) -> None:
        self._logger.error("%s: %s", self._complaint, detail, extra=dict(self._details))
