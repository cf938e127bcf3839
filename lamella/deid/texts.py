"""Free text without identifiers: what the header itself told, and what an engine finds.

What is found is cut out; the rest of the sentence stays. Where the rest still looks like it tells
something, nothing stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from lamella.deid.identifiers import Identifiers
from lamella.deid.profiles import Profile
from lamella.deid.spans import Kind, Span
from lamella.deid.text_dates import move_date
from lamella.deid.text_rules import RulesFinder
from lamella.errors import InvalidRequest

_SUSPICIOUS = re.compile(r"\d{6,}|@|\w\^\w|\d{3}-\d{2}-\d{4}")
_GAPS = re.compile(r"[ \t]{2,}|[ \t]+(?=[,;.:\r\n])")
_EMPTY_BRACKETS = re.compile(r"[ \t]*(?:\(\s*\)|\[\s*\])|\^+(?=\s|$)")
_INITIALS_BEFORE = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof)\b\.? ?(?:\b[A-Z]\b\.? ?)*|(?:\b[A-Z]\b\.? ?)+)$"
)
_INITIALS_AFTER = re.compile(r",? [A-Z]\.(?: ?[A-Z]\.)*|, [A-Z](?![\w])")
_LETTER = re.compile(r"[^\W_]")


class TextFinder(Protocol):
    """An engine that finds identifiers in free text."""

    @property
    def name(self) -> str:
        """What it is and which model it goes by: a part of what a commit tells."""
        ...

    def find(self, text: str) -> Sequence[Span]:
        """Return where identifiers stand, in any order; spans may overlap."""
        ...


def _make_rules() -> TextFinder:
    return RulesFinder()


def _make_presidio() -> TextFinder:
    # the import takes seconds and its packages are an extra: only for those who ask for it
    from lamella.deid.presidio import open_presidio

    return open_presidio()


ENGINES: dict[str, Callable[[], TextFinder]] = {
    "rules": _make_rules,
    "presidio": _make_presidio,
}
"""What a profile's `text_finder` may name."""


def find_engine(profile: Profile) -> TextFinder:
    """Return the engine that a profile asks for, loaded. Make it once in a process.

    Raises:
        InvalidRequest: There is no such engine, or it is not installed.
    """
    make = ENGINES.get(profile.text_finder)
    if make is None:
        raise InvalidRequest(
            f"There is no text finder {profile.text_finder!r}; there are: {', '.join(ENGINES)}."
        )
    return make()


def clean_text(
    text: str, identifiers: Identifiers, finder: TextFinder | None, shift_days: int | None = None
) -> str:
    """Return a text without its identifiers; the same text where there are none.

    Args:
        text: One value.
        identifiers: What the header told.
        finder: None for the header's own identifiers alone.
        shift_days: By how much dates in it move; 0 lets them stay, None cuts them out.
    """
    spans = [_widen(text, start, end) for start, end in identifiers.locate(text)]
    spans += finder.find(text) if finder is not None else []
    if not spans:
        return text
    rest = _cut(text, spans, identifiers, shift_days)
    if not _LETTER.search(rest):
        return ""
    unsure = _SUSPICIOUS.search(_without_dates(rest, finder)) or identifiers.finds(rest)
    return "" if unsure else rest


def _widen(text: str, start: int, end: int) -> Span:
    """Return a known word with the initials and the title beside it."""
    before = _INITIALS_BEFORE.search(text, max(0, start - 24), start)
    after = _INITIALS_AFTER.match(text, end)
    return Span(before.start() if before else start, after.end() if after else end, Kind.KNOWN)


def _cut(text: str, spans: Iterable[Span], identifiers: Identifiers, shift_days: int | None) -> str:
    kept = []
    position = 0
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.end <= position:
            continue
        start = max(span.start, position)
        kept.append(text[position:start])
        if span.kind is Kind.DATE and start == span.start and shift_days is not None:
            kept.append(move_date(text[start : span.end], shift_days, identifiers.dates))
        position = span.end
    kept.append(text[position:])
    rest = _EMPTY_BRACKETS.sub("", "".join(kept))
    return _GAPS.sub(_close_gap, rest).strip(" ,;:-")


def _close_gap(gap: re.Match[str]) -> str:
    following = gap.string[gap.end() : gap.end() + 1]
    return "" if following in ",;:.\r\n" else " "


def _without_dates(text: str, finder: TextFinder | None) -> str:
    """Return a text with its dates, which may stay in moved form, blanked."""
    for span in finder.find(text) if finder is not None else ():
        if span.kind is Kind.DATE:
            text = text[: span.start] + " " * (span.end - span.start) + text[span.end :]
    return text
