"""The search transaction as HTTP.

Source:
    PS3.18 §8.3.4 and §10.6; warnings of §8.3.4.2 to §8.3.4.4.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
import sqlalchemy as sa
from litestar import Request, route
from litestar.types import ASGIApp

from lamella.archive.levels import Level
from lamella.archive.query import Query
from lamella.dicomweb.media_types import DICOM_JSON, DICOM_XML, JSON
from lamella.dicomweb.negotiation import negotiate_json
from lamella.dicomweb.pinned import Pinned, pin_and_read, recall_pinned
from lamella.dicomweb.transactions import DATA_SETS, Transaction, declare
from lamella.errors import InvalidRequest
from lamella.qido.pages import ResultPage, recall_page, write_page
from lamella.qido.parameters import CONTROLS, parse_search

_ROOTS = ("/dicomweb/{dataset:str}", "/dicomweb/{dataset:str}/{revision:str}")
_MORE = "There are additional results that can be requested"
_SEARCH = declare(Transaction("10.6", DATA_SETS, parameters=tuple(sorted(CONTROLS))))


def _paths(resource: str) -> list[str]:
    return [f"{root}{resource}" for root in _ROOTS]


@route(_paths("/studies"), http_method=["GET", "HEAD"], name="search-studies", opt=_SEARCH)
async def search_studies(request: Request[Any, Any, Any]) -> ASGIApp:
    """Search for studies of this revision."""
    return await _search(request, Level.STUDY)


@route(
    [*_paths("/series"), *_paths("/studies/{study:str}/series")],
    http_method=["GET", "HEAD"],
    name="search-series",
    opt=_SEARCH,
)
async def search_series(request: Request[Any, Any, Any]) -> ASGIApp:
    """Search for series, of one study or of all."""
    return await _search(request, Level.SERIES)


@route(
    [
        *_paths("/instances"),
        *_paths("/studies/{study:str}/instances"),
        *_paths("/studies/{study:str}/series/{series:str}/instances"),
    ],
    http_method=["GET", "HEAD"],
    name="search-instances",
    opt=_SEARCH,
)
async def search_instances(request: Request[Any, Any, Any]) -> ASGIApp:
    """Search for instances, of one series, one study or all."""
    return await _search(request, Level.INSTANCE)


ROUTES = (search_studies, search_series, search_instances)


async def _search(request: Request[Any, Any, Any], level: Level) -> ASGIApp:
    recalled = None if level is Level.INSTANCE else await recall_pinned(request)
    found = None if recalled is None else _recall(request, level, recalled)
    pinned, query, page = found or await _find(request, level, recalled)
    form = negotiate_json(pinned.accept, (DICOM_JSON, JSON, DICOM_XML))
    warnings = _warn(pinned, query, page.has_more)
    if form.is_xml:
        return await pinned.answer_xml(map(msgspec.json.decode, page.results), warnings)
    return await pinned.answer(form.media_type, b"[" + b",".join(page.results) + b"]", warnings)


def _recall(
    request: Request[Any, Any, Any], level: Level, pinned: Pinned
) -> tuple[Pinned, Query, ResultPage] | None:
    """Return what was found before, if all of it is in memory."""
    query = _parse(request, level)
    page = recall_page(pinned.services, pinned.view, query, pinned.root_url)
    return None if page is None else (pinned, query, page)


async def _find(
    request: Request[Any, Any, Any], level: Level, recalled: Pinned | None
) -> tuple[Pinned, Query, ResultPage]:
    def search(connection: sa.Connection, pinned: Pinned) -> tuple[Query, ResultPage]:
        query = _parse(request, level)
        return query, write_page(connection, pinned.services, pinned.view, query, pinned.root_url)

    pinned, (query, page) = await pin_and_read(request, search, recalled)
    return pinned, query, page


def _parse(request: Request[Any, Any, Any], level: Level) -> Query:
    names = request.path_params
    return parse_search(_read_parameters(request), level, names.get("study"), names.get("series"))


def _read_parameters(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """Return the query string's pairs in order; a key without a value matches anything."""
    text = request.scope["query_string"].decode("latin-1")
    try:
        return parse_qsl(text, keep_blank_values=True, encoding="utf-8", errors="strict")
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest("The query string is not percent-encoded UTF-8.") from error


def _warn(pinned: Pinned, query: Query, has_more: bool) -> list[tuple[str, str]]:
    texts = [*query.warnings, *([_MORE] if has_more else [])]
    return [("warning", f"299 {pinned.root_url}: {_to_ascii(text)}") for text in texts]


def _to_ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")
