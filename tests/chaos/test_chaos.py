"""A short chaos run on each build; `make chaos` is the long one."""

from typing import Literal

import pytest

from chaos.storm import Plan, run

DROPS = 8


@pytest.mark.parametrize("build", ["A", "B"])
def test_nothing_is_lost_in_a_short_storm(build: Literal["A", "B"]) -> None:
    figures = run(
        Plan(
            build=build,
            seed=7,
            events=500,
            drops=DROPS,
            sessions=4,
            turns=2,
            tokens=50,
            drop_chance=0.004,
            calm=(0.3, 1.2),
        )
    )
    assert figures.holds, str(figures)
    assert figures.drops >= DROPS
    assert figures.events >= 500
