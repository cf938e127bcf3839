"""Units of an import: a run of files that one intake takes, parsed beside other units.

A unit is small enough that what is known of its instances fits into memory many times over,
and large enough that its one pack and one transaction cost little a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lamella.archive.coercions import Coercer
from lamella.archive.installation import Archive
from lamella.archive.instances import Received
from lamella.archive.intake import Intake
from lamella.errors import InstanceRefused, TooLarge
from lamella.files.discovery import Found, FoundFile, SkippedFile
from lamella.files.reader import FileReader, UnreadableFile, find_reason_to_ignore
from lamella.files.tally import FileOutcome, FileResult

UNIT_FILES = 250
UNIT_BYTES = 64 << 20

Item = FileResult | tuple[str, Received]
"""A file that is done with, or the path of an instance that waits for its commit."""


@dataclass(slots=True)
class Unit:
    """What one intake took.

    Attributes:
        intake: Holds the bytes, not yet durable.
        items: One for each file, in order.
    """

    intake: Intake
    items: list[Item] = field(default_factory=list)

    @property
    def received(self) -> list[Received]:
        """The instances, in order."""
        return [item[1] for item in self.items if isinstance(item, tuple)]


def next_unit(files: Iterator[Found]) -> list[Found]:
    """Return the next files that make a unit; empty at the end."""
    taken: list[Found] = []
    size_bytes = 0
    for found in files:
        taken.append(found)
        size_bytes += found.size_bytes if isinstance(found, FoundFile) else 0
        if len(taken) == UNIT_FILES or size_bytes >= UNIT_BYTES:
            break
    return taken


async def take_unit(
    archive: Archive,
    files: list[Found],
    on_file: Callable[[int], None],
    coercer: Coercer | None = None,
) -> Unit:
    """Read, parse and hash the files of a unit.

    Args:
        archive: Where the bytes are to stay.
        files: The unit's files.
        on_file: Called behind each file with its length in bytes.
        coercer: Changes instances on their way in.

    Raises:
        OutOfResources: There is no room; nothing of the unit is kept.
    """
    unit = Unit(Intake(archive, coercer))
    try:
        for found in files:
            unit.items.append(await _take(unit.intake, found))
            on_file(found.size_bytes if isinstance(found, FoundFile) else 0)
    except BaseException:
        unit.intake.close()
        raise
    return unit


async def _take(intake: Intake, found: Found) -> Item:
    if isinstance(found, SkippedFile):
        return FileResult(found.path, FileOutcome(found.outcome), found.reason)
    reader = FileReader(found)
    try:
        head = await reader.begin()
        reason = find_reason_to_ignore(head)
        if reason:
            return FileResult(found.path, FileOutcome.IGNORED, reason)
        return found.path, await intake.add(reader.chunks(head))
    except (InstanceRefused, TooLarge, UnreadableFile) as error:
        return FileResult(found.path, FileOutcome.REFUSED, error.detail)
    finally:
        reader.close()
