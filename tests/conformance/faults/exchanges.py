"""Servers that do wrong by HTTP, CORS and capabilities."""

from ..reference.messages import Answer
from ..reference.server import WADL, Reference
from .making import fault, gone, on_answer, on_ask

# Capabilities


def _is_options(ask):
    return ask.method == "OPTIONS" and not ask.segments


@on_answer("has no capabilities", "capabilities", where=lambda ask: ask.method == "OPTIONS")
def no_capabilities(ask, answer):
    return gone()


@on_answer("sends capabilities as text that is cut off", "capabilities", where=_is_options)
def broken_capabilities(ask, answer):
    answer.headers["Content-Type"] = "text/plain"
    answer.body = answer.body[:20]


@on_answer("names no resources", "capabilities", where=_is_options)
def poor_capabilities(ask, answer):
    answer.body = answer.body.replace(b"studies", b"things").replace(b"GET", b"get")


@on_answer("sends WADL as JSON, and JSON as WADL", "capabilities", where=_is_options)
def capabilities_misnamed(ask, answer):
    kinds = {WADL: "application/json", "application/json": WADL}
    answer.headers["Content-Type"] = kinds[answer.headers["Content-Type"]]


@on_answer("does not name methods", "capabilities", "http", ok=False)
def no_allow(ask, answer):
    answer.headers.pop("Allow", None)


# Methods


@on_answer("has no HEAD", "http", ok=False)
def no_head(ask, answer):
    return Answer(501) if ask.method == "HEAD" else answer


@on_answer("tells another length to HEAD", "http")
def head_of_zero(ask, answer):
    if ask.method == "HEAD":
        answer.headers["Content-Length"] = 0


@on_answer("finds by HEAD what is not there", "http", ok=False)
def head_finds_anything(ask, answer):
    return Answer(200) if ask.method == "HEAD" and answer.status == 404 else answer


@on_answer("calls everything text/plain in answers to HEAD", "http")
def head_misnamed(ask, answer):
    if ask.method == "HEAD":
        answer.headers["Content-Type"] = "text/plain"


@on_answer("takes any method for GET", "http", ok=False)
def any_method(ask, answer):
    return (
        Answer(200, {"Content-Type": "application/json"}, b"{}") if answer.status == 405 else answer
    )


@on_answer("answers 500 to methods that it does not know", "http", ok=False)
def unknown_methods_fail(ask, answer):
    return gone(500) if answer.status == 405 else answer


@on_answer("finds something at any path", "http", ok=False)
def any_path(ask, answer):
    if answer.status == 404 and ("nosuch" in ask.path or "no-such" in ask.path):
        return Answer(200, {"Content-Type": "application/json"}, b"[]")
    return answer


@fault("fails at strange Accepts and paths", "http")
class strange_requests_fail(Reference):
    def change_answer(self, ask, answer):
        is_strange = len(ask.headers.get("accept", "x")) in (0, 1) or "%" in ask.path
        return gone(500) if is_strange and ask.method == "GET" else answer


# Headers


@on_answer("has no Content-Location", "http")
def no_content_location(ask, answer):
    answer.headers.pop("Content-Location", None)


@on_answer("has no Vary", "http")
def no_vary(ask, answer):
    answer.headers.pop("Vary", None)


@on_answer("has no ETag", "http", ok=False)
def no_etag(ask, answer):
    answer.headers.pop("ETag", None)


@on_answer("does not quote ETags", "http", ok=False)
def etag_unquoted(ask, answer):
    if "ETag" in answer.headers:
        answer.headers["ETag"] = answer.headers["ETag"].strip('"')


@on_ask("passes over If-None-Match", "http")
def conditions_passed_over(ask):
    ask.headers.pop("if-none-match", None)


@on_ask("reads a single, strong ETag alone", "http")
def one_etag(ask):
    if "," in ask.headers.get("if-none-match", ""):
        del ask.headers["if-none-match"]


@on_answer("answers 304 to any ETag", "http", ok=False)
def not_modified_always(ask, answer):
    return Answer(304) if "if-none-match" in ask.headers else answer


@fault("has one ETag for all representations", "http")
class one_etag_for_all(Reference):
    def change_answer(self, ask, answer):
        if answer.status == 200 and "metadata" in ask.path:
            answer.headers["ETag"] = '"the-same"'
        return answer


@on_answer("closes every connection", "http")
def closes(ask, answer):
    answer.headers["Connection"] = "close"


# CORS


def _on_cors(sentence, name):
    """Register a server without one of the header fields of CORS."""

    def change(ask, answer):
        answer.headers.pop(name, None)

    change.__name__ = "no_" + name.lower().replace("-", "_")
    on_answer(sentence, "cors", ok=False)(change)


_on_cors("lets no other origin read", "Access-Control-Allow-Origin")
_on_cors("exposes no header fields", "Access-Control-Expose-Headers")
_on_cors("allows no header fields", "Access-Control-Allow-Headers")
_on_cors("allows no methods", "Access-Control-Allow-Methods")
_on_cors("lets nobody embed", "Cross-Origin-Resource-Policy")


@on_answer("lets another origin read", "cors", ok=False)
def other_origin(ask, answer):
    if "origin" in ask.headers:
        answer.headers["Access-Control-Allow-Origin"] = "https://other.example.org"


@on_answer("names the origin and says nothing of it in Vary", "cors", ok=False)
def origin_named(ask, answer):
    if "origin" in ask.headers:
        answer.headers["Access-Control-Allow-Origin"] = ask.headers["origin"]


@on_answer("lets other origins read no errors", "cors", ok=False)
def errors_closed(ask, answer):
    if answer.status >= 400:
        answer.headers.pop("Access-Control-Allow-Origin", None)
