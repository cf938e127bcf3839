"""JSON Schemas of what the API answers, for the OpenAPI document.

Source:
    JSON Schema 2020-12; PS3.18 Annex F (DICOM JSON Model); RFC 9457 (problem details).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_UID: Schema = {"type": "string", "pattern": "^[0-9.]{1,64}$"}
_COMMIT_ID: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"}
_NULL: Schema = {"type": "null"}


def list_of(name: str) -> Schema:
    """Return the schema of an array of a named shape."""
    return {"type": "array", "items": refer_to(name)}


def refer_to(name: str) -> Schema:
    """Return a reference to one of `SHAPES`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _record(required: Mapping[str, Schema], **more: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **more},
        "required": list(required),
        "additionalProperties": False,
    }


_INSTANCE = {"study": _UID, "series": _UID, "instance": _UID}
_ATTRIBUTE: Schema = {
    "type": "object",
    "properties": {
        "vr": {"type": "string", "pattern": "^[A-Z]{2}$"},
        "Value": {"type": "array", "minItems": 1},
        "InlineBinary": {"type": "string", "contentEncoding": "base64"},
        "BulkDataURI": _TEXT,
    },
    "required": ["vr"],
    "additionalProperties": False,
}

_PROFILE = _record({"name": _TEXT, "digest": _COMMIT_ID})
_DEID_RUN: dict[str, Schema] = {
    "run": {"type": "integer"},
    "source": _record({"dataset": {"anyOf": [_NAME, _NULL]}, "commit": _COMMIT_ID}),
    "branch": _NAME,
    "profile": _PROFILE,
    "author": _TEXT,
    "started": _TIME,
    "ended": {"anyOf": [_TIME, _NULL]},
}

