"""`lamella deid key` at the command line: what it shows, keeps, and writes down."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from lamella.cli.main import main
from lamella.deid.identifier_maps import IdentifierMap
from lamella.deid.keyring import Keyring


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAMELLA_DEID_DIR", str(tmp_path / "keys"))
    return tmp_path / "keys"


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["deid", "key", *words, "--json"]) == 0
    return list(json.loads(capsys.readouterr().out))


def test_keys_are_made_rotated_and_listed_without_secrets(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deid", "key", "create", "trial"]) == 0
    assert main(["deid", "key", "rotate", "trial"]) == 0
    made = capsys.readouterr().out.split()
    listed = run_json(capsys, "list")
    assert [key["id"] for key in listed] == made
    assert [key["newest"] for key in listed] == [False, True]
    assert set(listed[0]) == {"id", "name", "created", "newest"}
    assert main(["deid", "key", "create", "trial"]) == 1


def test_an_export_of_a_map_is_in_the_log_before_it_is_in_the_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = Keyring(folder).create("trial")
    IdentifierMap(folder, "public", key, "patient").append([("MRN7", "PNEW")])
    file = tmp_path / "map.csv"
    words = ["deid", "key", "export-map", "public", "--kind", "patient", "--output", str(file)]
    assert main([*words, "--reason", "follow-up"]) == 0
    assert file.read_text() == "id_old,id_new\nMRN7,PNEW\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    entry = run_json(capsys, "audit")[-1]
    assert (entry["action"], entry["subject"]) == ("export-map patient", f"public {key.id}")
    assert entry["reason"] == "follow-up"
    assert "MRN7" not in (folder / "audit.log").read_text()


def test_no_log_no_map(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = Keyring(folder).create("trial")
    IdentifierMap(folder, "public", key, "uid").append([("1.2.3", "2.25.1")])
    Keyring(folder).open_log().add("create", "trial")
    (folder / "audit.log").write_text("{}\n")
    capsys.readouterr()
    assert main(["deid", "key", "export-map", "public"]) == 1
    captured = capsys.readouterr()
    assert "1.2.3" not in captured.out
    assert "audit log" in captured.err


def test_a_map_that_is_not_kept_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deid", "key", "export-map", "public"]) == 1
    assert capsys.readouterr().err == "lamella: No uid map is kept for dataset public.\n"


def test_a_key_goes_to_another_installation_by_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Keyring(folder).create("trial")
    (tmp_path / "passphrase").write_text("a long passphrase\n")
    words = [str(tmp_path / "key.json"), "--passphrase-file", str(tmp_path / "passphrase")]
    assert main(["deid", "key", "export", "trial", *words]) == 0
    monkeypatch.setenv("LAMELLA_DEID_DIR", str(tmp_path / "there"))
    assert main(["deid", "key", "import", *words]) == 0
    assert Keyring(tmp_path / "there").find("trial") == key


def test_the_master_secret_can_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Keyring(folder).create("trial")
    (tmp_path / "new").write_text("another master secret\n")
    words = ["deid", "key", "rotate", "--master", "--master-file", str(tmp_path / "new")]
    assert main(words) == 0
    assert main(["deid", "key", "rotate", "trial"]) == 1
    monkeypatch.setenv("LAMELLA_DEID_SECRET", "another master secret")
    assert main(["deid", "key", "rotate", "trial"]) == 0
    assert Keyring(folder, "another master secret").find(key.id) == key
