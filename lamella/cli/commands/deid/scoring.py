"""`deid score`: how well an output was de-identified, by an answer key."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_json_flag
from lamella.cli.output import print_json, print_lines
from lamella.cli.progress import is_watched
from lamella.cli.target import Target, open_target, parse_target
from lamella.cli.usage import UsageError
from lamella.cli.workspace import run_on_repository
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.deid.identifier_maps import Kind
    from lamella.deid.scoring.pixels import Reader
    from lamella.deid.scoring.scorer import Score
    from lamella.vcs.repository import Repository


def add_commands(family: Family) -> None:
    """Add the command."""
    parser = family.add_command(
        "score",
        "score an output against an answer key",
        run_score,
        detail=(
            "ANSWER_KEY is an SQLite file of MIDI-B's form. OUTPUT is a folder or a target.\n"
            "Without --uid-map and --patient-map, the maps kept for a target's dataset are read,\n"
            "which the audit log tells. Exits 1 below --least."
        ),
    )
    parser.add_argument("answer_key", type=Path, metavar="ANSWER_KEY")
    parser.add_argument("output", metavar="OUTPUT")
    parser.add_argument("--uid-map", type=Path, metavar="FILE", help="CSV: id_old,id_new")
    parser.add_argument("--patient-map", type=Path, metavar="FILE", help="CSV: id_old,id_new")
    parser.add_argument(
        "--read-with",
        choices=("tesseract",),
        help="read what is left in regions that are not flat; without it they count as shown",
    )
    parser.add_argument("--least", type=float, default=1.0, metavar="SHARE", help="(1.0)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all counts")
    parser.add_argument("--failures", type=Path, metavar="FILE", help="write failed checks (CSV)")
    add_json_flag(parser)


def run_score(arguments: argparse.Namespace, settings: Settings) -> int:
    """Score; print tables or JSON; write what was asked for."""
    from lamella.deid.scoring import reports

    folder = Path(arguments.output)
    if folder.is_dir():
        score = _score(arguments, folder, *_read_map_files(arguments))
    else:
        score = _score_target(arguments, settings)
    for path, write in (
        (arguments.csv, reports.write_csv),
        (arguments.failures, reports.write_failures),
    ):
        if path is not None:
            with path.open("w", encoding="utf-8", newline="") as stream:
                write(score, stream)
    if arguments.json:
        print_json(reports.describe(score))
    else:
        _print(score)
    return 0 if score.overall.share >= arguments.least else 1


def _score(
    arguments: argparse.Namespace,
    folder: Path,
    uids: Mapping[str, str],
    patients: Mapping[str, str],
) -> Score:
    from lamella.deid.scoring.answers import read_answers
    from lamella.deid.scoring.scorer import score

    answers = read_answers(arguments.answer_key)
    return score(answers, folder, uids, patients, reader=_find_reader(arguments))


def _score_target(arguments: argparse.Namespace, settings: Settings) -> Score:
    """Export a target to a folder of its own, score that, and delete it."""
    from lamella.errors import IntegrityError

    with tempfile.TemporaryDirectory(prefix="lamella-score-") as name:
        dataset, failed = _export(settings, parse_target(arguments.output, None), Path(name))
        if failed:
            raise IntegrityError(f"{failed} instances of {arguments.output} are damaged.")
        if arguments.uid_map is None and arguments.patient_map is None:
            maps = _read_kept_maps(settings, dataset)
        else:
            maps = _read_map_files(arguments)
        return _score(arguments, Path(name), *maps)


def _export(settings: Settings, target: Target, folder: Path) -> tuple[str, int]:
    """Return the dataset's name, and how many instances could not be exported."""

    async def work(repository: Repository) -> tuple[str, int]:
        from lamella.files.exporter import export_view
        from lamella.vcs.masks import read_shown

        view = await read_shown(repository, lambda c: open_target(c, repository, target))
        report = await export_view(repository, view, folder)
        return view.dataset.name, len(report.failed)

    return run_on_repository(settings, work)


def _read_map_files(arguments: argparse.Namespace) -> tuple[dict[str, str], dict[str, str]]:
    from lamella.deid.scoring.scorer import read_map

    if arguments.uid_map is None or arguments.patient_map is None:
        raise UsageError("--uid-map and --patient-map are needed to score a folder.")
    return read_map(arguments.uid_map), read_map(arguments.patient_map)


def _read_kept_maps(settings: Settings, dataset: str) -> tuple[dict[str, str], dict[str, str]]:
    from lamella.deid.identifier_maps import IdentifierMap, list_maps
    from lamella.deid.keyring import Keyring
    from lamella.errors import ResourceNotFound

    keyring = Keyring(settings.deid_folder, settings.deid_secret)
    kept = list_maps(keyring.folder, dataset)
    if not kept:
        raise ResourceNotFound(f"No maps are kept for dataset {dataset}.")
    log = keyring.open_log()
    found: dict[Kind, dict[str, str]] = {"uid": {}, "patient": {}}
    for key_id, kind in kept:
        log.add(f"score {kind}", f"{dataset} {key_id}")
        found[kind].update(
            IdentifierMap(keyring.folder, dataset, keyring.find(key_id), kind).read()
        )
    return found["uid"], found["patient"]


def _find_reader(arguments: argparse.Namespace) -> Reader | None:
    if arguments.read_with is None:
        return None
    from lamella.deid.scoring.readers import find_tesseract

    return find_tesseract()


def _print(score: Score) -> None:
    from rich.console import Console
    from rich.table import Table

    from lamella.deid.scoring.reports import list_rows

    table = Table("part", "name", "passed", "checks", "share")
    for part, name, passed, total, share in list_rows(score):
        table.add_row(part, name, str(passed), str(total), f"{share:.3%}")
    Console(width=None if is_watched() else 120).print(table)
    for reason, count in score.reasons.most_common():
        print_lines([f"{count:6}  {reason}"])
    print_lines(
        [
            f"instances={score.instances} missing={score.missing} "
            f"unexpected={score.unexpected} passed={score.overall.passed} "
            f"checks={score.overall.total} share={score.overall.share:.6f}"
        ]
    )
