"""`deid key`: project keys and the identifier maps that are read with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lamella.cli.flags import Family, add_json_flag
from lamella.cli.output import print_json, print_lines, print_table
from lamella.cli.usage import UsageError
from lamella.settings import Settings

if TYPE_CHECKING:
    from lamella.deid.identifier_maps import Kind, Pair
    from lamella.deid.keyring import Keyring


def add_commands(family: Family) -> None:
    """Add the commands."""
    keys = family.add_family(
        "key",
        "keep project keys and identifier maps",
        "create|list|rotate|export|import|export-map|audit",
    )
    _add_keys(keys)
    _add_files(keys)
    parser = keys.add_command(
        "export-map",
        "write which identifier became which, as CSV with id_old,id_new",
        run_export_map,
        detail="Each export is in the audit log before anything is read.",
    )
    parser.add_argument("dataset_name", metavar="DATASET", help="the destination")
    parser.add_argument("--kind", choices=("uid", "patient"), default="uid", help="(uid)")
    parser.add_argument("--key", metavar="ID", help="only what was made with this key")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a file of mode 600 (stdout)")
    parser.add_argument("--reason", default="", help="what for; it goes into the audit log")
    parser = keys.add_command("audit", "check and show the audit log", run_audit)
    add_json_flag(parser)


def run_create(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make a project's first key."""
    keyring = _open_keyring(settings)
    keyring.open_log().add("create", arguments.name)
    print_lines([keyring.create(arguments.name).id])
    return 0


def run_list(arguments: argparse.Namespace, settings: Settings) -> int:
    """List keys, never their secrets."""
    keys = _open_keyring(settings).list_keys()
    newest = {key.name: key.id for key in keys}
    if arguments.json:
        print_json(
            [
                {
                    "id": key.id,
                    "name": key.name,
                    "created": _show_time(key.created_us),
                    "newest": newest[key.name] == key.id,
                }
                for key in keys
            ]
        )
    else:
        rows = [
            (k.id, k.name, _show_time(k.created_us), "newest" if newest[k.name] == k.id else "")
            for k in keys
        ]
        print_table([("ID", "PROJECT", "CREATED", ""), *rows])
    return 0


def run_rotate(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make a project's next key; or seal all keys by a new master secret."""
    keyring = _open_keyring(settings)
    if arguments.master:
        keyring.open_log().add("rotate-master", "keyring")
        keyring.change_master(_read_secret(arguments.master_file))
        print_lines(["All keys are sealed by the new master secret."])
        return 0
    keyring.open_log().add("rotate", arguments.name)
    print_lines([keyring.rotate(arguments.name).id])
    return 0


def run_export(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write a key file."""
    from lamella.deid.key_files import write_key_file

    keyring = _open_keyring(settings)
    stored = [key for key in keyring.list_keys() if key.id == arguments.id]
    key = keyring.find(arguments.id)
    name = stored[0].name if stored else arguments.id
    keyring.open_log().add("export-key", key.id)
    write_key_file(arguments.file, key, name, _read_passphrase(arguments.passphrase_file))
    return 0


def run_import(arguments: argparse.Namespace, settings: Settings) -> int:
    """Take the key of a key file into the keyring."""
    from lamella.deid.key_files import read_key_file

    key, name = read_key_file(arguments.file, _read_passphrase(arguments.passphrase_file))
    keyring = _open_keyring(settings)
    keyring.open_log().add("import-key", key.id)
    keyring.adopt(key, name)
    print_lines([key.id])
    return 0


def run_export_map(arguments: argparse.Namespace, settings: Settings) -> int:
    """Write a map, after the audit log knows."""
    from lamella.deid.identifier_maps import list_maps, write_csv
    from lamella.errors import ResourceNotFound

    keyring = _open_keyring(settings)
    dataset, kind = arguments.dataset_name, arguments.kind
    keys = [key_id for key_id, of in list_maps(keyring.folder, dataset) if of == kind]
    if arguments.key is not None:
        keys = [key_id for key_id in keys if key_id == arguments.key]
    if not keys:
        raise ResourceNotFound(f"No {kind} map is kept for dataset {dataset}.")
    log = keyring.open_log()
    for key_id in keys:
        log.add(f"export-map {kind}", f"{dataset} {key_id}", arguments.reason)
    pairs = _read_maps(keyring, dataset, kind, keys)
    if arguments.output is None:
        write_csv(pairs, sys.stdout)
        return 0
    from lamella.deid.private_files import open_private

    with open_private(arguments.output) as stream:
        write_csv(pairs, stream)
    return 0


def run_audit(arguments: argparse.Namespace, settings: Settings) -> int:
    """Show the audit log, entry by entry as far as it is sound."""
    entries = _open_keyring(settings).open_log().read()
    if arguments.json:
        print_json(
            [
                {name: getattr(entry, name) for name in entry.__struct_fields__ if name != "mark"}
                for entry in entries
            ]
        )
        return 0
    for entry in entries:
        print_lines(
            [f"{entry.time}  {entry.actor}  {entry.action}  {entry.subject}  {entry.reason}"]
        )
    return 0


def _add_keys(keys: Family) -> None:
    parser = keys.add_command("create", "make a project's key", run_create)
    parser.add_argument("name", metavar="PROJECT", nargs="?", default="default")
    parser = keys.add_command("list", "list keys, without their secrets", run_list)
    add_json_flag(parser)
    parser = keys.add_command(
        "rotate",
        "make a project's next key, which new runs use; older ones stay",
        run_rotate,
        detail=(
            "--master seals all keys anew instead: by the secret in --master-file, which is\n"
            "LAMELLA_DEID_SECRET from then on, or else by a new random key file."
        ),
    )
    parser.add_argument("name", metavar="PROJECT", nargs="?", default="default")
    parser.add_argument("--master", action="store_true", help="change the master secret")
    parser.add_argument("--master-file", type=Path, metavar="FILE", help="holds the new one")


def _add_files(keys: Family) -> None:
    parser = keys.add_command("export", "write a key to a file, under a passphrase", run_export)
    parser.add_argument("id", metavar="ID", help="of a key, or a project for its newest")
    parser.add_argument("file", type=Path, metavar="FILE")
    _add_passphrase(parser)
    parser = keys.add_command("import", "take a key from such a file", run_import)
    parser.add_argument("file", type=Path, metavar="FILE")
    _add_passphrase(parser)


def _add_passphrase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        required=True,
        metavar="FILE",
        help="its first line is the passphrase",
    )


def _open_keyring(settings: Settings) -> Keyring:
    from lamella.deid.keyring import Keyring

    return Keyring(settings.deid_folder, settings.deid_secret)


def _read_maps(keyring: Keyring, dataset: str, kind: Kind, keys: list[str]) -> Iterator[Pair]:
    from lamella.deid.identifier_maps import IdentifierMap

    for key_id in keys:
        yield from IdentifierMap(keyring.folder, dataset, keyring.find(key_id), kind).read()


def _read_secret(path: Path | None) -> str:
    return "" if path is None else _read_passphrase(path)


def _read_passphrase(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    if not lines or not lines[0]:
        raise UsageError(f"{path} holds no passphrase.")
    return lines[0]


def _show_time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(timespec="seconds")[:19] + "Z"
