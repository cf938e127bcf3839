"""`deid review`: what de-identification held back, and what a person decides about it."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamella.cli.author import name_author
from lamella.cli.flags import Family, add_json_flag, parse_count
from lamella.cli.output import print_json, print_lines, print_table, remark
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.deid.pixels.boxes import Box
    from lamella.deid.reviews import Decided, Held
    from lamella.vcs.repository import Repository

_BOX = re.compile(r"(?:([1-9][0-9]{0,5}):)?([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})")
_REDACT = """\
A BOX is X,Y,WIDTH,HEIGHT in pixels from the upper left corner, of every frame, or FRAME:X,Y,WIDTH,
HEIGHT of one (from 1). The copy is blacked there, read again, examined as a new one, and comes
into the branch. If the engine still reads text that has to go, nothing is released, unless
--text-may-stay is given."""
_PICTURE = """\
Each pixel is one of the picture, so that boxes can be read off it; those that were blacked are
outlined. --original shows what came in instead: with all that it tells."""


def add_commands(family: Family) -> None:
    """Add the commands."""
    review = family.add_family(
        "review", "decide about what was held back", "list|show|picture|accept|redact|reject"
    )
    parser = review.add_command("list", "list what waits for a person", run_list)
    _add_dataset(parser)
    parser.add_argument("--reason", metavar="CODE", help="only what was held back for it")
    add_json_flag(parser)
    parser = review.add_command("show", "show one instance that was held back", run_show)
    _add_dataset(parser)
    parser.add_argument("number", metavar="NUMBER", type=parse_count)
    add_json_flag(parser)
    parser = review.add_command(
        "picture", "write a frame with its boxes as PNG", run_picture, detail=_PICTURE
    )
    _add_dataset(parser)
    parser.add_argument("number", metavar="NUMBER", type=parse_count)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--frame", metavar="N", type=parse_count, default=1, help="from 1 (1)")
    parser.add_argument("--original", action="store_true", help="what it was made of")
    _add_decisions(review)


def _add_decisions(review: Family) -> None:
    for name, summary in (
        ("accept", "release instances as they are"),
        ("reject", "keep instances out for good"),
    ):
        parser = review.add_command(name, summary, run_decide)
        _add_dataset(parser)
        parser.add_argument("number", metavar="NUMBER", nargs="*", type=parse_count)
        parser.add_argument(
            "--reason", metavar="CODE", help="all that wait for this reason and no other"
        )
        parser.set_defaults(decision=name)
        add_json_flag(parser)
    parser = review.add_command(
        "redact", "black boxes in an instance, and release it", run_redact, detail=_REDACT
    )
    _add_dataset(parser)
    parser.add_argument("number", metavar="NUMBER", type=parse_count)
    parser.add_argument("box", metavar="BOX", nargs="+")
    parser.add_argument(
        "--text-may-stay", action="store_true", help="release it whatever is read in it then"
    )
    add_json_flag(parser)


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List what waits."""
    waiting = [one.describe() for one in _list_held(arguments, settings)]
    if arguments.json:
        print_json(waiting)
    elif waiting:
        head = ("NUMBER", "VERDICT", "REASONS", "BOXES", "SERIES OF THE COPY")
        print_table([head, *map(_list_cells, waiting)])
        counts = Counter(reason for one in waiting for reason in one["reasons"])
        told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        remark(f"{len(waiting)} wait: {told}.")
    else:
        print_lines(["Nothing waits."])
    return 0


def run_show(arguments: argparse.Namespace, settings: Settings) -> int:
    """Show one instance that was held back."""

    async def work(repository: Repository) -> Held:
        from lamella.deid.reviews import find_held

        return await repository.archive.database.read(
            lambda c: find_held(c, arguments.dataset_name, arguments.number)
        )

    found = run_on_repository(settings, work).describe()
    if arguments.json:
        print_json(found)
        return 0
    boxes = found.pop("boxes")
    print_lines(f"{name}: {_show(value)}" for name, value in found.items() if value is not None)
    for box in boxes:
        print_lines(["box: {frame}:{x},{y},{width},{height}".format(**box)])
    return 0


