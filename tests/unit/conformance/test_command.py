"""The command: its exit status and what it writes."""

import json

import pytest

from lamella.cli.main import main
from tests.conformance.faults.every import FAULTS
from tests.conformance.reference.server import Reference, serve


def test_conformant_server_exits_0_and_reports_are_written(tmp_path, capsys):
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "junit", "html", "md")}
    flags = [part for kind, path in files.items() for part in (f"--{kind}", str(path))]
    with serve(Reference()) as root:
        status = main(["conformance", root, "--only", "page", "--only", "store/one", *flags])
    assert status == 0
    assert "does what the standard demands" in capsys.readouterr().out
    found = json.loads(files["json"].read_text())
    assert {check["id"].partition("/")[0] for check in found["checks"]} == {"page", "store"}
    assert all(path.read_text() for path in files.values())


def test_faulty_server_exits_1_and_shows_a_curl_line(capsys):
    with serve(FAULTS["limit_ignored"].make()) as root:
        assert main(["conformance", root, "--only", "page"]) == 1
    shown = capsys.readouterr().out
    assert "page/limit" in shown
    assert "curl -sS" in shown


def test_header_goes_out_with_every_request():
    class Guarded(Reference):
        def route(self, ask):
            assert ask.headers.get("authorization") == "Bearer abc"
            return super().route(ask)

    with serve(Guarded()) as root:
        flags = ["--header", "Authorization: Bearer abc", "--only", "search/studies"]
        assert main(["conformance", root, *flags]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["localhost:8042"],
        ["ftp://host/x"],
        ["http://127.0.0.1:9/", "--header", "nonsense"],
        ["http://127.0.0.1:9/", "--only", "nosuchcheck"],
        ["http://127.0.0.1:9/", "--json", "/no/such/folder/report.json"],
    ],
)
def test_wrong_usage_exits_2(arguments, capsys):
    assert main(["conformance", *arguments]) == 2
    assert capsys.readouterr().err.startswith("lamella: ")


def test_unreachable_server_exits_1_with_a_sentence(capsys):
    assert main(["conformance", "http://127.0.0.1:9/dicom-web"]) == 1
    assert "was not answered" in capsys.readouterr().err


def test_list_asks_no_server(capsys):
    assert main(["conformance", "http://127.0.0.1:9/", "--list", "--only", "cors"]) == 0
    assert "cors/preflight" in capsys.readouterr().out
