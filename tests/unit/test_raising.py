"""Errors that carry nothing of what they were made from."""

import traceback

import pytest

from digitorn_testing._secrets.raising import detached, raise_detached


def _fail() -> None:
    secret = "from the frame"
    raise LookupError(secret)


def test_an_error_made_from_another_one_has_no_trace_of_it() -> None:
    def translate() -> None:
        try:
            _fail()
        except LookupError:
            raise_detached(ValueError("ours"))

    with pytest.raises(ValueError, match="ours") as caught:
        translate()
    error = caught.value
    assert (error.__context__, error.__cause__) == (None, None)
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-2:] == [
        "translate",
        "raise_detached",
    ]


def test_an_error_that_is_raised_again_has_none_of_the_frames_below() -> None:
    with pytest.raises(LookupError) as first:
        _fail()
    with pytest.raises(LookupError) as caught:
        raise_detached(first.value)
    assert "_fail" not in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_an_error_that_is_kept_is_detached_in_place() -> None:
    with pytest.raises(LookupError) as caught:
        _fail()
    kept = detached(caught.value)
    assert kept is caught.value
    assert (kept.__traceback__, kept.__context__, kept.__cause__) == (None, None, None)
