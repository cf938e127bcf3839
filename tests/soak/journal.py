"""What clients met and what was done to the services, minute by minute: rates and recoveries."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic


class Outcome(StrEnum):
    """How a request ended."""

    DONE = "done"
    REFUSED = "refused"  # 503, A700: come again
    CUT = "cut"  # no answer


@dataclass(frozen=True)
class Call:
    """One request; times in seconds of the monotonic clock."""

    kind: str
    begun_s: float
    ended_s: float
    outcome: Outcome


@dataclass(frozen=True)
class Event:
    """Something that was done to the installation; it was whole again at `ended_s`."""

    name: str
    begun_s: float
    ended_s: float


class Journal:
    """Shared by all clients of a run."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.events: list[Event] = []
        self._lock = threading.Lock()

    def note(self, kind: str, begun_s: float, outcome: Outcome) -> None:
        """Note a request that has just ended."""
        with self._lock:
            self.calls.append(Call(kind, begun_s, monotonic(), outcome))

    @contextmanager
    def event(self, name: str) -> Iterator[None]:
        """Note what lasts as long as a block."""
        begun_s = monotonic()
        yield
        self.events.append(Event(name, begun_s, monotonic()))

    def list_recoveries(self) -> list[tuple[Event, float | None]]:
        """Return how long after each event's end every kind of work had been done again.

        Seconds from the end of the event until each kind had a request that began after it and
        succeeded; None where that was not seen.
        """
        return [(event, self._measure_recovery(event)) for event in self.events]

    def _measure_recovery(self, event: Event) -> float | None:
        first: dict[str, float] = {}
        for call in self.calls:
            if call.begun_s >= event.ended_s and call.outcome is Outcome.DONE:
                ended_s = first.get(call.kind, call.ended_s)
                first[call.kind] = min(ended_s, call.ended_s)
        kinds = {call.kind for call in self.calls}
        return max(first.values()) - event.ended_s if set(first) == kinds else None

    def report(self) -> list[str]:
        """Return the tables of a report, in Markdown."""
        return [*self._report_calls(), "", *self._report_events()]

    def _report_calls(self) -> list[str]:
        lines = [
            "| work | requests | refused (503, A700) | cut | not done, % |",
            "|---|---|---|---|---|",
        ]
        for kind in sorted({call.kind for call in self.calls}):
            counts = Counter(call.outcome for call in self.calls if call.kind == kind)
            total = counts.total()
            refused, cut = counts[Outcome.REFUSED], counts[Outcome.CUT]
            share = 100 * (refused + cut) / total
            lines.append(f"| {kind} | {total} | {refused} | {cut} | {share:.1f} |")
        return lines

    def _report_events(self) -> list[str]:
        lines = [
            "| event | times | lasted, s | not done meanwhile | recovered after, s: median, most |",
            "|---|---|---|---|---|",
        ]
        found: dict[str, list[tuple[Event, float | None]]] = {}
        for event, recovery_s in self.list_recoveries():
            found.setdefault(event.name, []).append((event, recovery_s))
        for name, ones in found.items():
            lasted = _middle([event.ended_s - event.begun_s for event, _ in ones])
            recoveries = [recovery_s for _, recovery_s in ones if recovery_s is not None]
            shown = f"{_middle(recoveries):.1f}, {max(recoveries):.1f}" if recoveries else "–"
            failed = sum(self._count_failed(event) for event, _ in ones)
            lines.append(f"| {name} | {len(ones)} | {lasted:.1f} | {failed} | {shown} |")
        return lines

    def _count_failed(self, event: Event) -> int:
        return sum(
            call.outcome is not Outcome.DONE
            and call.begun_s < event.ended_s
            and call.ended_s > event.begun_s
            for call in self.calls
        )


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