def run_picture(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write a picture."""
    dataset, number, frame = arguments.dataset_name, arguments.number, arguments.frame

    async def work(repository: Repository) -> bytes:
        from lamella.deid.reviews import show_copy, show_original

        if arguments.original:
            return await show_original(repository, None, dataset, number, frame)
        return await show_copy(repository, dataset, number, frame)

    from lamella.errors import OutOfResources

    picture = run_on_repository(settings, work)
    try:
        arguments.file.write_bytes(picture)
    except OSError as error:
        raise OutOfResources(f"The picture cannot be written: {error.strerror}.") from error
    return 0


def run_decide(arguments: argparse.Namespace, settings: Settings) -> int:
    """Accept or reject instances, all or none."""
    if bool(arguments.number) == bool(arguments.reason):
        raise UsageError("Name instances by their numbers, or by --reason.")
    numbers = arguments.number
    if arguments.reason:
        waiting = _list_held(arguments, settings)
        numbers = [one.row.id for one in waiting if len(set(one.row.told.reasons)) == 1]
        if not numbers:
            print_lines(["Nothing waits for that alone."])
            return 0

    async def work(repository: Repository) -> Decided:
        from lamella.deid.reviews import accept, reject

        decide = accept if arguments.decision == "accept" else reject
        return await decide(repository, arguments.dataset_name, numbers, name_author())

    return _print_decided(arguments, run_on_repository(settings, work))


def run_redact(arguments: argparse.Namespace, settings: Settings) -> int:
    """Black boxes in an instance and release it."""
    boxes = parse_boxes(arguments.box)

    async def work(repository: Repository) -> Decided:
        from lamella.deid.reviews import redact_held

        return await redact_held(
            repository,
            arguments.dataset_name,
            arguments.number,
            boxes,
            name_author(),
            text_may_stay=arguments.text_may_stay,
        )

    return _print_decided(arguments, run_on_repository(settings, work))


def parse_boxes(texts: list[str]) -> dict[int, list[Box]]:
    """Return boxes by frame number; 0 stands for every frame.

    Raises:
        UsageError: One is none.
    """
    from lamella.deid.pixels.boxes import Box

    boxes: dict[int, list[Box]] = {}
    for text in texts:
        found = _BOX.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is no box: write X,Y,WIDTH,HEIGHT or FRAME:X,Y,…")
        frame_number, x, y, width, height = (int(part or 0) for part in found.groups())
        boxes.setdefault(frame_number, []).append(Box(x, y, x + width, y + height))
    return boxes


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset_name", metavar="DATASET", help="the destination")


def _list_held(arguments: argparse.Namespace, settings: Settings) -> list[Held]:
    async def work(repository: Repository) -> list[Held]:
        from lamella.deid.reviews import list_held

        return await repository.archive.database.read(
            lambda c: list_held(c, arguments.dataset_name)
        )

    found = run_on_repository(settings, work)
    reason = arguments.reason
    return [one for one in found if reason is None or reason in one.row.told.reasons]


def _print_decided(arguments: argparse.Namespace, decided: Decided) -> int:
    if arguments.json:
        print_json(decided.describe())
        return 0
    lines = [f"{len(decided.numbers)} {decided.decision}."]
    lines += [f"{branch} is at {commit} now." for branch, commit in decided.commits.items()]
    if decided.later:
        lines.append(f"{decided.later} come in with the next run.")
    print_lines(lines)
    return 0


def _list_cells(one: dict[str, Any]) -> tuple[str, ...]:
    reasons, series = ", ".join(one["reasons"]), one["series"] or "-"
    return str(one["number"]), one["verdict"], reasons, str(len(one["boxes"])), series


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
