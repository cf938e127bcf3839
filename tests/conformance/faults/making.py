"""How a faulty server is made of the reference: one change to requests, answers or searches."""

import json
from dataclasses import dataclass

from lamella.conformance.multipart import split_parts

from ..reference.messages import Answer, join
from ..reference.server import NAMES, Reference

FAULTS = {}


@dataclass(frozen=True)
class Fault:
    """A way to be wrong.

    Attributes:
        make: The class of the faulty server.
        finds: Names of groups whose checks find it.
    """

    name: str
    sentence: str
    make: type
    finds: tuple


def fault(sentence, *finds):
    """Register a faulty server; its name is that of the class or function."""

    def register(make):
        name = make.__name__
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, sentence, make, finds)
        return make

    return register


def on_ask(sentence, *finds):
    """Register a server that gets each request changed by a function."""

    def register(change):
        body = {"change_ask": lambda self, ask: change(ask) or ask}
        fault(sentence, *finds)(type(change.__name__, (Reference,), body))
        return change

    return register


def on_answer(sentence, *finds, where=lambda ask: True, ok=True):
    """Register a server whose answers are changed by a function.

    Args:
        where: For which requests.
        ok: Whether successes alone are changed.
    """

    def register(change):
        def change_answer(self, ask, answer):
            if where(ask) and (not ok or answer.status in (200, 202)):
                return change(ask, answer) or answer
            return answer

        body = {"change_answer": change_answer}
        fault(sentence, *finds)(type(change.__name__, (Reference,), body))
        return change

    return register


def on_search(sentence, *finds):
    """Register a server that runs another search than it was asked for."""

    def register(change):
        body = {"change_search": lambda self, search: change(search) or search}
        fault(sentence, *finds)(type(change.__name__, (Reference,), body))
        return change

    return register


def on_data_sets(sentence, *finds, where=lambda ask: True):
    """Register a server whose DICOM JSON is changed, data set by data set."""

    def register(change):
        def change_answer(self, ask, answer):
            is_json = answer.headers.get("Content-Type", "").endswith("dicom+json")
            if answer.status == 200 and is_json and where(ask) and not is_packed(answer):
                found = json.loads(answer.body)
                if isinstance(found, list):
                    shown = [change(data_set) or data_set for data_set in found]
                    answer.body = json.dumps(shown, ensure_ascii=False).encode()
            return answer

        body = {"change_answer": change_answer}
        fault(sentence, *finds)(type(change.__name__, (Reference,), body))
        return change

    return register


def on_parts(sentence, *finds, where=lambda ask: True):
    """Register a server whose multipart answers are put together anew.

    The function gets `(Content-Type, Content-Location, body)` of all parts and gives them back.
    """

    def register(change):
        def change_answer(self, ask, answer):
            if answer.status == 200 and is_multipart(answer) and where(ask):
                return rejoin(answer, change)
            return answer

        body = {"change_answer": change_answer}
        fault(sentence, *finds)(type(change.__name__, (Reference,), body))
        return change

    return register


def rejoin(answer, change):
    parts = split_parts(answer.headers["Content-Type"], answer.body)
    root = answer.headers["Content-Type"].split('"')[1]
    triples = [(p.content_type, p.headers["content-location"], p.body) for p in parts]
    made = join(list(change(triples)), root)
    made.headers = {**answer.headers, **made.headers, "Content-Length": None}
    del made.headers["Content-Length"]
    return made


def is_multipart(answer):
    return answer.headers.get("Content-Type", "").startswith("multipart")


def is_packed(answer):
    return "Content-Encoding" in answer.headers


def is_search(ask):
    return ask.method == "GET" and tuple(ask.segments[::2]) in NAMES and len(ask.segments) % 2 == 1


def is_metadata(ask):
    return ask.segments[-1:] == ["metadata"]


def is_instance(ask):
    return ask.method == "GET" and len(ask.segments) in (2, 4, 6) and ask.segments[0] == "studies"


def is_frames(ask):
    return len(ask.segments) == 8 and ask.segments[6] == "frames"


def is_bulk(ask):
    return "bulkdata" in ask.segments or "pixeldata" in ask.segments


def is_rendered(ask):
    return ask.segments[-1:] == ["rendered"]


def is_thumbnail(ask):
    return ask.segments[-1:] == ["thumbnail"]


def is_store(ask):
    return ask.method == "POST"


def is_uri(ask):
    return ask.segments == ["wado"]


def drop_parameters(ask, *names):
    """Take parameters out of a query, and those alone."""
    kept = [part for part in ask.query.split("&") if part.partition("=")[0] not in names]
    ask.query = "&".join(kept)


def gone(status=404):
    return Answer(status, {"Content-Type": "application/json"}, b'{"title": "No", "detail": "No."}')
