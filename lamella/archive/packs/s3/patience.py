"""How long S3 is waited for, and when it is asked again.

Pauses are drawn evenly from 0 to a bound that doubles ("full jitter"), so that many who were
refused at once do not come back at once.

Source:
    M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True, slots=True)
class Patience:
    """How S3 is waited for.

    Attributes:
        connect_timeout_s: Until a connection is there.
        read_timeout_s: Without a byte of an answer.
        attempts: How often one thing is asked for, at most.
        first_pause_s: The longest first pause; each later one may be twice as long.
        longest_pause_s: But not longer than this.
        deadline_s: When this has passed, nothing is asked again.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    attempts: int = 8
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0
    deadline_s: float = 40.0

    def draw_pauses(self) -> Iterator[float]:
        """Yield the pause before each further attempt; it ends when that is not worth it."""
        end = monotonic() + self.deadline_s
        for number in range(self.attempts - 1):
            bound = min(self.longest_pause_s, self.first_pause_s * 2**number)
            pause_s = random.uniform(0, bound)
            if monotonic() + pause_s > end:
                return
            yield pause_s
