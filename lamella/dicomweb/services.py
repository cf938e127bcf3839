"""What web handlers work with, put on the application by the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from lamella.archive.derived_cache import DerivedCache
from lamella.archive.fragments import Fragment, FragmentWriter
from lamella.archive.frames import FrameTable
from lamella.archive.query import Query
from lamella.dicomweb.renditions import FOLDER as RENDITIONS_FOLDER
from lamella.dicomweb.renditions import Renditions
from lamella.imaging.pool import DecoderPool
from lamella.settings import Settings
from lamella.vcs.cache import LeastRecent
from lamella.vcs.repository import Repository
from lamella.vcs.stored import Document

if TYPE_CHECKING:
    from litestar import Request

    from lamella.dicomweb.known_answers import AnswerKey, KnownAnswer


DOCUMENT_CACHE_BYTES = 3 << 20
FRAME_TABLE_CACHE_BYTES = 2 << 20  # of 5,000 slices
OPENED_SERIES = 256
FRAGMENT_CACHE_BYTES = 8 << 20
BODY_CACHE_BYTES = 8 << 20
KNOWN_ANSWER_BYTES = 2 << 20  # 800 answers

KNOWN_PAGE_ROWS = 8192  # of 350 bytes each, about

PageKey = tuple[int, int, Query]
"""Dataset, visible set, and what was searched for in it."""


@dataclass(frozen=True, slots=True)
class KnownPage:
    """The rows that a search for studies or series has found.

    Attributes:
        rows: Key and identity of each row, as of `catalog_rows.Row`.
    """

    rows: tuple[tuple[tuple[str, str], tuple[int, int]], ...]
    has_more: bool


BodyKey = tuple[int, tuple[tuple[str, bytes], ...], str]
"""Dataset, URL and node of each series, coding asked for."""


@dataclass(frozen=True, slots=True)
class Body:
    """The metadata of series as they are sent.

    Attributes:
        coding: Content coding, '' for none.
    """

    coding: str
    data: bytes


class Chores:
    """Work that goes on when its request has been answered."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin; the event loop alone would let go of it half-way."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Queue(Protocol):
    """What tells runners about work."""

    async def check(self) -> None:
        """Return if it takes messages now.

        Raises:
            OutOfResources: It does not.
        """


@dataclass(frozen=True, slots=True)
class Services:
    """The house, as a web handler sees it.

    Attributes:
        queue: What work in the background waits in besides the database, if there is such.
        documents: Derived data of instances that were decoded or rendered lately, by dataset
            and key; they never change.
        frame_tables: Where the frames of instances lie, likewise.
        opened_series: Whose frames were asked for lately, by dataset, study and series.
        reading_ahead: Held while the frame tables of a series are read.
        fragments: Search results of catalog rows, by form, dataset and row; they never change.
        pages: What was found in visible sets, which never change.
        renditions: What was made of instances, and is being made.
        bodies: Metadata of series, ready to be sent; nodes and URLs in their names say what of.
        known_answers: What was answered lately and can be answered again without a look at it.
        assembly: Held while such a body is made: what many clients wait for is made once, and
            one at a time for the sake of memory.
        composing: Held while a store's metadata are in memory, for the same reason.
        chores: What is done after an answer.
    """

    repository: Repository
    settings: Settings
    queue: Queue | None = None
    decoders: DecoderPool = field(default_factory=DecoderPool)
    documents: LeastRecent[tuple[int, bytes], Document] = field(
        default_factory=lambda: LeastRecent(DOCUMENT_CACHE_BYTES)
    )
    frame_tables: LeastRecent[tuple[int, bytes], FrameTable] = field(
        default_factory=lambda: LeastRecent(FRAME_TABLE_CACHE_BYTES)
    )
    opened_series: LeastRecent[tuple[int, str, str], bool] = field(
        default_factory=lambda: LeastRecent(OPENED_SERIES)
    )
    reading_ahead: asyncio.Lock = field(default_factory=asyncio.Lock)
    fragments: LeastRecent[tuple[FragmentWriter, int, tuple[int, int]], Fragment] = field(
        default_factory=lambda: LeastRecent(FRAGMENT_CACHE_BYTES)
    )
    pages: LeastRecent[PageKey, KnownPage] = field(
        default_factory=lambda: LeastRecent(KNOWN_PAGE_ROWS)
    )
    renditions: Renditions = field(init=False)
    bodies: LeastRecent[BodyKey, Body] = field(
        default_factory=lambda: LeastRecent(BODY_CACHE_BYTES)
    )
    known_answers: LeastRecent[AnswerKey, KnownAnswer] = field(
        default_factory=lambda: LeastRecent(KNOWN_ANSWER_BYTES)
    )
    assembly: asyncio.Lock = field(default_factory=asyncio.Lock)
    composing: asyncio.Lock = field(default_factory=asyncio.Lock)
    chores: Chores = field(default_factory=Chores)

    def __post_init__(self) -> None:
        folder = self.repository.archive.cache_folder / RENDITIONS_FOLDER
        object.__setattr__(self, "renditions", Renditions(DerivedCache(folder)))


def services_of(request: Request[Any, Any, Any]) -> Services:
    """Return the services of the application that a request came to."""
    return cast(Services, request.app.state["services"])
