"""Requests of several clients at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lamella.conformance.client import Client
from lamella.conformance.exchange import Reply, Request
from lamella.conformance.expect import DICOM, DICOM_JSON
from lamella.conformance.multipart import join_parts, wrap
from lamella.conformance.probe import Probe

_SEARCHES = 4


def send_together(probe: Probe, files: Sequence[bytes]) -> list[Reply]:
    """Store each file by a client of its own, at the same time.

    Raises:
        ServerUnreachable: One of them got no answer.
    """
    with ThreadPoolExecutor(len(files)) as pool:
        replies = list(pool.map(lambda file: _send(probe, _build_store(probe, file)), files))
    probe.trail += replies
    return replies


def read_together(probe: Probe, path: str, accept: str, count: int) -> list[Reply]:
    """Read one resource by several clients at the same time.

    Raises:
        ServerUnreachable: One of them got no answer.
    """
    request = Request("GET", probe.url(path), (("Accept", accept),))
    with ThreadPoolExecutor(count) as pool:
        replies = list(pool.map(lambda wanted: _send(probe, wanted), [request] * count))
    probe.trail += replies
    return replies


def search_during(probe: Probe, files: Sequence[bytes]) -> list[Reply]:
    """Return the answers to searches that go on while files are stored one by one.

    Raises:
        ServerUnreachable: One of them got no answer.
    """
    accept = (("Accept", DICOM_JSON),)
    search = Request(
        "GET", probe.url("/studies", f"PatientID={probe.samples.patient_id(9)}"), accept
    )
    requests = [_build_store(probe, file) for file in files]
    for index in range(_SEARCHES * len(files)):
        requests.insert(index, search)
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda request: _send(probe, request), requests))
    found = [reply for reply in replies if reply.request.method == "GET"]
    probe.trail += found
    return found


def _build_store(probe: Probe, file: bytes) -> Request:
    content_type, body = join_parts([wrap(file)], DICOM)
    headers = (("Content-Type", content_type), ("Accept", DICOM_JSON))
    return Request("POST", probe.url("/studies"), headers, body)


def _send(probe: Probe, request: Request) -> Reply:
    client = Client(probe.client.headers)
    try:
        return client.send(request)
    finally:
        client.close()
