"""The entry point: flags, exit statuses, one sentence a failure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lamella.cli.flags import SETTINGS_FLAGS, Family, Parser, read_settings_flags
from lamella.cli.main import build_parser, main
from lamella.errors import OutOfResources
from lamella.settings import Settings, load_settings

Fail = Callable[[argparse.Namespace, Settings], int]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tester's own settings, and `./lamella-data`, out of the way."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_DIR", "LOG_LEVEL", "DATABASE_URL", "HTTP"):
        monkeypatch.delenv(f"LAMELLA_{name}", raising=False)


@pytest.mark.parametrize(
    "argv",
    [
        ["--data-dir", "x", "tag", "list"],
        ["tag", "--data-dir", "x", "list"],
        ["tag", "list", "--data-dir", "x"],
        ["--data-dir", "y", "tag", "list", "--data-dir", "x"],
    ],
)
def test_settings_flags_stand_anywhere_and_the_last_wins(argv: list[str]) -> None:
    arguments = build_parser().parse_args(argv)
    assert read_settings_flags(arguments)["data_dir"] == "x"


def test_there_is_a_flag_for_every_setting_but_secrets() -> None:
    # flags are in the list of processes, which all users of a machine can read
    names = set(Settings.__slots__)  # type: ignore[attr-defined]
    assert names - set(SETTINGS_FLAGS) == {"deid_secret"}
    assert "hidden" not in repr(Settings(deid_secret="hidden"))


def test_flags_reach_the_settings() -> None:
    argv = ["serve", "--http", "127.0.0.1:0", "--dimse", "off", "--workers", "3", "--insecure"]
    settings = load_settings(read_settings_flags(build_parser().parse_args(argv)), {})
    assert (settings.http, settings.dimse_address) == ("127.0.0.1:0", None)
    assert (settings.workers, settings.insecure) == (3, True)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nope"],
        ["import"],
        ["export", "main"],
        ["log", "-n", "0"],
        ["log", "-n", "x"],
        ["dataset"],
        ["dataset", "create"],
        ["dataset", "create", "d", "--duplicates", "nope"],
        ["log", "--dat", "x"],
    ],
)
def test_wrong_usage_is_one_line_and_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("lamella: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["--workers", "x", "log"], 2),
        (["log", "@main"], 2),
        (["log", "nope"], 1),
        (["tag", "create", "studies"], 1),
        (["branch", "delete", "main"], 1),
        (["dataset", "delete", "default"], 1),
        (["show", "deadbeef"], 1),
    ],
)
def test_a_failure_is_one_line(
    argv: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("lamella: ")
    assert captured.err.count("\n") == 1


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["import", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as caught:
            main(argv)
        assert caught.value.code == 0
    assert main(["version", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "import" in shown
    assert json.loads(shown[shown.rindex("{") :])["version"]


def run_failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, *argv: str) -> int:
    """Run the real entry point over a command that fails in a chosen way."""

    def fail(_arguments: argparse.Namespace, _settings: Settings) -> int:
        raise error

    def build() -> argparse.ArgumentParser:
        parser = Parser(prog="lamella")
        Family(parser).add_command("fail", "fail", fail)
        return parser

    monkeypatch.setattr("lamella.cli.main.build_parser", build)
    return main(["fail", *argv])


def test_a_traceback_is_for_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ValueError("Doe^John")
    assert run_failing(monkeypatch, error) == 1
    plain = capsys.readouterr().err
    assert plain.count("\n") == 1
    assert "ValueError" in plain
    assert "Doe" not in plain
    assert run_failing(monkeypatch, error, "--debug") == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("LAMELLA_LOG_LEVEL", "debug")
    assert run_failing(monkeypatch, error) == 1
    assert "Traceback" in capsys.readouterr().err


def test_failures_by_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_failing(monkeypatch, OutOfResources("No room\nleft.")) == 1
    assert capsys.readouterr().err == "lamella: No room left.\n"
    assert run_failing(monkeypatch, KeyboardInterrupt()) == 130
