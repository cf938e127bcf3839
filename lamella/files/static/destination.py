"""Where a static export goes: a folder here; `bucket` has S3."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lamella.archive.threads import run_in_thread
from lamella.dicomweb.answers import compress_all
from lamella.errors import OutOfResources
from lamella.files.static.layout import DICOM_JSON_TYPE

COPY_BYTES = 1 << 20


class Destination(ABC):
    """A tree of files, named by paths with slashes. A file appears whole or not at all."""

    @abstractmethod
    async def read(self, name: str) -> bytes | None:
        """Return a file, or None if there is none.

        Raises:
            OutOfResources: The destination does not answer.
        """

    @abstractmethod
    async def write(self, name: str, body: IO[bytes], content_type: str) -> None:
        """Write a file in place of what is there.

        Args:
            name: Of the file.
            body: What is to be in it, from the beginning on.
            content_type: What a web server is to call it.

        Raises:
            OutOfResources: There is no room, or the destination does not answer.
        """

    @abstractmethod
    async def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it; one that is not there is no error.

        Raises:
            OutOfResources: It cannot be removed.
        """

    @abstractmethod
    async def is_empty(self) -> bool:
        """Tell whether there is nothing.

        Raises:
            OutOfResources: The destination cannot be used.
        """

    async def close(self) -> None:
        """Let go of what is held open."""
        return None


class FolderDestination(Destination):
    """A folder. DICOM JSON is there twice, plain and with `.gz` behind its name.

    Args:
        folder: It is made when the first file is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, name: str) -> bytes | None:
        try:
            return await run_in_thread((self._folder / name).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _explain(error) from error

    async def write(self, name: str, body: IO[bytes], content_type: str) -> None:
        try:
            await run_in_thread(self._write, self._folder / name, body, is_dicom_json(content_type))
        except OSError as error:
            raise _explain(error) from error

    async def remove(self, folder: str) -> None:
        try:
            await run_in_thread(shutil.rmtree, self._folder / folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _explain(error) from error

    async def is_empty(self) -> bool:
        try:
            return not self._folder.exists() or not any(self._folder.iterdir())
        except OSError as error:
            raise _explain(error) from error

    def _write(self, path: Path, body: IO[bytes], is_compressed: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_compressed:
            packed = compress_all(iterate_chunks(body))
            _put(path.with_name(f"{path.name}.gz"), packed)
        _put(path, iterate_chunks(body))


def is_dicom_json(content_type: str) -> bool:
    """Tell whether a file is one that clients read as JSON, which is worth compressing."""
    return content_type == DICOM_JSON_TYPE


def iterate_chunks(body: IO[bytes]) -> Iterator[bytes]:
    """Yield a body from its beginning on."""
    body.seek(0)
    while chunk := body.read(COPY_BYTES):
        yield chunk


def _put(path: Path, chunks: Iterator[bytes]) -> None:
    draft = path.with_name(f".{path.name}.partial")  # one that is left behind is written over
    try:
        with draft.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _explain(error: OSError) -> OutOfResources:
    return OutOfResources(f"The destination cannot be used: {error.strerror}.")
