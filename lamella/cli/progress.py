"""Progress on stderr, where a person watches; silence where none does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Takes word of each file that is done."""

    def add(self, size_bytes: int) -> None:
        """Count one file."""
        ...

    def add_many(self, count: int) -> None:
        """Count files of whatever size."""
        ...


class Silence:
    """Progress that nobody sees."""

    def add(self, size_bytes: int) -> None:
        """Count nothing."""

    def add_many(self, count: int) -> None:
        """Count nothing."""


def is_watched() -> bool:
    """Tell whether stderr is a terminal."""
    return sys.stderr.isatty()


@contextmanager
def show_count(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar until the block ends; it is told how much is done, and of how much."""
    if not is_watched():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(done, total))


@contextmanager
def show_progress(title: str, n_files: int, size_bytes: int | None) -> Iterator[Progress]:
    """Show a bar over bytes (or files, where bytes are not known) until the block ends."""
    if not is_watched():
        yield Silence()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress

    total = float(n_files if size_bytes is None else size_bytes)
    columns = [TextColumn("{task.description}"), BarColumn()]
    if size_bytes is not None:
        columns += [DownloadColumn(), TransferSpeedColumn()]
    columns += [TextColumn("{task.fields[files]}/" + str(n_files)), TimeRemainingColumn()]
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, files=0)

        class _Bar:
            files = 0

            def add(self, size: int) -> None:
                self.files += 1
                step = 1 if size_bytes is None else size
                bar.update(task, advance=step, files=self.files)

            def add_many(self, count: int) -> None:
                self.files += count
                bar.update(task, advance=count if size_bytes is None else 0, files=self.files)

        yield _Bar()
