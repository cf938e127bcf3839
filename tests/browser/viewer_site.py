"""A small web server: the viewer's files, its configuration, and the archive behind one address."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}
SOURCE = "@ohif/extension-default.dataSourcesModule.dicomweb"


@dataclass
class Site:
    """The viewer, served.

    Attributes:
        url: Base URL, without a slash at its end.
        exchanges: Method, path and status of every request that went on to the archive.
    """

    url: str
    exchanges: list[tuple[str, str, int]] = field(default_factory=list)


@contextmanager
def serve_viewer(
    files: Path, archive: str, roots: Mapping[str, str], *, is_static: bool = False
) -> Iterator[Site]:
    """Serve the viewer for the time of a block.

    Args:
        files: Its build.
        archive: `host:port` of the server that answers under `/dicomweb`.
        roots: Path of the DICOMweb root of each data source, by its name.
        is_static: Whether these are static exports, in which the viewer itself has to search.
    """
    site = Site("")
    configuration = f"window.config = {json.dumps(configure(roots, is_static))};".encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            if self.path.startswith("/dicomweb/"):
                self.pass_on()
            elif self.path == "/app-config.js":
                self.send(200, {"Content-Type": "text/javascript"}, configuration)
            else:
                self.send_file()

        do_GET = do_POST = do_OPTIONS = do_HEAD = answer

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection(archive, timeout=60)
            upstream.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            site.exchanges.append((self.command, self.path, answer.status))
            kept = {n: v for n, v in answer.getheaders() if n.lower() not in HOP_BY_HOP}
            self.send(answer.status, kept, content)

        def send_file(self) -> None:
            path = files / unquote(urlsplit(self.path).path).lstrip("/")
            if not path.is_file():  # a page of the viewer's own routes, but never a missing script
                path = files / ("missing" if path.suffix else "index.html")
            if not path.is_file():
                self.send(404, {}, b"")
                return
            kind = TYPES.get(path.suffix, "application/octet-stream")
            headers = {"Content-Type": kind, "Cache-Control": "max-age=3600"}
            self.send(200, headers, path.read_bytes())

        def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:
                self.close_connection = True  # the page was left before its answer came

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configure(roots: Mapping[str, str], is_static: bool = False) -> dict[str, object]:
    """Return the viewer's configuration: a data source a root, the first its default."""
    return {
        "routerBasename": "/",
        "showStudyList": True,
        "extensions": [],
        "modes": [],
        "investigationalUseDialog": {"option": "never"},
        "defaultDataSourceName": next(iter(roots)),
        "dataSources": [
            {
                "namespace": SOURCE,
                "sourceName": name,
                "configuration": {
                    "friendlyName": name,
                    "name": name,
                    "qidoRoot": root,
                    "wadoRoot": root,
                    "wadoUriRoot": root,
                    "qidoSupportsIncludeField": True,
                    "imageRendering": "wadors",
                    "thumbnailRendering": "wadors",
                    "enableStudyLazyLoad": True,
                    "supportsFuzzyMatching": not is_static,
                    "supportsWildcard": True,
                    "staticWado": is_static,
                    "dicomUploadEnabled": not is_static,
                    "singlepart": "bulkdata,video,pdf",
                    "bulkDataURI": {"enabled": True},
                },
            }
            for name, root in roots.items()
        ],
    }