SHAPES: Mapping[str, Schema] = {
    "Problem": _record({"title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT}),
    "Dataset": _record(
        {
            "name": _NAME,
            "default_branch": _NAME,
            "duplicates": _TEXT,
            "coercion": {"type": "array", "items": {"type": "object"}},
            "created": _TIME,
        }
    ),
    "Ref": _record({"name": _NAME, "commit": _COMMIT_ID, "created": _TIME}),
    "Commit": _record(
        {
            "id": _COMMIT_ID,
            "tree": _COMMIT_ID,
            "parents": {"type": "array", "items": _COMMIT_ID},
            "author": _TEXT,
            "committer": _TEXT,
            "time": _TIME,
            "message": _TEXT,
            "kind": _TEXT,
            "provenance": {},
        }
    ),
    "Diff": _record(
        {
            "from": _COMMIT_ID,
            "to": _COMMIT_ID,
            "added": {"type": "array", "items": _record(_INSTANCE)},
            "removed": {"type": "array", "items": _record(_INSTANCE)},
            "changed": {
                "type": "array",
                "items": _record(
                    {
                        **_INSTANCE,
                        "attributes": {"type": "array", "items": _TEXT},
                        "bulk": {"type": "boolean"},
                    }
                ),
            },
        }
    ),
    "Conflict": _record(
        {
            "id": {"type": "integer"},
            "dataset": _NAME,
            "branch": _NAME,
            **_INSTANCE,
            "reason": _TEXT,
            "time": _TIME,
        },
        resolution=_TEXT,
        author=_TEXT,
        commit={"anyOf": [_COMMIT_ID, _NULL]},
        resolved=_TIME,
    ),
    "Job": _record(
        {
            "id": {"type": "integer"},
            "kind": _TEXT,
            "key": {"anyOf": [_TEXT, _NULL]},
            "arguments": {"type": "object"},
            "state": {
                "enum": ["waiting", "running", "stopping", "done", "dead", "cancelled"],
            },
            "attempts": {"type": "integer"},
            "done": {"type": "integer"},
            "total": {"anyOf": [{"type": "integer"}, _NULL]},
            "note": _TEXT,
            "result": {},
            "error": _TEXT,
            "created": _TIME,
            "due": {"anyOf": [_TIME, _NULL]},
            "ended": {"anyOf": [_TIME, _NULL]},
        }
    ),
    "DeidRun": _record(_DEID_RUN),
    "DeidRunReport": _record({**_DEID_RUN, "report": {"anyOf": [{"type": "object"}, _NULL]}}),
    "DeidRule": _record(
        {
            "id": {"type": "integer"},
            "source": _record({"dataset": _NAME, "branch": _NAME}),
            "destination": _record({"dataset": _NAME, "branch": {"anyOf": [_NAME, _NULL]}}),
            "profile": _PROFILE,
            "key": _TEXT,
            "map": {"type": "boolean"},
        }
    ),
    "Review": _record(
        {
            "number": {"type": "integer"},
            "verdict": {"enum": ["REVIEW", "QUARANTINE"]},
            "reasons": {"type": "array", "items": _TEXT},
            "decision": {"enum": ["accepted", "redacted", "rejected", None]},
            "author": {"anyOf": [_TEXT, _NULL]},
            "decided": {"anyOf": [_TIME, _NULL]},
            "run": {"anyOf": [{"type": "integer"}, _NULL]},
            "has_result": {"type": "boolean"},
            "study": {"anyOf": [_UID, _NULL]},
            "series": {"anyOf": [_UID, _NULL]},
            "instance": {"anyOf": [_UID, _NULL]},
            "boxes": {
                "type": "array",
                "items": _record(
                    {name: {"type": "integer"} for name in ("frame", "x", "y", "width", "height")}
                ),
            },
        }
    ),
    "Decision": _record(
        {
            "numbers": {"type": "array", "items": {"type": "integer"}},
            "decision": {"enum": ["accepted", "redacted", "rejected"]},
            "commits": {"type": "object", "additionalProperties": _COMMIT_ID},
            "later": {"type": "integer"},
        }
    ),
    "Health": {"type": "object", "additionalProperties": _TEXT},
    "Attributes": {
        "type": "object",
        "patternProperties": {"^[0-9A-F]{8}$": _ATTRIBUTE},
        "additionalProperties": False,
    },
}
"""Every shape by its name, as `components/schemas` has it; what they lack, they do not have."""

ANSWERS: Mapping[str, Schema] = {
    "list-datasets": list_of("Dataset"),
    "create-dataset": refer_to("Dataset"),
    "show-dataset": refer_to("Dataset"),
    "change-dataset": refer_to("Dataset"),
    "list-branches": list_of("Ref"),
    "list-tags": list_of("Ref"),
    "create-branch": refer_to("Ref"),
    "create-tag": refer_to("Ref"),
    "list-commits": list_of("Commit"),
    "show-commit": refer_to("Commit"),
    "diff": refer_to("Diff"),
    "list-conflicts": list_of("Conflict"),
    "show-conflict": refer_to("Conflict"),
    "accept-conflict": refer_to("Conflict"),
    "accept-conflict-as-version": refer_to("Conflict"),
    "discard-conflict": refer_to("Conflict"),
    "list-jobs": list_of("Job"),
    "show-job": refer_to("Job"),
    "cancel-job": refer_to("Job"),
    "retry-job": refer_to("Job"),
    "deidentify": refer_to("Job"),
    "list-deid-runs": list_of("DeidRun"),
    "show-deid-run": refer_to("DeidRunReport"),
    "list-deid-rules": list_of("DeidRule"),
    "add-deid-rule": refer_to("DeidRule"),
    "list-reviews": list_of("Review"),
    "show-review": refer_to("Review"),
    "accept-review": refer_to("Decision"),
    "reject-review": refer_to("Decision"),
    "redact-review": refer_to("Decision"),
    "liveness": refer_to("Health"),
    "readiness": refer_to("Health"),
    "retrieve-metadata": list_of("Attributes"),
    "search-studies": list_of("Attributes"),
    "search-series": list_of("Attributes"),
    "search-instances": list_of("Attributes"),
    "store": refer_to("Attributes"),
}
"""What a route answers with as JSON, by the route's name."""
