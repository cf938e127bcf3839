"""Requests made from the OpenAPI document by schemathesis: every answer is one that it promises.

For every operation, of the API and of DICOMweb: no 5xx, statuses, media types and JSON bodies as
the document says, and a refusal of parameters that it does not allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.harness.collection import make_collection, open_client
from tests.harness.samples import make_instance
from tests.harness.server import serve

CASES_SHORT, CASES_LONG = 250, 10_000
TIMEOUT_S = 60
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
CHECKS: list[Any] = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
THERE: dict[str, Any] = {
    "dataset": "default",
    "revision": "v1",
    "study": "1.2.3",
    "series": "1.2.3.1",
    "instance": "1.2.3.1.1",
    "frames": "1",
    "path": "7FE00010",
    "conflict": 1,
    "from": "main~1",
    "to": "v1",
    "before": "main~1",
}
"""Names of what is there."""
ACCEPTS = ["*/*", "application/json", "image/png", "application/dicom", "application/octet-stream"]


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with some history, a tag and a conflict."""
    data_dir = tmp_path_factory.mktemp("openapi") / "data"
    with serve(data_dir, dimse="off") as running, open_client() as client:
        collection = make_collection(client, running)
        collection.name = "default"
        collection.store_well(make_instance())
        collection.store_well(make_instance("1.2.4", "1.2.4.1", "1.2.4.1.1"))
        assert collection.store(make_instance(fill=9)).status_code == 409
        assert collection.make_ref("tags", "v1").status_code == 201
        yield running.http


@cache
def load_operations(http: str) -> dict[str, Any]:
    """Return the operations that the server's document describes, by method and path."""
    schema = schemathesis.openapi.from_url(f"{http}/schema/openapi.json")
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{one.method.upper()} {one.path}": one for one in found}


def draw_case(data: st.DataObject, http: str) -> Any:
    """Return a request; mostly for what is there, and often one that can be answered."""
    operations = load_operations(http)
    operation = operations[data.draw(st.sampled_from(sorted(operations)), label="operation")]
    case = data.draw(operation.as_strategy(data.draw(st.sampled_from(MODES))), label="case")
    is_delete = operation.method.upper() == "DELETE"  # or nothing would be there for the others
    if not is_delete and data.draw(st.integers(0, 3), label="is it missing") < 3:
        for place in (case.path_parameters, case.query):
            place.update({name: THERE[name] for name in list(place) if name in THERE})
        if data.draw(st.booleans(), label="is Accept sound"):
            case.headers["Accept"] = data.draw(st.sampled_from(ACCEPTS))
            case.query.pop("accept", None)
    return case


def check_case(data: st.DataObject, http: str) -> None:
    draw_case(data, http).call_and_validate(checks=CHECKS, timeout=TIMEOUT_S)


@settings(
    max_examples=CASES_SHORT,
    derandomize=True,  # the long form looks for new cases
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_answers_are_what_the_document_says(http: str, data: st.DataObject) -> None:
    check_case(data, http)


@pytest.mark.soak
@pytest.mark.timeout(14_000)
@settings(max_examples=CASES_LONG, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_ten_thousand_answers(http: str, data: st.DataObject) -> None:
    check_case(data, http)


def test_what_is_there_is_found(http: str) -> None:
    """The cases above would show little if most were refused."""
    found = 0
    for name, operation in load_operations(http).items():
        if name.startswith("GET /dicomweb"):
            places = {one.name: THERE[one.name] for one in operation.path_parameters}
            case = operation.Case(path_parameters=places, headers={"Accept": "*/*"})
            found += case.call_and_validate(checks=CHECKS, timeout=TIMEOUT_S).status_code == 200
    assert found >= 40


def test_every_route_is_described(http: str) -> None:
    operations = load_operations(http)
    assert {
        "GET /dicomweb/{dataset}/{revision}/studies",
        "POST /dicomweb/{dataset}/{revision}/studies",
        "DELETE /dicomweb/{dataset}/{revision}/studies/{study}",
        "GET /dicomweb/{dataset}/wado",
        "GET /api/v1/datasets/{dataset}/diff",
    } <= set(operations)
    search = operations["GET /dicomweb/{dataset}/{revision}/studies"]
    assert {"limit", "offset", "includefield", "accept"} <= {one.name for one in search.query}
    document = search.schema.raw_schema
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert {"4XX", "5XX"} < set(operation["responses"]), (method, path)
