"""Identifier maps: which UID and which patient became which, sealed, for those allowed.

A map grows by pieces, each compressed and sealed by a key that the project's secret yields, with
its place in the file as context: pieces cannot be read without the project key, nor dropped from
the middle, nor moved. A piece that a power cut left unfinished is cut off by the next writer.
Whoever deletes a project key has deleted its maps, wherever copies of them are.

    FOLDER/maps/DATASET/KEY.uid.map    FOLDER/maps/DATASET/KEY.patient.map
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TextIO, get_args

import msgspec
import zstandard

from lamella.deid.private_files import OWNER_ONLY, locked, make_private_folder
from lamella.deid.sealing import derive_key, seal, unseal
from lamella.errors import InvalidRequest, OutOfResources, ResourceNotFound

if TYPE_CHECKING:
    from lamella.deid.keys import ProjectKey

Kind = Literal["uid", "patient"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PIECE_PAIRS = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LENGTH_BYTES = 4
_MOST_PIECE_BYTES = 1 << 28

Pair = tuple[str, str]


class IdentifierMap:
    """The map of one kind, of one destination dataset, under one key.

    Args:
        folder: The keyring's.
        dataset: The destination's name.
        key: The project key the identifiers were made with.
        kind: `uid` or `patient`.

    Raises:
        InvalidRequest: The name can be no dataset's.
    """

    def __init__(self, folder: Path, dataset: str, key: ProjectKey, kind: Kind) -> None:
        if not _NAME.fullmatch(dataset):
            raise InvalidRequest(f"{dataset!r} is no name of a dataset.")
        self._path = folder / "maps" / dataset / f"{key.id}.{kind}.map"
        self._seal_key = derive_key(key.secret, f"{kind} map of {dataset}")
        self._end, self._count = 0, 0  # as far as this writer knows the file: bytes and pieces

    def append(self, pairs: Iterable[Pair]) -> int:
        """Add pairs (old, new), durable when this returns; return how many.

        A pair may be added again; `read` yields each once.

        Raises:
            OutOfResources: They cannot be written.
        """
        make_private_folder(self._path.parent)
        with locked(self._path.parent):
            try:
                return self._append(sorted(set(pairs)))
            except OSError as error:
                raise OutOfResources(
                    f"{self._path} cannot be written: {error.strerror}."
                ) from error

    def read(self) -> Iterator[Pair]:
        """Yield each pair once, in the order of their coming.

        Raises:
            ResourceNotFound: There is no such map.
            SealBroken: It was changed.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            raise ResourceNotFound("No map is kept for this dataset and key.") from None
        seen: set[str] = set()
        with file:
            for number, (_, sealed) in enumerate(_split(file)):
                raw = zstandard.decompress(unseal(self._seal_key, sealed, _name_place(number)))
                for pair in msgspec.msgpack.decode(raw, type=list[Pair]):
                    if pair[0] not in seen:
                        seen.add(pair[0])
                        yield pair

    def _append(self, pairs: list[Pair]) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        with os.fdopen(os.open(self._path, flags, OWNER_ONLY), "r+b") as file:
            end, number = self._find_end(file)
            file.truncate(end)
            file.seek(end)
            for start in range(0, len(pairs), PIECE_PAIRS):
                raw = msgspec.msgpack.encode(pairs[start : start + PIECE_PAIRS])
                sealed = seal(self._seal_key, zstandard.compress(raw), _name_place(number))
                file.write(len(sealed).to_bytes(_LENGTH_BYTES) + sealed)
                number += 1
            file.flush()
            os.fsync(file.fileno())
            self._end, self._count = file.tell(), number
        return len(pairs)

    def _find_end(self, file: BinaryIO) -> tuple[int, int]:
        """Return where the last whole piece ends, and how many there are.

        A run adds to its map thousands of times, so what it knows is not read again: pieces are
        only ever added, and what is shorter than it was is somebody else's file.
        """
        if os.fstat(file.fileno()).st_size < self._end:
            self._end, self._count = 0, 0
        file.seek(self._end)
        end, number = self._end, self._count
        for length, _ in _split(file):
            end, number = self._end + length, number + 1
        return end, number


def list_maps(folder: Path, dataset: str) -> list[tuple[str, Kind]]:
    """Return the key ids and kinds of a dataset's maps, sorted."""
    found: list[tuple[str, Kind]] = []
    for kind in KINDS:
        suffix = f".{kind}.map"
        paths = (folder / "maps" / dataset).glob(f"*{suffix}")
        found.extend((path.name.removesuffix(suffix), kind) for path in paths)
    return sorted(found)


def write_csv(pairs: Iterable[Pair], stream: TextIO) -> int:
    """Write a map as the MIDI-B scorer reads it; return how many lines follow the first."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id_old", "id_new"])
    count = 0
    for pair in pairs:
        writer.writerow(pair)
        count += 1
    return count


def _split(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (where it ends, sealed piece) of each whole piece; ends count from the first."""
    end = 0
    while True:
        head = file.read(_LENGTH_BYTES)
        length = int.from_bytes(head)
        if len(head) < _LENGTH_BYTES or length > _MOST_PIECE_BYTES:
            return
        sealed = file.read(length)
        if len(sealed) < length:
            return
        end += _LENGTH_BYTES + length
        yield end, sealed


def _name_place(number: int) -> bytes:
    return f"piece {number}".encode("ascii")
