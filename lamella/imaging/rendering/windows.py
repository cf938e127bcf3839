"""The VOI functions: grey values of interest to the full range of a display.

Source:
    PS3.3 §C.11.2.1.2 and §C.11.2.1.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Window:
    """A window over the output of the Modality LUT.

    Attributes:
        center: In the units of that output.
        width: Likewise.
        function: One of `FUNCTIONS`.
    """

    center: float
    width: float
    function: str = "LINEAR"

    def check(self) -> None:
        """Raise unless it is a window.

        Raises:
            InvalidRequest: It is none.
        """
        least_is_one = self.function == "LINEAR"
        is_known = self.function in FUNCTIONS
        is_sound = is_known and math.isfinite(self.center) and math.isfinite(self.width)
        if not is_sound or self.width <= 0 or (least_is_one and self.width < 1):
            raise InvalidRequest("The window's width is too small, or its function unknown.")

    def apply(self, values: Array) -> Array:
        """Return each value's place in the window, as float64 from 0 to 1."""
        import numpy as np  # not needed where windows are only parsed

        x = values.astype(np.float64, copy=False)
        if self.function == "SIGMOID":
            # beyond 700 exp overflows, and the result is 0 or 1 long before
            return 1 / (1 + np.exp(np.clip(-4 * (x - self.center) / self.width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((x - self.center) / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (x > self.center - 0.5).astype(np.float64)
        return np.clip((x - (self.center - 0.5)) / (self.width - 1) + 0.5, 0, 1)


def span_range(low: float, high: float) -> Window:
    """Return the window that shows everything from `low` to `high`; one value alone is black."""
    width = high - low
    return Window((low + high) / 2, width, "LINEAR_EXACT") if width > 0 else Window(low + 1, 1)
