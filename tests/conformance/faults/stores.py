"""Servers that store and delete wrongly."""

import json
import re
from threading import Lock

from ..reference import storing
from ..reference.messages import DICOM, DICOM_JSON, DICOM_XML, Answer, Problem
from ..reference.server import Reference
from .making import fault, gone, is_store, on_answer, on_ask


class _Forgetful(Reference):
    def route(self, ask):
        if ask.method != "POST":
            return super().route(ask)
        kept = self.holdings
        self.holdings = kept.copy()
        try:
            return super().route(ask)
        finally:
            self.holdings = kept


fault("tells of success and keeps nothing", "store", "refuse", "delete")(
    type("stores_nothing", (_Forgetful,), {})
)


@on_answer("answers 201 to a store", "store", where=is_store)
def created(ask, answer):
    answer.status = 201


@on_answer("answers 200 whatever failed", "refuse", where=is_store, ok=False)
def success_always(ask, answer):
    if answer.status in (202, 400, 409, 415):
        answer.status = 200


@on_answer("answers 409 whatever is wrong", "refuse", where=is_store, ok=False)
def conflict_always(ask, answer):
    if answer.status in (202, 400, 415):
        answer.status = 409


def _module(change):
    def apply(ask, answer):
        if answer.headers.get("Content-Type") == DICOM_JSON:
            answer.body = json.dumps(change(json.loads(answer.body))).encode()

    return apply


def _on_module(sentence, *finds):
    def register(change):
        apply = _module(lambda module: change(module) or module)
        apply.__name__ = change.__name__
        on_answer(sentence, *finds, where=is_store, ok=False)(apply)
        return change

    return register


@_on_module("leaves the Referenced SOP Sequence out", "store", "refuse")
def no_referenced(module):
    module.pop("00081199", None)


@_on_module("has an empty Failed SOP Sequence, and one of what it referenced", "store")
def empty_failed(module):
    module.setdefault("00081198", {"vr": "SQ"})


@_on_module("tells of what failed among what was stored", "refuse")
def failed_as_referenced(module):
    failed = module.pop("00081198", {"Value": []})["Value"]
    module.setdefault("00081199", {"vr": "SQ", "Value": []})["Value"] += failed


@_on_module("gives no reasons", "refuse")
def no_reasons(module):
    for tag in ("00081198", "0008119A"):
        for item in module.get(tag, {}).get("Value", []):
            item.pop("00081197", None)


@_on_module("gives Retrieve URLs in UT, of nothing", "store")
def retrieve_urls_in_ut(module):
    for item in module.get("00081199", {}).get("Value", []):
        item["00081190"] = {"vr": "UT", "Value": ["http://nowhere.example.org"]}


@_on_module("does not tell of garbage", "refuse")
def garbage_untold(module):
    module.pop("0008119A", None)


@on_answer("answers a store in plain JSON", "store", where=is_store)
def module_in_plain_json(ask, answer):
    answer.headers["Content-Type"] = "text/json"


@on_ask("answers a store in JSON alone", "store")
def module_in_json_alone(ask):
    if ask.method == "POST":
        ask.headers["accept"] = DICOM_JSON


@fault("stores the first instance of a request", "store", "refuse", "delete")
class first_stored(Reference):
    def route(self, ask):
        if ask.method == "POST" and len(parts := ask.body.split(b"\r\n--conformance-")) > 2:
            ask.body = b"\r\n--conformance-".join([parts[0], parts[-1]])
        return super().route(ask)


@fault("stores at All Studies alone", "store", "refuse")
class no_store_at_study(Reference):
    def route(self, ask):
        if ask.method == "POST" and len(ask.segments) == 2:
            raise Problem(400, "No.")
        return super().route(ask)


@fault("replaces a study with what is stored into it", "store", "refuse")
class study_replaced(Reference):
    def route(self, ask):
        if ask.method != "POST":
            return super().route(ask)
        before = {held.key for held in self.holdings.select()}
        answer = super().route(ask)
        new = {h.key[0] for h in self.holdings.select() if h.key not in before}
        old = [h for h in self.holdings.select() if h.key in before and h.key[0] in new]
        self.holdings.remove(old)
        return answer


@fault("finds what is stored an hour later", "store")
class not_searchable(Reference):
    def search(self, ask, parts):
        known = {h.key for h in self.holdings.select() if "Stored" not in str(h.ds.PatientName)}
        kept = self.holdings
        self.holdings = kept.copy()
        self.holdings.remove([h for h in kept.select() if h.key not in known])
        try:
            return super().search(ask, parts)
        finally:
            self.holdings = kept


@fault("reads multipart as one client writes it", "store", "refuse")
class one_way_to_write(Reference):
    def route(self, ask):
        if ask.method == "POST":
            kind = ask.headers.get("content-type", "")
            wrong = (
                not re.match('multipart/related; type="[^"]*"; boundary=[^"]', kind)
                or not ask.body.startswith(b"--")
                or not ask.body.endswith(b"--\r\n")
                or b"\r\nContent-Length" in ask.body
                or b"\r\ncontent-type" in ask.body
                or b"transfer-syntax" in ask.body
                or ask.headers.get("transfer-encoding") == "chunked"
            )
            if wrong:
                raise Problem(400, "No.")
        return super().route(ask)


