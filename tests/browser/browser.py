"""Chromium as the tests drive it: a node process that takes one command at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
VIEWER = HERE / "node_modules" / "@ohif" / "app" / "dist"
DRIVER = HERE / "node_modules" / "playwright-core"
PATIENCE_S = 90  # the viewer's first image takes 17 s on two busy cores
CANVAS = ".cornerstone-canvas"


@dataclass
class Browser:
    """One page of a running browser.

    Attributes:
        shots: Folder that keeps a picture of every page a test looked at.
    """

    process: subprocess.Popen[str]
    shots: Path

    def do(self, command: str, **options: Any) -> Any:
        """Send a command of `driver.js` and return its value."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"command": command, **options}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, f"{command} {options}: {answer['error']}"
        return answer["value"]

    def shoot(self, name: str, selector: str | None = None) -> np.ndarray:
        """Keep a picture of the page, or of an element, and return it: (rows, columns, 3)."""
        path = self.shots / f"{name}.png"
        self.do("shoot", path=str(path), selector=selector)
        return np.asarray(Image.open(path).convert("RGB"))

    def wait(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = monotonic() + PATIENCE_S
        while not is_so():
            if monotonic() > deadline:
                self.shoot("failure")
                raise AssertionError(
                    f"{what}: not within {PATIENCE_S} s; the page shows: {self.text()}"
                )
            sleep(0.3)

    def text(self, selector: str = "body") -> str:
        """Return the text a person reads."""
        return str(self.do("text", selector=selector))

    def wait_for_text(self, wanted: str) -> None:
        """Wait until the page reads so."""
        self.wait(f"text {wanted!r}", lambda: wanted in self.text())

    def wait_for_picture(
        self, name: str, is_right: Callable[[np.ndarray], bool], selector: str = CANVAS
    ) -> np.ndarray:
        """Wait until an element shows the right picture; return that."""
        seen: list[np.ndarray] = []

        def look() -> bool:
            if not self.do("count", selector=selector):
                return False
            seen[:] = [self.shoot(name, selector)]
            return is_right(seen[0])

        self.wait(f"picture {name}", look)
        self.shoot(f"{name}-page")
        return seen[0]


def find_chromium(*packages: Path) -> str:
    """Return the browser's path; skip the test without it, but fail it where CI must have it.

    Args:
        packages: Folders that the test needs besides.
    """
    program = shutil.which("chromium")
    if program and shutil.which("node") and all(one.is_dir() for one in (DRIVER, *packages)):
        return program
    assert os.environ.get("CI") != "true", "make services installs Chromium and what runs in it"
    pytest.skip("Chromium or what runs in it is not installed (make services).")


@contextmanager
def launch_browser(shots: Path) -> Iterator[Browser]:
    """Run a browser for the time of a block."""
    program = find_chromium()
    process = subprocess.Popen(
        ["node", str(HERE / "driver.js"), program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Browser(process, shots)
    finally:
        process.communicate(timeout=30)
