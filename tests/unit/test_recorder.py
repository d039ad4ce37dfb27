"""The recorder of the embedded daemon's tests finds what breaks the contract."""

import pytest

from support.recorder import Frame, faults_of


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        ({"type": "no_such_type", "payload": {}}, "not in the contract"),
        ({"type": "token", "payload": {"delta": 1}}, "token"),
        ({"type": "token"}, "envelope"),
        ({"type": "token", "event_id": "ev-1", "payload": {"delta": "a", "typo": 1}}, "typo"),
    ],
)
def test_recorder_finds_what_breaks_the_contract(frame: Frame, fault: str) -> None:
    assert fault in faults_of(frame)[0]
