"""`import` and `export`."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from lamella.cli.author import name_author
from lamella.cli.flags import Family, add_dataset_flag, add_json_flag
from lamella.cli.output import JsonArray, print_json, print_lines, remark
from lamella.cli.progress import is_watched, show_progress
from lamella.cli.target import DEFAULT_DATASET, open_target, parse_target
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.files.exporter import ExportReport
    from lamella.files.importer import Importer
    from lamella.files.static.destination import Destination
    from lamella.files.static.exporter import StaticReport
    from lamella.files.tally import FileResult
    from lamella.vcs.repository import Repository

_TROUBLE = ("refused", "conflict")


def add_commands(family: Family) -> None:
    """Add the commands that move files in and out."""
    parser = family.add_command(
        "import",
        "store files, folders and zip archives on a branch",
        run_import,
        detail=(
            "What is not DICOM is ignored. One commit is made for every 2,000 instances or less;\n"
            "what is there already is left alone, so an import that was stopped can be run again.\n"
            "Exits 1 if an instance was refused or is in conflict with what is stored."
        ),
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path)
    add_dataset_flag(parser, "the dataset (default)")
    parser.add_argument("-b", "--branch", metavar="BRANCH", help="its branch (its default branch)")
    parser.add_argument("-m", "--message", default="", help="the message of the commits")
    add_json_flag(parser)

    parser = family.add_command(
        "export",
        "write a revision as DEST/{study}/{series}/{sop}.dcm, byte for byte as stored",
        run_export,
        detail=(
            "DEST must not exist, or be an empty folder.\n"
            "With --static it may hold an older static export of the dataset, of which only what\n"
            "differs is written; or be s3://BUCKET/PREFIX. One that was stopped is run again."
        ),
    )
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("destination", metavar="DEST")
    parser.add_argument(
        "--static",
        action="store_true",
        help="write a DICOMweb tree that any web server gives to viewers",
    )
    parser.add_argument(
        "--no-pictures", action="store_true", help="a static tree without thumbnails and renderings"
    )
    add_dataset_flag(parser, "take TARGET as a revision of this dataset")
    add_json_flag(parser)


def run_import(arguments: argparse.Namespace, settings: Settings) -> int:
    """Import files; the last line on stdout is the sum."""
    from lamella.files.discovery import measure_files

    n_files, size_bytes = measure_files(arguments.paths) if is_watched() else (0, 0)
    importers: list[Importer] = []

    async def work(repository: Repository) -> None:
        from lamella.files.importer import open_importer

        importer = await open_importer(
            repository,
            arguments.dataset or DEFAULT_DATASET,
            arguments.branch,
            author=name_author(),
            message=arguments.message,
            on_result=lambda result: _show_result(result, array),
            on_file=progress.add,
        )
        importers.append(importer)
        await importer.run(arguments.paths)

    output = JsonArray(sys.stdout) if arguments.json else nullcontext()
    try:
        with output as array, show_progress("Importing", n_files, size_bytes) as progress:
            run_on_repository(settings, work)
    finally:
        if importers:
            _print_sum(str(importers[0].tally), is_json=arguments.json)
    return 1 if importers[0].tally.has_problems else 0


def run_export(arguments: argparse.Namespace, settings: Settings) -> int:
    """Export a revision; the last line on stdout is the sum."""
    if arguments.static:
        return _export_static(arguments, settings)
    if arguments.no_pictures:
        raise UsageError("--no-pictures goes with --static.")
    target = parse_target(arguments.target, arguments.dataset)
    destination = Path(arguments.destination)

    async def work(repository: Repository) -> ExportReport:
        from lamella.files.exporter import (
            DestinationInUse,
            count_instances,
            export_view,
            prepare_destination,
        )
        from lamella.vcs.masks import read_shown

        view = await read_shown(repository, lambda c: open_target(c, repository, target))
        try:
            prepare_destination(destination)
        except DestinationInUse as error:
            raise UsageError(error.detail) from error
        n_files = await count_instances(repository, view)
        with show_progress("Exporting", n_files, None) as progress:
            return await export_view(repository, view, destination, progress.add)

    report = run_on_repository(settings, work)
    for failure in report.failed:
        remark(f"failed: instance {failure.key[2]}: {failure.reason}")
    if arguments.json:
        print_json(report.describe())
    else:
        print_lines([str(report)])
    return 1 if report.failed else 0


def _export_static(arguments: argparse.Namespace, settings: Settings) -> int:
    target = parse_target(arguments.target, arguments.dataset)

    async def work(repository: Repository) -> StaticReport:
        from lamella.app.application import build_doors
        from lamella.dicomweb.services import Services
        from lamella.files.exporter import DestinationInUse, count_instances
        from lamella.files.static.doors import Doors
        from lamella.files.static.exporter import export_static
        from lamella.vcs.masks import read_shown

        view = await read_shown(repository, lambda c: open_target(c, repository, target))
        n_instances = await count_instances(repository, view)
        services = Services(repository, settings)
        root = f"/dicomweb/{view.dataset.name}/{view.commit_id}"
        destination = _open_destination(arguments.destination, settings)
        try:
            with show_progress("Exporting", n_instances, None) as progress:
                return await export_static(
                    repository,
                    view,
                    Doors(build_doors(services), root),
                    destination,
                    has_pictures=not arguments.no_pictures,
                    on_instances=progress.add_many,
                )
        except DestinationInUse as error:
            raise UsageError(error.detail) from error
        finally:
            await destination.close()
            await services.decoders.close()

    report = run_on_repository(settings, work)
    for failure in report.failed:
        remark(f"failed: {failure.path}: {failure.reason}")
    if arguments.json:
        print_json(report.describe())
    else:
        print_lines([str(report)])
    return 1 if report.failed else 0


def _open_destination(text: str, settings: Settings) -> Destination:
    """Return where a static export goes.

    Raises:
        InvalidRequest: It is a bucket, and S3's extra or credentials are missing.
    """
    from lamella.errors import InvalidRequest
    from lamella.files.static.destination import FolderDestination

    if not text.startswith("s3://"):
        return FolderDestination(Path(text))
    try:
        from lamella.files.static.bucket import BucketDestination
    except ImportError as error:
        raise InvalidRequest("An export to S3 needs an extra: install lamella[s3].") from error
    return BucketDestination(text, settings.s3_endpoint_url)


def _show_result(result: FileResult, array: JsonArray | None) -> None:
    if array is not None:
        array.add(result.describe())
    elif result.outcome in _TROUBLE:
        remark(f"{result.outcome}: {result.path}: {result.reason}")


def _print_sum(line: str, *, is_json: bool) -> None:
    if is_json:
        remark(line)  # stdout is one JSON document
    else:
        print_lines([line])
