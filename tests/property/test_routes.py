"""Requests of any kind to a real server: answered or refused in one way, never a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamella.dicomweb.media_types import DICOM_JSON
from tests.harness.samples import make_instance
from tests.harness.server import serve
from tests.harness.web import BOUNDARY, Reply, store

CASES_SHORT, CASES_LONG = 400, 100_000
LONG_NUMBER = "9" * 5000  # Python refuses to read so many digits
RESOURCES = [
    "", "/studies", "/series", "/instances", "/studies/{}", "/studies/{}/series", "/wado",
    "/studies/{}/instances", "/studies/{}/metadata", "/studies/{}/rendered",
    "/studies/{}/series/{}", "/studies/{}/series/{}/instances", "/studies/{}/series/{}/metadata",
    "/studies/{}/series/{}/thumbnail", "/studies/{}/series/{}/instances/{}",
    "/studies/{}/series/{}/instances/{}/metadata", "/studies/{}/series/{}/instances/{}/frames/{}",
    "/studies/{}/series/{}/instances/{}/rendered",
    "/studies/{}/series/{}/instances/{}/frames/{}/rendered",
    "/studies/{}/series/{}/instances/{}/bulkdata/{}",
    "/studies/{}/bulkdata", "/studies/{}/series/{}/pixeldata", "/studies/{}/thumbnail",
    "/studies/{}/series/{}/instances/{}/frames/{}/thumbnail",
]  # fmt: skip
API = [
    "/api/v1/datasets", "/api/v1/datasets/{}", "/api/v1/datasets/default/{}",
    "/api/v1/datasets/default/commits/{}", "/api/v1/datasets/default/instances/{}/file",
    "/api/v1/datasets/default/branches/{}", "/api/v1/datasets/{}/conflicts", "/api/v1/{}", "/{}",
]  # fmt: skip
INSTANCE = "/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"
ODD = st.text(max_size=12) | st.sampled_from(
    ["", "..", ".", "%", "%zz", "%ff", "%00", "main~1", "main~99", "main@", "a/b", "-1", "0",
     "1,1", "1,2", "9" * 70, LONG_NUMBER, "*", "?", "\\", '"', "🩻",
     "7FE00010", "00081140/1/00081155"]
)  # fmt: skip
KNOWN = st.sampled_from(["1.2.3", "1.2.3.1", "1.2.3.1.1", "1", "main", "default"])
SEGMENTS = st.one_of(KNOWN, KNOWN, ODD.map(lambda text: quote(text, safe="")), st.just("%ff"))
NAMES = st.sampled_from(
    ["PatientName", "StudyDate", "StudyTime", "StudyInstanceUID", "ModalitiesInStudy", "00100020",
     "RequestAttributesSequence.ScheduledProcedureStepID", "00400275.00400009", "00091001",
     "00090010", "limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching",
     "multiplevaluematching", "accept", "charset", "viewport", "window", "quality", "annotation",
     "iccprofile", "revision", "before", "from", "to", "TimezoneOffsetFromUTC", "PixelData",
     "requestType", "studyUID", "contentType", "frameNumber", "rows", "windowCenter"]
)  # fmt: skip
VALUES = ODD | st.sampled_from(
    ["true", "false", "all", "20260101-", "-", "2026-01-01", "101112.5-", "+0100", "1.2.3,1.2.4",
     "WADO", "Test^P*", '""', "1e400", "nan", "10,10", "0,0,10,10,-5,5", "40,400,linear", "64"]
)  # fmt: skip
QUERIES = st.lists(
    st.tuples(NAMES | ODD, VALUES).map(lambda pair: "=".join(quote(text) for text in pair))
    | st.sampled_from(["&", "=", "%ff=%ff", "PatientName=%E5%B1", "limit", "a=b=c", ";"]),
    max_size=4,
).map("&".join)
ACCEPTS = st.lists(
    st.sampled_from(
        ["*/*", "application/", "dicom", "+json", "+xml", "multipart/related", "; type=", '"', "\\",
         ",", ";", "image/jpeg", "text/html", "application/octet-stream", "application/zip",
         ";q=0", ";q=", "transfer-syntax=*", "; transfer-syntax=1.2.840.10008.1.2.4.90", " ", "="]
    ),
    max_size=8,
).map("".join)  # fmt: skip
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "Range": st.sampled_from(
            ["bytes=0-9", "bytes=-1", "bytes=9-0", "bytes=0-1,3-4", f"bytes=1-{LONG_NUMBER}",
             "bytes=-", "lines=1", "bytes=99999999-", f"bytes=-{LONG_NUMBER}"]
        ),
        "If-Range": st.sampled_from(['"x"', "x", "Sat, 21 Nov 2026 00:00:00 GMT"]),
        "If-None-Match": st.sampled_from(["*", '"x"', "W/", ",", '"']),
        "If-Match": st.sampled_from(["*", '"x"', "0" * 64, '"' + "f" * 64 + '"']),
        "Accept-Encoding": st.sampled_from(["gzip", "*;q=0", "gzip;q=", "br,,", ";"]),
        "Accept-Charset": st.sampled_from(["utf-8", "x;q=2", ""]),
        "Host": st.sampled_from(["", "a b", "[::1", "x:99999", "a,b", "x" * 300]),
        "X-Forwarded-Proto": st.sampled_from(["https", "javascript", "a,b", ""]),
        "X-Forwarded-Host": st.sampled_from(["a/b", "x:y:z", '"', ""]),
        "Forwarded": st.sampled_from(["for=_x;host=", "proto=x,", ";;"]),
        "Origin": st.sampled_from(["null", "http://x", "*"]),
        "Lamella-Message": st.sampled_from(["x" * 5000, "\xff", "a\tb"]),
    },
)  # fmt: skip
MARK = f"--{BOUNDARY}".encode()
BODIES = st.lists(
    st.sampled_from(
        [MARK, b"--", b"\r\n", b"\r\n\r\n", b"Content-Type: application/dicom", b"DICM", bytes(128),
         b"Content-Type: application/dicom+json", b"[{}]", b'[{"00080018":{"vr":"UI"}}]', b"\n",
         make_instance()[:700], b"Content-Location: x", b'{"name": "x"}', b"{", b"PK\x03\x04"]
    ) | st.binary(max_size=20),
    max_size=10,
).map(b"".join)  # fmt: skip
TYPES = st.sampled_from(
    ["application/dicom", "application/zip", "application/json", "application/dicom+json", "x", "",
     f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
     f'multipart/related; type="application/dicom+json"; boundary="{BOUNDARY}"',
     "multipart/related; boundary=", 'multipart/related; type="', "multipart/form-data"]
)  # fmt: skip


@st.composite
def targets(draw: st.DrawFn) -> str:
    """Return a path with its query: of a resource, mostly."""
    if draw(st.integers(0, 4)) == 0:
        template = draw(st.sampled_from(API))
    else:
        root = draw(st.sampled_from(["/dicomweb/default/main"] * 3 + ["/dicomweb/{}", "/dicomweb"]))
        template = root + draw(st.sampled_from(RESOURCES))
    path = template.format(*(draw(SEGMENTS) for _ in range(template.count("{}"))))
    query = draw(QUERIES)
    return f"{path}?{query}" if query else path


REQUESTS = st.one_of(
    st.tuples(
        st.sampled_from(["GET"] * 6 + ["HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "BREW"]),
        targets(),
        st.builds(dict.__or__, st.fixed_dictionaries({"Accept": ACCEPTS}), CONDITIONS),
        st.none(),
    ),
    st.tuples(
        st.just("POST"),
        targets(),
        st.builds(dict.__or__, st.fixed_dictionaries({"Content-Type": TYPES}), CONDITIONS),
        BODIES,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("routes") / "data", dimse="off") as running:
        assert store(running.root(), [make_instance()]).status == 200
        yield urlsplit(running.http).netloc


@pytest.mark.parametrize(
    ("target", "headers", "statuses"),
    [
        ("/studies?StudyInstanceUID=,", {}, {200}),
        (f"/studies?limit={LONG_NUMBER}", {}, {400}),
        (f"{INSTANCE}/frames/{LONG_NUMBER}", {}, {400}),
        (f"{INSTANCE}/rendered?quality=0001{LONG_NUMBER}", {}, {400}),
        (f"{INSTANCE}/bulkdata/00081140/{LONG_NUMBER}/00081155", {}, {404}),
        (f"{INSTANCE}/bulkdata/7FE00010", {"Range": f"bytes=0-{LONG_NUMBER}"}, {206}),
        (f"{INSTANCE}/bulkdata/7FE00010", {"Range": f"bytes={LONG_NUMBER}-"}, {416}),
        (f"~{LONG_NUMBER}/studies", {}, {400}),
    ],
)
def test_what_was_found_before(
    address: str, target: str, headers: dict[str, str], statuses: set[int]
) -> None:
    reply = check_answer(address, "GET", f"/dicomweb/default/main{target}", headers, None)
    assert reply.status in statuses


@pytest.mark.parametrize(
    ("host", "status"),
    [("x:99999", 400), ("a b", 400), ("[::1", 400), ("x:y", 400), ("[::1]:8042", 200), ("x:", 200)],
)
def test_hosts(address: str, host: str, status: int) -> None:
    found = check_answer(address, "GET", "/api/v1/datasets", {"Host": host}, None)
    assert found.status == status
    body = check_answer(address, "POST", "/api/v1/datasets", {"Host": host}, b"{")
    assert body.status == 400


@settings(
    max_examples=CASES_SHORT,
    derandomize=True,  # the long form looks for new cases
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(request=REQUESTS)
def test_no_request_makes_the_server_fail(
    address: str, request: tuple[str, str, dict[str, str], bytes | None]
) -> None:
    check_answer(address, *request)


@pytest.mark.soak
@settings(max_examples=CASES_LONG, deadline=None, suppress_health_check=list(HealthCheck))
@given(request=REQUESTS)
def test_a_hundred_thousand_requests(
    address: str, request: tuple[str, str, dict[str, str], bytes | None]
) -> None:
    check_answer(address, *request)


def check_answer(
    address: str, method: str, target: str, headers: dict[str, str], body: bytes | None
) -> Reply:
    """Send one request and return its answer; a refusal has a problem's title and detail.

    A store that took nothing tells why of each instance instead (PS3.18 §10.5.3.2).
    """
    connection = HTTPConnection(address, timeout=60)
    try:
        connection.request(method, target, body=body, headers=headers)
        answer = connection.getresponse()
        reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()
    assert reply.status < 500, (method, target, headers, body, reply.body)
    is_store_answer = method == "POST" and reply.headers.get("content-type") == DICOM_JSON
    if reply.status >= 400 and method != "HEAD" and not (is_store_answer and reply.status == 409):
        problem = msgspec.json.decode(reply.body)
        assert problem["title"], (method, target)
        assert problem["detail"], (method, target)
        assert problem["status"] == reply.status
    return reply
