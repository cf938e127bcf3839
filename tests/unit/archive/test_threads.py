"""What work in threads leaves behind when it fails."""

from __future__ import annotations

import weakref

import pytest

from lamella.archive.threads import release_locals, run_in_thread


class Elements:
    """Something large that a parser was about to return."""


def read(seen: list[weakref.ref[Elements]]) -> Elements:
    elements = Elements()
    seen.append(weakref.ref(elements))
    check(elements)
    return elements


def check(elements: Elements) -> None:
    try:
        raise ValueError(id(elements))
    except ValueError as error:
        raise LookupError("refused") from error


async def test_an_error_from_a_thread_does_not_hold_what_was_worked_on() -> None:
    seen: list[weakref.ref[Elements]] = []

    with pytest.raises(LookupError) as caught:
        await run_in_thread(read, seen)

    assert caught.value.__traceback__ is not None
    assert isinstance(caught.value.__cause__, ValueError)
    assert [one() for one in seen] == [None]


def test_errors_that_are_each_others_cause_are_released() -> None:
    first, second = ValueError(), LookupError()
    first.__cause__, second.__cause__ = second, first
    seen: list[weakref.ref[Elements]] = []
    try:
        read(seen)
    except LookupError as error:
        error.__cause__ = first
        release_locals(error)
    assert [one() for one in seen] == [None]
