"""The slope that a soak run is judged by."""

from __future__ import annotations

from tests.soak.gauge import grow_per_hour


def test_a_slope_is_found_and_outliers_are_not() -> None:
    steady = [(float(at_s), 100.0) for at_s in range(0, 3600, 10)]
    growing = [(at_s, 100 + at_s / 100) for at_s, _ in steady]
    spiky = [(at_s, 5000.0 if index % 4 == 0 else v) for index, (at_s, v) in enumerate(growing)]
    assert grow_per_hour(steady) == 0
    assert round(grow_per_hour(growing), 6) == 36
    assert 25 <= grow_per_hour(spiky) <= 47
    assert grow_per_hour([]) == grow_per_hour([(1.0, 5.0)]) == 0
