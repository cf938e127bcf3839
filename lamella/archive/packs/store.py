"""The protocol of a pack store: adopt a spool file, append a block, read ranges, list, delete."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from lamella.archive.blocks import Block

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PackInfo:
    """One pack as its store sees it.

    Attributes:
        modified_us: When it was written last, by the store's clock.
    """

    name: str
    size_bytes: int
    modified_us: int


@dataclass(frozen=True, slots=True)
class PackRange:
    """A part of a pack."""

    pack_name: str
    offset_bytes: int
    length_bytes: int

    @property
    def end_bytes(self) -> int:
        """Where it ends."""
        return self.offset_bytes + self.length_bytes


def name_pack() -> str:
    """Return a new pack name: 128 random bits in hex."""
    return secrets.token_hex(16)


class PackStore(ABC):
    """Where packs live. All methods may be called from several tasks at once.

    Attributes:
        pack_bytes: When a unit has brought so much, what follows goes into another pack, so that
            gc can free parts of it.
        adopts_at_once: How many packs of a unit are best handed over at the same time.
        works_in_threads: Whether what writes may run without an event loop (`threads.run_here`).
    """

    pack_bytes: int = 64 << 20
    adopts_at_once: int = 1
    works_in_threads: bool = False

    @abstractmethod
    async def adopt(self, name: str, spool: Path) -> None:
        """Take over a spool file as pack `name`; durable when this returns.

        Raises:
            OutOfResources: There is no room, or the store does not answer.
        """

    @abstractmethod
    async def append(self, block: Block, length_bytes: int) -> PackRange:
        """Keep the first bytes of a block, maybe in a pack with others; durable on return.

        A cancelled caller waits until the block is no longer read, and keeps nothing.

        Raises:
            OutOfResources: There is no room, or the store does not answer.
        """

    def begin_append(self, block: Block, length_bytes: int) -> Future[PackRange] | None:
        """Like `append`, but wait for nothing: the future has the range once it is durable.

        The block must stay as it is until then. The future raises OSError.

        Returns:
            None if this store cannot: use `append`.
        """
        return None

    @abstractmethod
    async def release(self, found: PackRange) -> None:
        """Take back a range from `append` that no row names and none will."""

    @abstractmethod
    async def read(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Return exactly `length_bytes` bytes of a pack.

        Raises:
            IntegrityError: The pack is missing or too short.
        """

    @abstractmethod
    def read_now(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Like `read`, in the calling thread: for codecs and parsers that run in one.

        Raises:
            IntegrityError: The pack is missing or too short.
        """

    def read_stored(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Like `read_now`, past whatever is kept of packs elsewhere: for those who check packs.

        Raises:
            IntegrityError: The pack is missing or too short.
        """
        return self.read_now(name, offset_bytes, length_bytes)

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Remove a pack; one that is not there is no error."""

    async def is_growing(self, name: str) -> bool:
        """Tell whether some process may still append to a pack; never again once it may not.

        Only where packs can grow.
        """
        return False

    async def discard(self, name: str) -> None:
        """Remove a pack that no row names and none will; a store out of reach may keep it."""
        await self.delete(name)

    @abstractmethod
    async def put_beside(self, name: str, path: Path) -> None:
        """Keep a copy of a file beside the packs, in place of one of that name; durable on return.

        Args:
            name: Its path from the root of the storage on; no pack's.
            path: The file, which stays.

        Raises:
            OutOfResources: There is no room, or the store does not answer.
        """

    @abstractmethod
    async def remove_beside(self, name: str) -> None:
        """Remove what `put_beside` kept; what is not there is no error."""

    @abstractmethod
    def list(self) -> AsyncIterator[PackInfo]:
        """Yield every pack, in no particular order."""

    @abstractmethod
    async def check(self) -> None:
        """Raise OutOfResources unless the store would take a pack now."""

    async def remove_leftovers(self) -> int:
        """Remove what writers left that were cut off long ago; return how much that was.

        Raises:
            OutOfResources: The store does not answer.
        """
        return 0

    async def close(self) -> None:
        """Let go of what the store holds open; nothing, unless a backend says otherwise."""
        return None

    async def stream(self, name: str, offset_bytes: int, length_bytes: int) -> AsyncIterator[bytes]:
        """Yield a range in chunks of at most 1 MiB.

        Raises:
            IntegrityError: The pack is missing or too short.
        """
        end = offset_bytes + length_bytes
        for start in range(offset_bytes, end, CHUNK_BYTES):
            yield await self.read(name, start, min(CHUNK_BYTES, end - start))
