"""The two archives that are compared, each in a folder of its own and on free ports."""

from __future__ import annotations

import os
import re
import shutil
import string
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from time import monotonic, sleep

from bench.processes import (
    CHECKOUT,
    ServerFailed,
    find_free_port,
    read_cpu_s,
    start_process,
    stop_process,
    wait_for_port,
)

_READY = re.compile(r"lamella ready http=http://127\.0\.0\.1:(\d+) dimse=127\.0\.0\.1:(\d+)")
ORTHANC = "/usr/sbin/Orthanc"
ORTHANC_PLUGINS = "/usr/lib/orthanc"


class Runner(ABC):
    """A server of any kind under measurement.

    Attributes:
        name: What it is called in reports.
        port: HTTP.
    """

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.log = folder / f"{self.name}.log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the parent process."""
        if self._process is None:
            raise ServerFailed(f"{self.name} does not run")
        return self._process.pid

    @property
    def ports(self) -> tuple[int, ...]:
        """What must accept connections once it runs."""
        return (self.port,)

    def start(self) -> None:
        """Start it and wait until its doors are open."""
        self._process = self._launch()
        for port in self.ports:
            wait_for_port(port, self._process)

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            stop_process(self._process)
            self._process = None

    def cpu_s(self) -> float:
        """Return the CPU seconds it has used since it was started."""
        return read_cpu_s(self.pid)

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the process and set its ports."""


class Server(Runner):
    """An archive under measurement.

    Attributes:
        root: Path of its DICOMweb root.
        aet: Called AE title.
        dimse_port: DIMSE.
    """

    root: str
    aet: str
    dimse_port = 0

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port, self.dimse_port)

    def restart_cold(self) -> None:
        """Stop it, delete what it derived and cached, and start it again."""
        self.stop()
        self._delete_caches()
        self.start()

    @property
    def frames_accept(self) -> str:
        """What to accept for uncompressed frames as stored."""
        return "multipart/related; type=application/octet-stream; transfer-syntax=*"

    @property
    @abstractmethod
    def compressed_accept(self) -> str:
        """What to accept for JPEG 2000 frames as stored."""

    def _delete_caches(self) -> None:
        """Delete derived caches on disk; memory goes with the process."""


class Lamella(Server):
    """`lamella serve` with its defaults.

    Args:
        name: Of its folder and in reports.
        code: The checkout it runs from.
        settings: `LAMELLA_*` by lower-case name, such as `workers`.
    """

    root = "/dicomweb/default/main"
    aet = "LAMELLA"

    def __init__(
        self, folder: Path, *, name: str = "lamella", code: Path = CHECKOUT, **settings: str
    ) -> None:
        self.name = name
        super().__init__(folder)
        self._code = code
        self._settings = settings

    @property
    def compressed_accept(self) -> str:
        return self.frames_accept

    def _launch(self) -> subprocess.Popen[bytes]:
        chosen = {
            "http": "127.0.0.1:0",
            "dimse": "127.0.0.1:0",
            "data_dir": str(self.folder),
            **self._settings,
        }
        env = {key: v for key, v in os.environ.items() if not key.startswith("LAMELLA_")}
        env |= {f"LAMELLA_{key.upper()}": value for key, value in chosen.items()}
        env["PYTHONPATH"] = str(self._code)
        seen = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, "-m", "lamella", "serve"]
        process = start_process(command, self.log, env=env, folder=self._code)
        self.port, self.dimse_port = self._read_ports(process, seen)
        return process

    def _read_ports(self, process: subprocess.Popen[bytes], seen: int) -> tuple[int, int]:
        deadline = monotonic() + 60
        while monotonic() < deadline:
            with self.log.open(encoding="utf-8", errors="replace") as log:
                log.seek(seen)
                match = _READY.search(log.read())
            if match:
                return int(match[1]), int(match[2])
            if process.poll() is not None:
                break
            sleep(0.02)
        stop_process(process)
        raise ServerFailed(f"lamella did not start; see {self.log}")

    def _delete_caches(self) -> None:
        for cache in self.folder.glob("cache*"):
            shutil.rmtree(cache)


class Orthanc(Server):
    """Debian's Orthanc with its DICOMweb plugin, and defaults.

    But for folders, ports, login, and C-GET, which is denied by default.
    """

    name = "orthanc"
    root = "/dicom-web"
    aet = "ORTHANC"

    @property
    def compressed_accept(self) -> str:
        return 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90'

    @staticmethod
    def is_installed() -> bool:
        """Whether Debian's packages are there."""
        return Path(ORTHANC).exists() and _find_plugin() is not None

    def _launch(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.dimse_port = find_free_port(), find_free_port()
        template = string.Template(Path(__file__).with_name("orthanc.json").read_text())
        configuration = self.folder.with_name("orthanc.json")
        configuration.write_text(
            template.substitute(
                folder=self.folder,
                http_port=self.port,
                dicom_port=self.dimse_port,
                plugin=_find_plugin(),
            )
        )
        return start_process([ORTHANC, str(configuration)], self.log)


def _find_plugin() -> Path | None:
    found = sorted(Path(ORTHANC_PLUGINS).glob("libOrthancDicomWeb.so*"))
    return found[-1] if found else None
