"""The notebooks of the documentation run, and print what they show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.notebook import list_printed, load_notebook
from tests.harness.pytorch import has_pytorch

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "clients.ipynb"


@pytest.mark.skipif(not has_pytorch(), reason="PyTorch is not installed")
@pytest.mark.timeout(600)  # six processes start in turn, and eight loaders' workers
def test_the_clients_notebook(tmp_path: Path) -> None:
    shown = list_printed(load_notebook(NOTEBOOK))
    assert "equal digests" in "".join(shown)
    environment = {name: v for name, v in os.environ.items() if not name.startswith("LAMELLA_")}
    run = subprocess.run(
        [sys.executable, "-m", "tests.harness.notebook", str(NOTEBOOK), "--check"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == shown


def test_notebooks_tell_nothing_of_machines() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not any(word in text for word in ("/tmp/", "/home/", "/root", "127.0.0.1:8"))
