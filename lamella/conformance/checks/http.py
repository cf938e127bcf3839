"""What every resource owes to HTTP: methods, conditions, ranges, CORS.

Source:
    PS3.18 §8.4 and §8.5, RFC 9110, the Fetch standard.
"""

from __future__ import annotations

from functools import partial

from lamella.conformance.check import Group, Level
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    DICOM,
    DICOM_JSON,
    expect,
    expect_equal,
    expect_header,
    expect_refusal,
    expect_status,
    require_offered,
)
from lamella.conformance.outcomes import NotOffered
from lamella.conformance.probe import Probe
from lamella.conformance.samples import make_uid

GROUP = Group("http", "HTTP")
CORS = Group("cors", "Other origins (CORS)")
_ORIGIN = "https://viewer.example.org"


def _place(probe: Probe, kind: str) -> tuple[str, str, str]:
    """Return path, query and Accept of a resource of a kind."""
    s = probe.specimen
    return {
        "search": ("/studies", f"StudyInstanceUID={s.study_uid}", DICOM_JSON),
        "metadata": (f"{s.path}/metadata", "", DICOM_JSON),
        "instance": (s.path, "", DICOM),
        "frame": (
            f"{s.path}/frames/1",
            "",
            'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        ),
    }[kind]


def _get(probe: Probe, kind: str, headers: dict[str, str] | None = None) -> Reply:
    path, query, accept = _place(probe, kind)
    return probe.get(path, query, accept, headers)


def _head(probe: Probe, kind: str) -> Reply:
    path, query, accept = _place(probe, kind)
    return probe.send("HEAD", path, query, {"Accept": accept})


def _has_head(kind: str, probe: Probe) -> None:
    """HEAD answers as GET does, without the body (RFC 9110 §9.3.2)."""
    whole = expect_status(_get(probe, kind), 200)
    reply = _head(probe, kind)
    expect_status(reply, 200)
    expect_equal(reply, "media type", reply.media_type, whole.media_type)
    expect_equal(reply, "body", reply.body, b"")


for _kind in ("search", "metadata", "instance", "frame"):
    GROUP.add(
        Level.SHALL,
        f"head-{_kind}",
        f"HEAD answers as GET does: {_kind}",
        "RFC 9110 §9.1, §9.3.2",
        (27,),
        partial(_has_head, _kind),
    )


@GROUP.shall("head-length", "the length that HEAD tells is that of GET", "RFC 9110 §8.6", 27)
def _head_length(probe: Probe) -> None:
    whole, reply = _get(probe, "metadata"), expect_status(_head(probe, "metadata"), 200)
    told = reply.header("content-length")
    expect(told in (None, str(len(whole.body))), reply, str(len(whole.body)), told)


@GROUP.shall("head-unknown", "HEAD on what does not exist is 404", "RFC 9110 §9.3.2", 27)
def _head_unknown(probe: Probe) -> None:
    reply = probe.send("HEAD", f"/studies/{make_uid()}/metadata", headers={"Accept": DICOM_JSON})
    expect_status(reply, 404, 410)


def _is_405(method: str, probe: Probe) -> None:
    path = f"{probe.sample('ct1').path}/metadata"  # of its own: who knows what a PUT does
    reply = probe.send(method, path, headers={"Content-Type": DICOM_JSON}, body=b"[]")
    expect_status(reply, 405, 404, 501)
    if reply.status == 405:
        allowed = expect_header(reply, "Allow")
        expect("GET" in allowed, reply, "GET in Allow", allowed)


for _method in ("PUT", "PATCH"):
    GROUP.add(
        Level.SHOULD,
        f"405-{_method}",
        f"{_method} on metadata is refused, 405 with Allow",
        "RFC 9110 §9.1; PS3.18 §8.5, Table 8.5-1",
        (27,),
        partial(_is_405, _method),
    )


@GROUP.practice("405", "a method that a resource has not is 405", "RFC 9110 §15.5.6", 27)
def _method_not_allowed(probe: Probe) -> None:
    path = f"{probe.sample('ct1').study_path}/instances"
    reply = probe.send("PUT", path, headers={"Content-Type": DICOM_JSON}, body=b"[]")
    expect_status(reply, 405)


@GROUP.shall("unknown-path", "a path that means nothing is 404", "RFC 9110 §15.5.5", 12)
def _unknown_path(probe: Probe) -> None:
    expect_status(probe.get("/no-such-resource"), 404, 400)


@GROUP.shall(
    "unknown-below", "a path below an instance that means nothing is 404", "RFC 9110 §15.5.5", 12
)
def _unknown_below(probe: Probe) -> None:
    expect_status(probe.get(f"{probe.specimen.path}/nosuchthing"), 404, 400)


@GROUP.practice("encoded-path", "a percent-encoded path is the same path", "RFC 3986 §6.2.2.2", 12)
def _encoded_path(probe: Probe) -> None:
    uid = probe.specimen.study_uid.replace("2", "%32").replace("1", "%31")
    expect_status(probe.get(f"/studies/{uid}/series"), 200)


@GROUP.practice("strange-accept", "no strange Accept makes the server fail", "RFC 9110 §12.5.1", 13)
def _strange_accept(probe: Probe) -> None:
    strange = (
        "",
        ";",
        "/",
        "a/b/c",
        "multipart/related; type=",
        'multipart/related; type="',
        "*",
        "x" * 2000,
    )
    for kind in ("search", "metadata", "instance", "frame"):
        path, query, _ = _place(probe, kind)
        for accept in strange:
            reply = probe.get(path, query, accept)
            expect(reply.status < 500, reply, "no 5xx", reply.summarise())


@GROUP.practice("strange-path", "no strange path makes the server fail", "PS3.18 §8.5", 12)
def _strange_path(probe: Probe) -> None:
    for path in (
        "/studies/%00",
        "/studies/..%2F..%2Fetc",
        "/studies/" + "9" * 300 + "/series",
        "/studies//series",
        "/studies/%FF/metadata",
    ):
        reply = probe.get(path)
        expect(reply.status < 500, reply, "no 5xx", reply.summarise())


@GROUP.shall("error-type", "an error with a body has a Content-Type", "PS3.18 §8.4.2", 30)
def _error_type(probe: Probe) -> None:
    reply = expect_refusal(probe.get(f"/studies/{make_uid()}/metadata"))
    is_told = bool(reply.content_type) or not reply.body
    expect(is_told, reply, "a Content-Type", "none")


@GROUP.practice("error-json", "a 404 is JSON with title and detail", "RFC 9457", 30)
def _error_json(probe: Probe) -> None:
    reply = expect_refusal(probe.get(f"/studies/{make_uid()}/metadata"))
    found = reply.json
    has_both = isinstance(found, dict) and bool(found.get("title")) and bool(found.get("detail"))
    expect(has_both, reply, "title and detail", reply.body[:120])


@GROUP.practice("error-quiet", "an error repeats nothing of a patient", "RFC 9457 §5", 30)
def _error_quiet(probe: Probe) -> None:
    secret = "Conformance%5ESecret"
    reply = probe.get("/studies", f"PatientName={secret}&limit=abc")
    expect(b"Secret" not in reply.body, reply, "no name of a patient", reply.body[:200])


@GROUP.should(
    "content-location", "an answer has a Content-Location", "PS3.18 §8.4.2, Table 8.4.2-1", 15
)
def _content_location(probe: Probe) -> None:
    reply = expect_status(_get(probe, "metadata"), 200)
    location = expect_header(reply, "Content-Location")
    wanted = f"{probe.specimen.path}/metadata"
    expect(location.endswith(wanted), reply, f"a URL that ends in {wanted}", location)


@GROUP.should("vary", "what depends on Accept says so in Vary", "RFC 9110 §12.5.5", 18)
def _vary(probe: Probe) -> None:
    reply = expect_status(_get(probe, "metadata"), 200)
    fields = (reply.header("vary") or "").lower()
    expect("accept" in fields or fields == "*", reply, "Vary: Accept", fields or "none")


def _tag(probe: Probe, kind: str) -> str:
    etag = expect_status(_get(probe, kind), 200).header("etag")
    if etag is None:
        raise NotOffered("ETag is not offered.")
    return etag


@GROUP.practice("etag", "metadata have an ETag", "RFC 9110 §8.8.3", 18)
def _etag(probe: Probe) -> None:
    expect_header(expect_status(_get(probe, "metadata"), 200), "ETag")


@GROUP.practice("etag-form", "an ETag is in quotation marks", "RFC 9110 §8.8.3", 18)
def _etag_form(probe: Probe) -> None:
    etag = _tag(probe, "metadata")
    is_right = etag.removeprefix("W/").startswith('"') and etag.endswith('"')
    expect(is_right, None, 'an ETag as "…"', etag)


@GROUP.practice(
    "not-modified", "If-None-Match with that ETag is 304, without a body", "RFC 9110 §13.1.2", 18
)
def _not_modified(probe: Probe) -> None:
    for kind in ("metadata", "search"):
        reply = _get(probe, kind, {"If-None-Match": _tag(probe, kind)})
        expect_equal(expect_status(reply, 304), "body", reply.body, b"")


@GROUP.practice("not-modified-list", "so it is in a list, and weak", "RFC 9110 §13.1.2", 18)
def _not_modified_list(probe: Probe) -> None:
    etag = _tag(probe, "metadata").removeprefix("W/")
    reply = _get(probe, "metadata", {"If-None-Match": f'"other", W/{etag}'})
    expect_status(reply, 304)


@GROUP.practice("modified", "If-None-Match with another ETag is 200", "RFC 9110 §13.1.2", 18)
def _modified(probe: Probe) -> None:
    _tag(probe, "metadata")
    expect_status(_get(probe, "metadata", {"If-None-Match": '"other"'}), 200)


@GROUP.practice("etag-representation", "JSON and XML have different ETags", "RFC 9110 §8.8.1", 18)
def _etag_representation(probe: Probe) -> None:
    json = _tag(probe, "metadata")
    accept = 'multipart/related; type="application/dicom+xml"'
    reply = require_offered(probe.get(_place(probe, "metadata")[0], accept=accept), "XML", 406)
    expect(reply.header("etag") != json, reply, "another ETag", json)


@GROUP.practice("range", "a Range of an instance is 206", "RFC 9110 §14.2", 18)
def _range(probe: Probe) -> None:
    whole = expect_status(_get(probe, "instance"), 200)
    reply = _get(probe, "instance", {"Range": "bytes=128-131"})
    if reply.status == 200:
        raise NotOffered("Range is not offered.")
    expect_equal(expect_status(reply, 206), "bytes", reply.body, whole.body[128:132])
    wanted = f"bytes 128-131/{len(whole.body)}"
    expect_equal(reply, "Content-Range", reply.header("content-range"), wanted)


@GROUP.practice(
    "range-beyond", "a Range beyond the end of an instance is 416", "RFC 9110 §15.5.17", 18
)
def _range_beyond(probe: Probe) -> None:
    size = len(expect_status(_get(probe, "instance"), 200).body)
    reply = _get(probe, "instance", {"Range": f"bytes={size}-"})
    if reply.status == 200:
        raise NotOffered("Range is not offered.")
    expect_status(reply, 416)


@GROUP.practice("range-nonsense", "a Range that is none is ignored", "RFC 9110 §14.2", 18)
def _range_nonsense(probe: Probe) -> None:
    expect_status(_get(probe, "instance", {"Range": "lines=1-2"}), 200)


@GROUP.practice("keep-alive", "a connection serves several requests", "RFC 9112 §9.3", 18)
def _keep_alive(probe: Probe) -> None:
    reply = expect_status(_get(probe, "metadata"), 200)
    closes = (reply.header("connection") or "").lower() == "close"
    expect(not closes, reply, "a connection that stays open", "Connection: close")


# Other origins


def _cross(probe: Probe, kind: str = "metadata") -> Reply:
    return expect_status(_get(probe, kind, {"Origin": _ORIGIN}), 200)


def _preflight(probe: Probe, method: str = "GET", path: str = "/studies") -> Reply:
    headers = {
        "Origin": _ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "accept,authorization,content-type",
    }
    return probe.send("OPTIONS", path, headers=headers)


def _expect_origin(reply: Reply) -> None:
    origin = reply.header("access-control-allow-origin")
    if origin is None:
        raise NotOffered("CORS is not offered.")
    expect(origin in ("*", _ORIGIN), reply, f"* or {_ORIGIN}", origin)


@CORS.practice("origin", "viewers of other origins may read", "Fetch §3.3", 28)
def _origin(probe: Probe) -> None:
    expect_header(_cross(probe), "Access-Control-Allow-Origin")


@CORS.practice(
    "origin-value", "the origin that is allowed is the viewer's, or any", "Fetch §3.3", 28
)
def _origin_value(probe: Probe) -> None:
    for kind in ("search", "metadata", "instance", "frame"):
        _expect_origin(_cross(probe, kind))


@CORS.practice("error", "errors may be read from other origins, too", "Fetch §3.3", 28)
def _cors_error(probe: Probe) -> None:
    _expect_origin(_cross(probe))
    reply = probe.get(f"/studies/{make_uid()}/metadata", headers={"Origin": _ORIGIN})
    expect_header(reply, "Access-Control-Allow-Origin")


@CORS.practice("preflight", "a preflight of a GET with headers passes", "Fetch §3.3.2", 28)
def _preflight_get(probe: Probe) -> None:
    _expect_origin(_cross(probe))
    reply = expect_status(_preflight(probe), 200, 204)
    expect_header(reply, "Access-Control-Allow-Origin")
    names = expect_header(reply, "Access-Control-Allow-Headers").lower()
    is_allowed = names == "*" or "authorization" in names
    expect(is_allowed, reply, "accept, authorization, content-type allowed", names)


@CORS.practice("preflight-store", "a preflight of a store passes", "Fetch §3.3.2", 28)
def _preflight_post(probe: Probe) -> None:
    _expect_origin(_cross(probe))
    reply = expect_status(_preflight(probe, "POST"), 200, 204)
    names = expect_header(reply, "Access-Control-Allow-Methods")
    expect("POST" in names or "*" in names, reply, "POST in it", names)


@CORS.practice("exposed", "header fields that viewers need are exposed", "Fetch §3.3.3", 28)
def _exposed(probe: Probe) -> None:
    reply = _cross(probe)
    _expect_origin(reply)
    names = expect_header(reply, "Access-Control-Expose-Headers").lower()
    is_exposed = (
        names == "*" or "content-location" in names or "etag" in names or "warning" in names
    )
    expect(is_exposed, reply, "ETag, Warning, Content-Location exposed", names)


@CORS.practice("corp", "answers may be embedded by isolated viewers", "Fetch §3.7 (CORP)", 28)
def _corp(probe: Probe) -> None:
    _expect_origin(_cross(probe))
    reply = _cross(probe, "frame")
    found = expect_header(reply, "Cross-Origin-Resource-Policy")
    expect_equal(reply, "Cross-Origin-Resource-Policy", found, "cross-origin")


@CORS.practice("vary", "an answer that names one origin varies by it", "Fetch §3.3.5", 28)
def _cors_vary(probe: Probe) -> None:
    reply = _cross(probe)
    _expect_origin(reply)
    is_any = reply.header("access-control-allow-origin") == "*"
    is_told = "origin" in (reply.header("vary") or "").lower()
    expect(is_any or is_told, reply, "Vary: Origin", reply.header("vary"))