@fault("splits bodies at anything like a boundary", "store")
class any_boundary(Reference):
    def route(self, ask):
        if ask.method == "POST" and b"--conformance-\r\n" in ask.body:
            ask.body = ask.body.replace(b"--conformance-\r\n\r\n--", b"")
        return super().route(ask)


@on_ask("takes no more than a megabyte", "store")
def small_bodies(ask):
    if len(ask.body) > 2**20:
        ask.body = ask.body[: 2**20]


@on_ask("stores files alone", "store")
def files_alone(ask):
    kind = ask.headers.get("content-type", "")
    if DICOM_JSON in kind or DICOM_XML in kind:
        ask.headers["content-type"] = "text/plain"


@fault("drops the values of metadata that come apart", "store")
class bulk_lost(Reference):
    def route(self, ask):
        kept = storing.build_files

        def build(root, parts):
            return [file[:-8] + bytes(8) for file in kept(root, parts)]

        storing.build_files = build
        try:
            return super().route(ask)
        finally:
            storing.build_files = kept


@fault("stores nothing of a zip archive", "store")
class zip_ignored(Reference):
    def route(self, ask):
        if ask.headers.get("content-type") == "application/zip":
            return Answer(200, {"Content-Type": DICOM_JSON}, b"{}")
        return super().route(ask)


@on_ask("takes a single part for nothing", "store")
def no_single_store(ask):
    if ask.headers.get("content-type") == DICOM:
        ask.headers["content-type"] = "text/plain"


@fault("stores what is cut off", "refuse")
class truncated_stored(Reference):
    def route(self, ask):
        boundary = ask.headers.get("content-type", "").partition("boundary=")[2].encode()
        if ask.method == "POST" and boundary and not ask.body.rstrip().endswith(b"--"):
            ask.body += b"\r\n--" + boundary + b"--"
        return super().route(ask)


@fault("stores an instance of any study at a study", "refuse")
class any_study(Reference):
    def route(self, ask):
        if ask.method == "POST":
            ask.path = "/studies" if len(ask.segments) == 2 else ask.path
        return super().route(ask)


@on_ask("takes any media type for multipart", "refuse")
def any_media_type(ask):
    if ask.method == "POST" and ask.headers.get("content-type", "text").startswith(
        ("text", "multipart")
    ):
        kind = ask.headers.get("content-type", "")
        ask.headers["content-type"] = (
            kind.replace("text/plain", DICOM) if "multipart" in kind else DICOM
        )


@fault("makes up UIDs", "refuse")
class uids_made_up(Reference):
    def route(self, ask):
        ask.body = ask.body.replace(b"\x08\x00\x19\x00UI", b"\x08\x00\x18\x00UI")
        return super().route(ask)


@fault("fails at broken instances", "refuse")
class broken_instances_fail(Reference):
    def change_answer(self, ask, answer):
        return gone(500) if ask.method == "POST" and answer.status == 409 else answer


@on_answer("accepts a store anywhere", "refuse", where=is_store, ok=False)
def store_anywhere(ask, answer):
    return Answer(200, {"Content-Type": DICOM_JSON}, b"{}") if answer.status == 405 else answer


@fault("loses an instance that is stored again", "refuse", "delete")
class again_destroys(Reference):
    def __init__(self, holdings=None):
        super().__init__(holdings)
        self.turn = Lock()  # of stores that come together all but the first are again

    def route(self, ask):
        with self.turn:
            return self.take_and_lose(ask)

    def take_and_lose(self, ask):
        known = {held.key for held in self.holdings.select()} if ask.method == "POST" else set()
        answer = super().route(ask)
        if ask.method == "POST" and answer.status == 200:
            uids = re.findall(rb'"00081155": \{"vr": "UI", "Value": \["([^"]*)', answer.body)
            twice = len(uids) != len(set(uids))
            again = [h for h in self.holdings.select() if h.ds.SOPInstanceUID.encode() in uids]
            self.holdings.remove([h for h in again if twice or h.key in known])
        return answer


# Deleting


@on_ask("deletes the study whatever is to be deleted", "delete")
def study_deleted(ask):
    if ask.method == "DELETE":
        ask.path = "/".join(ask.path.split("/")[:3])


@fault("tells of success and deletes nothing", "delete")
class deletes_nothing(Reference):
    def route(self, ask):
        return Answer(204) if ask.method == "DELETE" else super().route(ask)


@fault("remembers what was deleted, and takes it no more", "delete")
class never_again(Reference):
    def __init__(self, holdings=None):
        super().__init__(holdings)
        self.gone = set()

    def route(self, ask):
        if ask.method == "DELETE":
            self.gone |= {h.ds.SOPInstanceUID for h in self.holdings.select(*ask.segments[1::2])}
        if ask.method == "POST" and any(uid.encode() in ask.body for uid in self.gone):
            raise Problem(409, "It was deleted.")
        return super().route(ask)


@fault("finds what was deleted", "delete")
class deleted_found(Reference):
    def __init__(self, holdings=None):
        super().__init__(holdings)
        self.ever = self.holdings

    def route(self, ask):
        if ask.method == "DELETE":
            self.ever = self.holdings.copy()
        return super().route(ask)

    def search(self, ask, parts):
        kept, self.holdings = self.holdings, self.ever
        try:
            return super().search(ask, parts)
        finally:
            self.holdings = kept
