"""Rules of the session protocol that need no stream."""

import pytest

from digitorn_testing import ContractViolation
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._stream.protocol import correlation_id_of
from digitorn_testing._turns import rules
from digitorn_testing.models import MessageAccepted, QueueEntry


def accepted(**data: object) -> MessageAccepted:
    return MessageAccepted.from_wire({"session_id": "s", "status": "accepted", **data})


def test_the_correlation_id_of_a_turn() -> None:
    assert correlation_id_of("fp-1") == "fp-1"
    assert correlation_id_of(accepted(correlation_id="fp-2")) == "fp-2"
    with pytest.raises(ContractViolation, match=r"answer to send_message .*correlation_id: missing"):
        correlation_id_of(accepted())
    with pytest.raises(ValueError, match="empty"):
        correlation_id_of("")


@pytest.mark.parametrize(
    ("status", "code", "ending"),
    [
        ("queued", "", None),
        ("running", "", None),
        ("completed", "", "completed"),
        ("failed", "provider_error", "failed"),
        ("cancelled", "turn_cancelled", "cancelled"),
        ("failed", "queue_ttl_expired", "timed_out"),
    ],
)
def test_how_a_queue_row_says_that_its_turn_ended(status: str, code: str, ending: str | None) -> None:
    row = {
        "id": "row",
        "app_id": "a",
        "session_id": "s",
        "position": 1,
        "message": "hi",
        "status": status,
        "correlation_id": "fp-1",
        "enqueued_at": 1.0,
        "started_at": None,
        "finished_at": None,
        "error_code": code,
    }
    assert rules.ending_of_entry(QueueEntry.from_wire(row)) == ending


@pytest.mark.parametrize(
    ("name", "params", "names"),
    [
        ("Bash", {}, ("Bash",)),
        ("shell.bash", {"name": "x"}, ("shell.bash", "bash")),
        ("execute_tool", {"name": "web.fetch"}, ("execute_tool", "web.fetch", "fetch")),
        ("execute_tool", {}, ("execute_tool",)),
    ],
)
def test_every_name_that_a_tool_call_goes_by(
    name: str, params: dict[str, object], names: tuple[str, ...]
) -> None:
    assert MEANING.tool_names(name, params) == names
