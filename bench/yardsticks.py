"""What the machine allows: nginx and a bare granian handler, sending the same bytes."""

from __future__ import annotations

import os
import shutil
import string
import subprocess
import sys
from pathlib import Path

from bench.processes import find_free_port, start_process
from bench.servers import Runner
from bench.workload import CtSeries

FRAME_PATH = "/frames/{}"
METADATA_PATH = "/metadata"

_NGINX = """
daemon off;
worker_processes auto;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${port};
    root ${folder};
    location = /metadata {
      default_type application/dicom+json;
      add_header Content-Encoding gzip;
    }
  }
}
"""


class Nginx(Runner):
    """Debian's nginx with sendfile over static files."""

    name = "nginx"

    @staticmethod
    def find() -> str | None:
        """Return where nginx is."""
        return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")

    def put_frames(self, series: CtSeries) -> None:
        """Write each slice's pixels as a file."""
        folder = self.folder / "frames"
        folder.mkdir(parents=True, exist_ok=True)
        for index, one in enumerate(series):
            (folder / str(index)).write_bytes(one.pixels)

    def put_metadata(self, coded: bytes) -> None:
        """Write the gzipped metadata of the series, as Lamella sends it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "metadata").write_bytes(coded)

    def _launch(self) -> subprocess.Popen[bytes]:
        self.port = find_free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            string.Template(_NGINX).substitute(folder=self.folder, port=self.port)
        )
        command = self.find()
        assert command is not None
        return start_process([command, "-c", str(configuration)], self.log)


class NginxMetadata(Nginx):
    """The same, of the series' metadata; a name of its own in reports."""

    name = "nginx-metadata"


class BareGranian(Runner):
    """One granian worker with a handler that does nothing but read and send."""

    name = "granian"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._files: dict[str, str] = {}

    def put_frames(self, series: CtSeries) -> None:
        """Write the pixels of all slices into one pack."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "pack"
        with path.open("wb") as pack:
            for one in series:
                pack.write(one.pixels)
        self._files["BENCH_PACK"] = str(path)
        self._files["BENCH_FRAME_BYTES"] = str(series.make(0).pixel_bytes)

    def put_metadata(self, coded: bytes) -> None:
        """Write the gzipped metadata of the series, as Lamella sends it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "metadata"
        path.write_bytes(coded)
        self._files["BENCH_METADATA"] = str(path)

    def _launch(self) -> subprocess.Popen[bytes]:
        self.port = find_free_port()
        command = [sys.executable, "-m", "granian", "--interface", "asginl", "--loop", "uvloop"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--no-ws", "bench.bare:app"]
        return start_process(command, self.log, env=os.environ | self._files)


class BareGranianMetadata(BareGranian):
    """The same, of the series' metadata; a name of its own in reports."""

    name = "granian-metadata"
