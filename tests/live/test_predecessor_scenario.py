"""A scenario in the words of the predecessor, on either daemon."""

from typing import Any

import pytest

from digitorn.testing import DevClient, assertions
from digitorn.testing.events import EventPayload
from digitorn_testing.fakes import FakeModel
from support.fixtures import Place

pytestmark = [pytest.mark.both_daemons, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SECONDS = 30.0


def test_a_scenario_of_old_names(place: Place, model: FakeModel) -> None:
    model.will_respond_with_text("Hello to you.").will_respond_with_text("Once more.")
    # Type checkers would report each of the names.
    old: Any = assertions
    client: Any
    with DevClient.with_token(place.token, daemon_url=place.url) as client:
        session = client.create_session(place.app_id)
        posted = client.post_message_raw(session, "hello", None, "m-1")
        stream = client.open_event_stream(session, wait_for_session=True)

        def is_of_turn(event: Any) -> bool:
            return bool(event["payload"]["correlation_id"] == posted.correlation_id)

        done = stream.wait_for("message_done", timeout=SECONDS, predicate=is_of_turn)
        assert done is not None
        assert stream.wait_for("tool_call", 0.05) is None
        assert stream.wait_until_idle(quiet_seconds=0.2, total_timeout=SECONDS) is True
        assert stream.wait_until_idle(quiet_seconds=SECONDS, total_timeout=0.05) is False
        assert client.send_live(session, "again", stream=stream, total_timeout=SECONDS) is stream
        assert stream.wait_for_any(["message_done"], timeout=0) is not None
        assert len(stream.events_by_type("user_message")) == 2
        assert stream.last_seq() == max(event.seq for event in stream.events_of(EventPayload))
        rows = client.get_persistent_events(session)
        assert [row["type"] for row in rows].count("message_done") == 2
        assert old.ephemeral_types_absent_from_persistent(rows)
        assert client.get_pending(place.app_id) == []
        stream.stop()
        client.delete_session(session)
