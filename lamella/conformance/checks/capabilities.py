"""The capabilities document.

Source:
    PS3.18 §8.9 and Annex H.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from lamella.conformance.check import Group
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import (
    expect,
    expect_header,
    expect_media_type,
    expect_status,
    require_offered,
)
from lamella.conformance.outcomes import CheckFailed, NotOffered
from lamella.conformance.probe import Probe

WADL, JSON = "application/vnd.sun.wadl+xml", "application/json"
GROUP = Group("capabilities", "Capabilities (OPTIONS)")


def _ask(probe: Probe, accept: str = f"{WADL}, {JSON};q=0.9") -> Reply:
    reply = probe.send("OPTIONS", "/", headers={"Accept": accept})
    if reply.status == 404:  # some servers know their root without the slash only
        reply = probe.send("OPTIONS", "", headers={"Accept": accept})
    return reply


def _describe(probe: Probe, accept: str = f"{WADL}, {JSON};q=0.9") -> Reply:
    reply = require_offered(_ask(probe, accept), "The capabilities document", 204, 400, 406)
    if not reply.body:
        raise NotOffered("The capabilities document is not offered (OPTIONS has no body).")
    return reply


@GROUP.shall("options", "OPTIONS on the service root answers 200", "PS3.18 §8.9.1, §10.2", 27)
def _options(probe: Probe) -> None:
    expect_status(_ask(probe), 200)


@GROUP.shall("media-type", "the document is WADL or JSON", "PS3.18 §8.9.4", 27)
def _media_type(probe: Probe) -> None:
    expect_media_type(_describe(probe), WADL, JSON, "application/dicom+json")


@GROUP.shall("well-formed", "the document is well-formed", "PS3.18 §8.9.3.2", 27)
def _well_formed(probe: Probe) -> None:
    reply = _describe(probe)
    try:
        if reply.media_type.endswith("xml"):
            ET.fromstring(reply.body)
        else:
            json.loads(reply.body)
    except (ET.ParseError, ValueError) as error:
        raise CheckFailed(reply, "a well-formed document", str(error)) from error


@GROUP.shall("studies", "the document names the studies resource", "PS3.18 Annex H", 27)
def _studies(probe: Probe) -> None:
    reply = _describe(probe)
    expect(b"studies" in reply.body, reply, "the resource studies in it", "none")


@GROUP.should("methods", "the document names the methods of resources", "PS3.18 Annex H", 27)
def _methods(probe: Probe) -> None:
    reply = _describe(probe)
    expect(b"GET" in reply.body, reply, "the method GET in it", "none")


@GROUP.should("wadl", "WADL is sent where WADL is asked for", "PS3.18 §8.9.4", 27)
def _wadl(probe: Probe) -> None:
    expect_media_type(_describe(probe, WADL), WADL)


@GROUP.practice("json", "JSON is sent where JSON is asked for", "PS3.18 §8.9.4", 27)
def _json(probe: Probe) -> None:
    expect_media_type(_describe(probe, JSON), JSON)


@GROUP.practice("allow", "OPTIONS on a resource names its methods", "RFC 9110 §9.3.7, §10.2.1", 27)
def _allow(probe: Probe) -> None:
    reply = require_offered(probe.send("OPTIONS", "/studies"), "OPTIONS")
    names = expect_header(reply, "Allow")
    expect("GET" in names, reply, "GET in Allow", names)
