"""A small DICOMweb server that does what the checks ask, in memory: the reference.

Faulty servers are made of it: each changes requests, answers, or one of the methods below.
"""

import gzip
import hashlib
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from . import rendering, retrieving, searching, storing
from .holdings import Holdings
from .messages import DICOM, JSON, Answer, Ask, Problem, choose

ROOT = "/dicom-web"
WADL = "application/vnd.sun.wadl+xml"
_COLLECTIONS = ("studies", "series", "instances")
_EXPOSED = "ETag, Warning, Content-Location, Content-Range"


class Reference:
    """Answers requests. `change_ask` and `change_answer` are where faults are put in."""

    def __init__(self, holdings=None):
        self.holdings = holdings or Holdings()

    def change_ask(self, ask):
        return ask

    def change_answer(self, ask, answer):
        return answer

    def answer(self, ask):
        ask = self.change_ask(ask)
        try:
            answer = self.route(ask)
            if ask.method in ("GET", "HEAD"):
                answer = self.finish(ask, answer)
        except Problem as problem:
            answer = problem.to_answer()
        return self.change_answer(ask, self.open_up(ask, answer))

    def route(self, ask):
        parts = ask.segments
        if ask.method == "OPTIONS":
            return self.describe(ask) if not parts else Answer(204, {"Allow": allowed(parts)})
        if ask.method not in [name.strip() for name in allowed(parts).split(",")]:
            raise Problem(405, "This resource has no such method.", Allow=allowed(parts))
        if ask.method == "POST":
            study_uid = parts[1] if len(parts) == 2 else None
            return storing.send_store(ask, self.holdings, study_uid)
        if ask.method == "DELETE":
            return storing.send_delete(self.holdings, tuple(parts[1::2]))
        return self.read(ask, parts)

    def read(self, ask, parts):
        if parts == ["wado"]:
            return self.read_uri(ask)
        uids = tuple(parts[1::2])
        names = parts[::2]
        if parts and tuple(names) in NAMES and len(parts) % 2 and (len(parts) < 6):
            return self.search(ask, parts)
        if tuple(names) == _COLLECTIONS[: len(names)] and len(parts) in (2, 4, 6):
            return retrieving.send_instances(ask, self.find(uids))
        if len(parts) > 6 and parts[6] == "frames":
            return self.read_frames(ask, parts)
        if (
            parts
            and len(parts) in (3, 5, 7)
            and tuple(names[:-1]) == _COLLECTIONS[: len(names) - 1]
        ):
            return self.read_below(ask, tuple(parts[1:-1:2]), parts[-1])
        if len(parts) == 8 and parts[6] == "bulkdata":
            return self.read_bulk(ask, tuple(parts[1:6:2]), parts[7])
        raise Problem(404, "There is nothing here.")

    def find(self, uids):
        return retrieving.require(self.holdings.select(*uids), "resource")

    def read_below(self, ask, uids, name):
        """Answer for what hangs below a study, a series or an instance."""
        found = self.find(uids)
        if name == "metadata":
            data_sets = [retrieving.fill(held, ask.root) for held in found]
            return retrieving.send_data_sets(ask, data_sets, ask.root + ask.path)
        if name == "rendered":
            return (
                rendering.send_rendered(ask, found[0], 0)
                if len(uids) == 3
                else rendering.send_all(ask, found)
            )
        if name == "thumbnail":
            return rendering.send_thumbnail(ask, found)
        if name in ("pixeldata", "bulkdata"):
            keywords = (
                ("PixelData",) if name == "pixeldata" else ("PixelData", "EncapsulatedDocument")
            )
            values = [held.bulk(k) for held in found for k in keywords if k in held.ds]
            return retrieving.send_bulk(
                ask, ask.root + ask.path, retrieving.require(values, "value")
            )
        raise Problem(404, "There is nothing here.")

    def read_frames(self, ask, parts):
        held = self.find(tuple(parts[1:6:2]))[0]
        if len(parts) == 8:
            return retrieving.send_frames(ask, held, parts[7])
        if not parts[7].isdigit() or parts[7] == "0":
            raise Problem(400, "Frames are numbers from 1 on.")
        if parts[8] == "rendered":
            return rendering.send_rendered(ask, held, int(parts[7]) - 1)
        return rendering.send_thumbnail(ask, [held])

    def read_bulk(self, ask, uids, tag):
        held = self.find(uids)[0]
        keyword = {"7FE00010": "PixelData", "00420011": "EncapsulatedDocument"}.get(tag)
        if keyword is None or keyword not in held.ds:
            raise Problem(404, "There is no such value.")
        return retrieving.send_bulk(ask, ask.root + ask.path, [held.bulk(keyword)])

    def search(self, ask, parts):
        level = _COLLECTIONS.index(parts[-1])
        query = self.change_search(searching.read_search(ask, level))
        found = self.holdings.select(*parts[1::2])
        results, left = searching.run(query, found, ask.root, self.holdings)
        shown = [searching.shape(query, result, len(parts) // 2) for result in results]
        answer = retrieving.send_data_sets(ask, shown, ask.root + ask.path)
        warnings = list(query.warnings)
        if left:
            warnings.append(f"There are {left} additional results that can be requested")
        if warnings:
            answer.headers["Warning"] = ", ".join(f"299 {ask.root}: {text}" for text in warnings)
        return answer

    def change_search(self, search):
        return search

    def read_uri(self, ask):
        """The URI service (PS3.18 §9)."""
        asked = dict(ask.parameters)
        names = ("studyUID", "seriesUID", "objectUID")
        if asked.get("requestType") != "WADO" or not all(asked.get(name) for name in names):
            raise Problem(400, "requestType=WADO, studyUID, seriesUID and objectUID are needed.")
        held = self.find(tuple(asked[name] for name in names))[0]
        kind = asked.get("contentType", "image/jpeg")
        ask.headers["accept"] = kind
        if kind == DICOM:
            return self.read_uri_file(asked, held)
        return rendering.send_rendered(
            translate(ask, asked), held, int(asked.get("frameNumber", 1)) - 1
        )

    def read_uri_file(self, asked, held):
        wanted = asked.get("transferSyntax")
        if wanted and not wanted.replace(".", "").isdigit():
            raise Problem(400, "transferSyntax is a UID.")
        syntax = retrieving.pick_syntax(held, {"transfer-syntax": wanted} if wanted else {})
        if syntax is None:
            raise Problem(406, "It is not to be had in that transfer syntax.")
        return Answer(200, {"Content-Type": DICOM}, held.encode(syntax))

    def describe(self, ask):
        """The capabilities (PS3.18 §8.9)."""
        (kind, _), _ = choose(ask, [(WADL, None), (JSON, None)])
        methods = {"studies": ["GET", "POST"], "series": ["GET"], "instances": ["GET"]}
        if kind == JSON:
            return Answer(200, {"Content-Type": JSON}, json.dumps({"resources": methods}).encode())
        resources = "".join(
            f'<resource path="{name}">'
            + "".join(f'<method name="{method}"/>' for method in found)
            + "</resource>"
            for name, found in methods.items()
        )
        body = f'<application xmlns="http://wadl.dev.java.net/2009/02"><resources>{resources}</resources></application>'
        return Answer(200, {"Content-Type": WADL}, body.encode())

    def finish(self, ask, answer):
        """Add validators, answer conditions and ranges, and compress."""
        kind = answer.headers["Content-Type"]
        if "multipart" not in kind:
            etag = '"' + hashlib.sha256(kind.encode() + answer.body).hexdigest()[:20] + '"'
            answer.headers["ETag"] = etag
            known = ask.headers.get("if-none-match", "")
            if etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
                return Answer(304, {"ETag": etag})
        answer.headers |= {
            "Vary": "Accept, Accept-Encoding",
            "Content-Location": ask.root + ask.path,
        }
        answer = retrieving.cut_range(ask, answer)
        if "gzip" in ask.headers.get("accept-encoding", "") and "json" in kind:
            answer.headers["Content-Encoding"] = "gzip"
            answer.body = gzip.compress(answer.body, 1)
        return answer

    def open_up(self, ask, answer):
        """Let viewers of other origins read."""
        answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        if "origin" in ask.headers:
            answer.headers["Access-Control-Allow-Origin"] = "*"
            answer.headers["Access-Control-Expose-Headers"] = _EXPOSED
        if "access-control-request-method" in ask.headers:
            answer.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST, DELETE, OPTIONS"
            answer.headers["Access-Control-Allow-Headers"] = "accept, authorization, content-type"
        return answer


NAMES = {
    ("studies",),
    ("series",),
    ("instances",),
    ("studies", "series"),
    ("studies", "instances"),
    ("studies", "series", "instances"),
}
"""Names of collections in the paths of searches."""


def allowed(parts):
    methods = ["GET", "HEAD", "OPTIONS"]
    if parts[:1] == ["studies"]:
        methods += ["POST"] if len(parts) in (1, 2) else []
        methods += ["DELETE"] if len(parts) in (2, 4, 6) else []
    return ", ".join(methods)


def translate(ask, asked):
    """Return a request of the URI service in the terms of a rendered resource."""
    query = []
    if "rows" in asked or "columns" in asked:
        query.append(f"viewport={asked.get('columns', 9999)},{asked.get('rows', 9999)}")
    if "windowCenter" in asked:
        query.append(f"window={asked['windowCenter']},{asked['windowWidth']},linear")
    if "imageQuality" in asked:
        query.append(f"quality={asked['imageQuality']}")
    ask.query = "&".join(query)
    return ask


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    reference: Reference

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def serve_one(self):
        body = self.read_body()
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        root = f"http://{headers['host']}{ROOT}"
        if not parts.path.startswith(ROOT):
            answer = Problem(404, "There is nothing here.").to_answer()
        else:
            path, peer = parts.path.removeprefix(ROOT), self.client_address
            ask = Ask(self.command, path, parts.query, headers, body, root, peer)
            answer = self.reference.answer(ask)
        self.send_whole(answer)

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send_whole(self, answer):
        head = [f"HTTP/1.1 {answer.status} -"]
        answer.headers.setdefault("Content-Length", len(answer.body))
        head += [f"{name}: {value}" for name, value in answer.headers.items() if value is not None]
        body = b"" if self.command == "HEAD" or answer.status == 304 else answer.body
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        self.close_connection = answer.headers.get("Connection") == "close"

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve_one

    def log_message(self, *_arguments):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def serve(reference):
    """Run a reference server, or a faulty one; yields its DICOMweb root."""
    handler = type("Handler", (_Handler,), {"reference": reference})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{ROOT}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
