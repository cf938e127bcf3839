"""The first page: what is here, where its doors are, and what is done in the background."""

from __future__ import annotations

from html import escape
from typing import Any

import sqlalchemy as sa
from litestar import MediaType, Request, route

from lamella import __version__
from lamella.dicomweb.locations import base_url, join_path
from lamella.dicomweb.services import services_of
from lamella.vcs.refs import TAG, DatasetRow, list_datasets, list_refs
from lamella.web.work_table import REFRESH, is_moving, read_jobs, write_table

NEWEST_TAGS = 10

Shown = tuple[DatasetRow, list[str]]
"""A dataset with the names of its newest tags."""


@route("/", http_method=["GET", "HEAD"], name="first-page", media_type=MediaType.HTML)
async def get_first_page(request: Request[Any, Any, Any]) -> str:
    """Show what is here, where its doors are, and how far jobs are."""
    services = services_of(request)
    database = services.repository.archive.database
    shown, jobs = await database.read(lambda c: (_read_datasets(c), read_jobs(c)))
    base = escape(base_url(request))
    rows = "".join(_describe(base, row, tags) for row, tags in shown)
    example = f"{base}{join_path('dicomweb', shown[0][0].name, shown[0][0].default_branch)}"
    aet = escape(services.settings.aet)
    return _PAGE.format(
        base=base,
        rows=rows,
        example=example,
        aet=aet,
        version=escape(__version__),
        refresh=REFRESH if is_moving(jobs) else "",
        work=write_table(jobs, base),
    )


ROUTES = (get_first_page,)


def _read_datasets(connection: sa.Connection) -> list[Shown]:
    return [(row, _name_tags(connection, row)) for row in list_datasets(connection)]


def _name_tags(connection: sa.Connection, row: DatasetRow) -> list[str]:
    found = sorted(list_refs(connection, row.id, TAG), key=lambda tag: -tag.created_us)
    return [tag.name for tag in found[:NEWEST_TAGS]]


def _describe(base: str, row: DatasetRow, tags: list[str]) -> str:
    roots = " · ".join(_link_studies(base, row.name, name) for name in (row.default_branch, *tags))
    api = f"{base}{join_path('api', 'v1', 'datasets', row.name)}"
    lists = " · ".join(
        f'<a href="{escape(api)}/{name}">{text}</a>'
        for name, text in (
            ("commits", "history"),
            ("branches", "branches"),
            ("tags", "tags"),
            ("conflicts", "conflicts"),
        )
    )
    return f"<tr><th>{escape(row.name)}</th><td>{roots}</td><td>{lists}</td></tr>"


def _link_studies(base: str, dataset: str, revision: str) -> str:
    url = f"{base}{join_path('dicomweb', dataset, revision, 'studies')}"
    return f'<a href="{escape(url)}">{escape(revision)}</a>'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lamella</title>
<meta name="viewport" content="width=device-width, initial-scale=1">{refresh}
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}}
code,pre{{background:#f2f2f2;padding:.1em .3em}}pre{{padding:.6em;overflow:auto}}
th,td{{text-align:left;padding:.2em 1.2em .2em 0;vertical-align:top}}
progress{{width:10rem;vertical-align:middle}}</style></head>
<body><h1>Lamella</h1>
<p>A DICOMweb archive in which every view is pinned to a commit. Version {version}.</p>
<h2>Datasets</h2>
<table><thead><tr><td>dataset</td><td>studies at</td><td>lists</td></tr></thead>
<tbody>{rows}</tbody></table>
{work}<h2>Doors</h2>
<p>DICOMweb: <code>{base}/dicomweb/&lt;dataset&gt;/&lt;revision&gt;</code>, where the revision is a
branch, a tag, a commit id, <code>main~2</code> or <code>main@2026-11-01T12:00:00Z</code>. Without
one it is the dataset's default branch. DIMSE: AE title <code>{aet}</code> stores into dataset
<code>default</code>.</p>
<pre>curl -H 'Content-Type: application/dicom' --data-binary @file.dcm {example}/studies
curl {example}/studies
curl -X OPTIONS -H 'Accept: application/json' {example}</pre>
<p>The last one tells everything that a root offers.</p>
<p><a href="{base}/schema/openapi.json">OpenAPI</a> of <code>{base}/api/v1</code> ·
<a href="{base}/metrics">metrics</a> · <a href="{base}/readyz">readiness</a></p></body></html>
"""
