"""Renders the Helm chart: the few template actions that it uses, and no others.

Helm itself is a Go program that no package index of the tests has. Whatever this does not know it
refuses, so the chart stays within what is checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_ACTION = re.compile(r"(?:(?P<trim>\s*)\{\{-|\{\{)\s*(?P<text>.*?)\s*\}\}", re.S)
_RANGE = re.compile(r"range \$(\w+), \$(\w+) := (\S+)")
_VALUE = re.compile(r"(\S+)( \| quote)?")

Scope = Mapping[str, Any]
Tokens = list[tuple[str, str]]


def render_chart(folder: Path, release: str, changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that a chart makes.

    Args:
        folder: Of the chart.
        release: Its name.
        changes: Values by dotted name, in place of those in `values.yaml`.

    Raises:
        ValueError: A template does what is not known here, or names a value that is not there.
    """
    values = yaml.safe_load((folder / "values.yaml").read_text())
    for name, value in changes.items():
        *above, last = name.split(".")
        place = values
        for step in above:
            place = place[step]
        if last not in place:
            raise ValueError(f"{name} is no value of the chart")
        place[last] = value
    scope = {"Values": values, "Release": {"Name": release}}
    texts = [_render(path.read_text(), scope) for path in sorted(folder.glob("templates/*.yaml"))]
    return [one for text in texts for one in yaml.safe_load_all(text) if one is not None]


def _render(text: str, scope: Scope) -> str:
    tokens = list(_split(text))
    rendered = _run(tokens, scope)
    if tokens:
        raise ValueError(f"{tokens[0][1]!r} stands alone")
    return rendered


def _split(text: str) -> Iterator[tuple[str, str]]:
    end = 0
    for match in _ACTION.finditer(text):
        yield "text", text[end : match.start()]
        yield "action", match["text"]
        end = match.end()
    yield "text", text[end:]


def _run(tokens: Tokens, scope: Scope) -> str:
    """Run tokens up to the end of their block, which stays."""
    parts: list[str] = []
    while tokens and tokens[0] not in (("action", "end"), ("action", "else")):
        kind, text = tokens.pop(0)
        if kind == "text":
            parts.append(text)
        elif text.startswith("if "):
            parts.append(_run_if(tokens, scope, bool(_find(text[3:], scope))))
        elif text.startswith("range "):
            parts.append(_run_range(tokens, scope, text))
        else:
            parts.append(_show(text, scope))
    return "".join(parts)


def _run_if(tokens: Tokens, scope: Scope, is_so: bool) -> str:
    first = _run(tokens, scope)
    second = ""
    if tokens.pop(0)[1] == "else":
        second = _run(tokens, scope)
        tokens.pop(0)
    return first if is_so else second


def _run_range(tokens: Tokens, scope: Scope, text: str) -> str:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not known here")
    length = len(tokens)
    parts = []
    for key, value in sorted(_find(match[3], scope).items()):
        inner = tokens[:]
        parts.append(_run(inner, {**scope, f"${match[1]}": key, f"${match[2]}": value}))
        length = len(inner)
    del tokens[: len(tokens) - length + 1]
    return "".join(parts)


def _show(text: str, scope: Scope) -> str:
    match = _VALUE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not known here")
    value = _find(match[1], scope)
    return json.dumps(str(value)) if match[2] else str(value)


def _find(name: str, scope: Scope) -> Any:
    if name.startswith("$"):
        return scope[name]
    found: Any = scope
    for step in name.removeprefix(".").split("."):
        if step not in found:
            raise ValueError(f"{name} is not there")
        found = found[step]
    return found
