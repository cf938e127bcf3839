"""Requests as a person repeats them, and multipart bodies read strictly."""

import subprocess

import pytest

from lamella.conformance.exchange import Reply, Request
from lamella.conformance.multipart import Part, Writing, join_parts, parse_parameters, split_parts


def test_curl_line_sends_the_same_bytes(tmp_path):
    body = b"--x\r\n\r\n\x00\xff'\"\r\n--x--"
    line = Request("POST", "http://h/s?a=b&c=*", (("Accept", "a/b"),), body).to_curl()
    head, _, tail = line.partition(" | base64 -d | ")
    sent = subprocess.run(
        ["sh", "-c", f"{head} | base64 -d"], capture_output=True, check=True
    ).stdout
    assert sent == body
    assert "-X POST" in tail
    assert "'http://h/s?a=b&c=*'" in tail
    assert "-H 'Accept: a/b'" in tail


def test_curl_line_without_an_accept_says_so():
    assert "-H Accept:" in Request("GET", "http://h/s").to_curl()


def test_header_fields_are_read_in_either_case_and_joined():
    reply = Reply(Request("GET", "http://h"), 200, (("Vary", "Accept"), ("vary", "Origin")))
    assert reply.header("VARY") == "Accept, Origin"
    assert reply.header("etag") is None


def test_media_type_parameters():
    found = parse_parameters('multipart/related; type="a/b"; Boundary=x-1;transfer-syntax=*')
    assert found == {"type": "a/b", "boundary": "x-1", "transfer-syntax": "*"}


@pytest.mark.parametrize(
    "writing",
    [
        Writing(),
        Writing(quote_type=False, quote_boundary=True),
        Writing(preamble=b"p", epilogue=b"e", lengths=True),
        Writing(lower=True, shout=True, epilogue=b""),
    ],
)
def test_what_is_written_is_read(writing):
    parts = [Part({"Content-Type": "a/b"}, b"1\r\n--"), Part({"Content-Type": "a/c"}, b"")]
    content_type, body = join_parts(parts, "a/b", writing)
    found = split_parts(content_type, body)
    assert [(part.media_type, part.body) for part in found] == [("a/b", b"1\r\n--"), ("a/c", b"")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"--x\r\nA: b\r\n\r\nbody\r\n", "closing boundary"),
        (b"--y\r\nA: b\r\n\r\nbody\r\n--y--", "does not occur"),
        (b"--x\r\nA: b\r\n--x--", "blank line"),
        (b"--xA: b\r\n\r\nbody\r\n--x--", "new line"),
    ],
)
def test_broken_bodies_are_refused(body, reason):
    with pytest.raises(ValueError, match=reason):
        split_parts("multipart/related; boundary=x", body)


def test_no_boundary_is_refused():
    with pytest.raises(ValueError, match="no boundary"):
        split_parts("multipart/related", b"")
