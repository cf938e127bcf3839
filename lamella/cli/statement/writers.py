"""A statement as Markdown or as an HTML page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape

from lamella.cli.statement.document import Block, Contents, Heading, Statement, Table

_CODE = re.compile(r"`([^`]+)`")
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #bbb;padding:.2em .5em;"
    "text-align:left;vertical-align:top}code{background:#f2f2f2}nav ul{list-style:none}"
)


def to_markdown(statement: Statement) -> str:
    """Return the statement as Markdown."""
    headings = statement.list_headings()
    pieces = [f"# {statement.title}", *statement.remarks]
    for heading in headings:
        pieces.append(f'<a id="{heading.anchor}"></a>')
        pieces.append(f"{'#' * (heading.depth + 1)} {heading.text}")
        pieces += [_mark_down(block, headings) for block in heading.section.blocks]
    return "\n\n".join(pieces) + "\n"


def _mark_down(block: Block, headings: Sequence[Heading]) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Table):
        rows = [block.header, ("---",) * len(block.header), *block.rows]
        return "\n".join(_write_row(row) for row in rows)
    lines = (
        f"{'  ' * (one.depth - 1)}- [{one.text}](#{one.anchor})" for one in _list_entries(headings)
    )
    return "\n".join(lines)


def _write_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def to_html(statement: Statement) -> str:
    """Return the statement as a page of its own."""
    headings = statement.list_headings()
    pieces = [f"<h1>{escape(statement.title)}</h1>", *map(_write_paragraph, statement.remarks)]
    for heading in headings:
        level = min(heading.depth + 1, 6)
        pieces.append(f'<h{level} id="{heading.anchor}">{escape(heading.text)}</h{level}>')
        pieces += [_mark_up(block, headings) for block in heading.section.blocks]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(statement.title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(pieces)
        + "\n</body></html>\n"
    )


def _mark_up(block: Block, headings: Sequence[Heading]) -> str:
    if isinstance(block, str):
        return _write_paragraph(block)
    if isinstance(block, Contents):
        items = (
            f'<li style="margin-left:{one.depth - 1}em">'
            f'<a href="#{one.anchor}">{escape(one.text)}</a></li>'
            for one in _list_entries(headings)
        )
        return f"<nav><ul>{''.join(items)}</ul></nav>"
    head = "".join(f"<th>{_write_text(cell)}</th>" for cell in block.header)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{_write_text(cell)}</td>" for cell in row) + "</tr>"
        for row in block.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"


def _write_paragraph(text: str) -> str:
    return f"<p>{_write_text(text)}</p>"


def _write_text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _list_entries(headings: Sequence[Heading]) -> list[Heading]:
    return [one for one in headings if one.depth <= 2]


WRITERS: dict[str, Callable[[Statement], str]] = {"markdown": to_markdown, "html": to_html}
"""By the name of the format."""
