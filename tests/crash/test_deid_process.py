"""An instance that kills the process that de-identifies it: quarantine for it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.harness.samples import make_instance
from tests.harness.server import run_cli
from tests.harness.stack import choose_stack

DEADLY = """
import os, signal, sys
from pathlib import Path
from lamella.cli.main import main
from lamella.deid import pipeline

run = pipeline.Pipeline.run

def run_or_die(self, data, n_slices):
    if b"DEADLY" in data:
        with Path(os.environ["DEATHS"]).open("a") as log:
            log.write(f"{os.getpid()}\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return run(self, data, n_slices)

pipeline.Pipeline.run = run_or_die  # in the crew too: a spawned process runs this file first
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
COUNT = 6


def test_an_instance_that_kills_its_process_is_held_back(tmp_path: Path) -> None:
    folder, data_dir = tmp_path / "in", tmp_path / "data"
    folder.mkdir()
    for number in range(COUNT):
        comment = "DEADLY" if number == 2 else "harmless"
        data = make_instance(sop=f"1.2.3.1.{number}", StudyDescription=comment, fill=number)
        (folder / f"{number}.dcm").write_bytes(data)
    assert run_cli(data_dir, "import", str(folder)).returncode == 0
    script, profile, deaths = tmp_path / "deadly.py", tmp_path / "headers.toml", tmp_path / "deaths"
    script.write_text(DEADLY)
    profile.write_text('[pixels]\ntext = "none"\n')
    settings = {"data_dir": str(data_dir)} | choose_stack(data_dir)
    environ = {name: value for name, value in os.environ.items() if name[:8] != "LAMELLA_"}
    environ |= {f"LAMELLA_{name.upper()}": value for name, value in settings.items()}
    arguments = ["deid", "default@main", "public", "--profile", str(profile)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments, "--processes", "2", "--json"],
        env=environ | {"DEATHS": str(deaths)},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["verdicts"] == {"PASS": COUNT - 1, "REVIEW": 0, "QUARANTINE": 1}
    assert (report["reasons"], report["released"]) == ({"process-died": 1}, COUNT - 1)
    assert len(set(deaths.read_text().split())) == 2  # with the others, and alone
