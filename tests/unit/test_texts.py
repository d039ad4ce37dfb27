"""Times in messages."""

import pytest

from digitorn_testing._texts import in_seconds


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (2.999871, "3 s"),
        (60, "60 s"),
        (59.996, "60 s"),
        (0.25, "0.25 s"),
        (0.2, "0.2 s"),
        (0.01234, "0.012 s"),
        (1.5, "1.5 s"),
        (119.4371, "119.44 s"),
        (0.0, "0 s"),
        (3600.0, "3600 s"),
    ],
)
def test_a_time_is_rounded(seconds: float, shown: str) -> None:
    assert in_seconds(seconds) == shown
