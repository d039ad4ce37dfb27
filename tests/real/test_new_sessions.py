"""Streams that are opened before the first message, on the released daemon."""

import secrets

import httpx
import pytest

from digitorn_testing import AppHandle, DevClient, JoinRefused, LiveEventStream, NotFound, SessionHandle
from digitorn_testing._plugin import real
from digitorn_testing.events import MessageDone, TurnTerminal, UserMessage
from digitorn_testing.fakes import FakeModel
from real.turns import TURN_SECONDS, send


@pytest.fixture(autouse=True)
def script(fake_model: FakeModel) -> None:
    fake_model.when(contains="Hello").will_respond_with_text("Hello to you.")


def test_a_stream_sees_the_whole_first_turn(
    dev_client: DevClient, session: SessionHandle, live_stream: LiveEventStream
) -> None:
    assert (live_stream.connection.state, live_stream.has_joined) == ("connecting", False)
    accepted = dev_client.post_message_raw(session, "Hello.")
    result = live_stream.wait_for_turn(accepted, timeout=TURN_SECONDS)
    assert live_stream.has_joined
    assert isinstance(result.events[0].payload, UserMessage)
    assert isinstance(result.events[-1].payload, TurnTerminal)
    assert result.content == "Hello to you."


def test_every_way_of_sending_brings_the_stream_into_the_session(
    dev_client: DevClient, digitorn_app: AppHandle
) -> None:
    for way in ("send", "chat", "api"):
        session = dev_client.new_session(digitorn_app.app_id)
        with dev_client.open_event_stream(session) as stream:
            if way == "send":
                dev_client.send(session, "Hello.", timeout=TURN_SECONDS)
            elif way == "chat":
                dev_client.chat(session.app_id, "Hello.", session=session, timeout=TURN_SECONDS)
            else:
                dev_client.api.messages.send_message(session.app_id, session.session_id, message="Hello.")
            stream.wait_for(MessageDone, timeout=TURN_SECONDS)
            assert stream.events_of(UserMessage)[0].payload.content == "Hello."


def test_a_stream_joins_a_session_that_somebody_else_begins(
    dev_client: DevClient,
    session: SessionHandle,
    live_stream: LiveEventStream,
    request: pytest.FixtureRequest,
) -> None:
    access = real.access(request.config)
    assert access is not None
    path = f"/api/apps/{session.app_id}/sessions/{session.session_id}/messages"
    authorized = {"Authorization": f"Bearer {access['token']}"}
    posted = httpx.post(
        dev_client.daemon_url + path, json={"message": "Hello."}, headers=authorized, trust_env=False
    )
    assert posted.status_code == 200
    live_stream.wait_for(MessageDone, timeout=TURN_SECONDS)
    assert live_stream.events_of(UserMessage)[0].payload.content == "Hello."


def test_a_session_without_a_message_is_not_there(dev_client: DevClient, session: SessionHandle) -> None:
    with pytest.raises(NotFound, match="exists from its first message on"):
        dev_client.get_session(session)
    send(dev_client, session, "Hello.")
    assert dev_client.get_session(session).session_id == session.session_id


def test_any_other_unknown_session_is_refused_at_once(dev_client: DevClient, digitorn_app: AppHandle) -> None:
    unknown = SessionHandle(
        session_id=f"s-{secrets.token_hex(4)}", app_id=digitorn_app.app_id, daemon_url=dev_client.daemon_url
    )
    with pytest.raises(JoinRefused):
        dev_client.open_event_stream(unknown)
