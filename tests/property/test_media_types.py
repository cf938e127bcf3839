"""Accept headers of any kind: parsed or refused, never a crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.dicomweb.frame_negotiation import negotiate_frames
from lamella.dicomweb.media_types import MediaType, parse_accept, parse_content_type
from lamella.dicomweb.negotiation import negotiate_bulk, negotiate_instances, negotiate_json
from lamella.errors import NotAcceptable, UnsupportedMediaType

TOKEN = st.text("abcxyz0189+-.*", min_size=1, max_size=8)
FRAGMENT = st.sampled_from(
    ["*/*", "application/", "dicom", "+json", "multipart/related", "; type=", '"', "\\", ",", ";",
     "application/octet-stream", "image/jls", "q=0.5", ";q=", "transfer-syntax=*", " ", "=",
     "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1", "\x00", "é"]
)  # fmt: skip
HEADERS = st.one_of(st.none(), st.text(max_size=60), st.lists(FRAGMENT, max_size=12).map("".join))
SYNTAXES = st.sampled_from(
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80", "1.2.3", ""]
)


@given(header=HEADERS, query=st.lists(HEADERS.filter(lambda one: one is not None), max_size=2),
       syntax=SYNTAXES, single=st.booleans())  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_nothing_but_not_acceptable_is_raised(header, query, syntax, single):
    accept = parse_accept(header, query)
    for negotiate in (
        lambda: negotiate_json(accept),
        lambda: negotiate_instances(accept, single_item=single),
        lambda: negotiate_frames(accept, syntax, single_item=single),
        lambda: negotiate_bulk(accept),
    ):
        try:
            answer = negotiate()
        except NotAcceptable:
            continue
        assert answer
        assert any(one.weight > 0 for one in accept)


@given(weights=st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_ranges_come_by_falling_weight_then_in_order(weights):
    header = ", ".join(f"a/b{n};q={weight / 1000:.3f}" for n, weight in enumerate(weights))
    found = parse_accept(header)
    expected = sorted(enumerate(weights), key=lambda pair: -pair[1])
    assert [one.subtype for one in found] == [f"b{n}" for n, _ in expected]


@given(
    parameters=st.lists(
        st.tuples(
            TOKEN.map(lambda name: "x" + name.replace("*", "")),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
        ),
        max_size=4,
    )
)
def test_parameters_survive_quoting(parameters):
    one = MediaType("multipart", "related", tuple(parameters))
    assert parse_content_type(str(one)) == one


@given(text=st.one_of(HEADERS, st.text(max_size=40)))
def test_a_content_type_is_parsed_or_unsupported(text):
    try:
        parsed = parse_content_type(text)
    except UnsupportedMediaType:
        return
    assert parsed.type
    assert parse_content_type(str(parsed)) == parsed


@pytest.mark.parametrize("broken", ["nonsense", "a/b;q=2", 'a/b; c="open', "/x", "*/json", ";"])
@given(position=st.integers(0, 2))
def test_a_broken_member_costs_only_itself(broken, position):
    members = ["application/json", "text/html"]
    members.insert(position, broken)
    found = {one.essence for one in parse_accept(", ".join(members))}
    # An open quote swallows what comes behind it, which is all that can be said of it.
    expected = members[:position] if '"' in broken else [m for m in members if m != broken]
    assert found == set(expected)
