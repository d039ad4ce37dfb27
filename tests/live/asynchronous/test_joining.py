"""What a join brings, what it does not, and how turns end."""

from collections.abc import Iterable
from typing import Any

import pytest

from digitorn_testing import AsyncDevClient, EventPayload, LiveEvent, SessionHandle, assertions
from digitorn_testing._generated import builders
from digitorn_testing.events import (
    CredentialAuthRequired,
    CredentialRequired,
    PreviewStateChanged,
    StreamCatchup,
    Token,
    TurnTerminal,
    UserMessage,
)
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import async_eventually, lose
from support.sessions import add_session


def numbers(events: Iterable[LiveEvent[EventPayload]]) -> list[int]:
    """Copies of an event have one number, and shapes of their own."""
    return [event.seq for event in events]


@pytest.mark.both_daemons
async def test_an_open_stream_has_what_was_before(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    """The join does not bring it; it is read over HTTP (contract: events, section 3.1)."""
    model.will_stream_text(["This is a, ", "and b."])
    result = await client.send(session, "go", timeout=10)
    async with await client.open_event_stream(session) as stream:
        assert numbers(stream.log.turn(result.correlation_id)) == numbers(result.events)
    since = result.events[-3].seq
    async with await client.open_event_stream(session, since=since) as stream:
        assert numbers(stream.log.turn(result.correlation_id)) == numbers(result.events)[-2:]


@pytest.mark.both_daemons
async def test_a_stream_that_is_opened_while_text_is_written(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["This is a, ", "b, ", "and c."], delay=2)
    turn = await client.start_turn(session, "go")
    await turn.wait_for(Token, timeout=10)

    async def brings_text() -> bool:
        async with await client.open_event_stream(session) as stream:
            return bool(stream.events_of(StreamCatchup))

    # The released daemon saves the text so far in the background.
    assert await async_eventually(brings_text, bool)
    async with await client.open_event_stream(session) as stream:
        assert stream.events_of(StreamCatchup)
        result = await stream.wait_for_turn(turn.correlation_id, timeout=10)
        assert (result.text, result.content) == ("This is a, b, and c.",) * 2
        assert numbers(result.events) == numbers(turn.events)


async def test_a_heartbeat_tells_what_was_dropped(model: FakeModel) -> None:
    """A live copy may be dropped, and nothing may follow for long (contract: events, sections 1 and 5.12)."""
    with FakeDaemon(heartbeat=0.05, listen=False) as daemon:
        daemon.add_app("my-app", model=model)
        async with daemon.async_client() as client:
            session = add_session(daemon)
            async with await client.open_event_stream(session) as stream:
                lose(stream, lambda frame: "preview" in repr(frame))
                sent = daemon.publish(session, builders.preview_state_changed(key="k"))
                found = await stream.wait_for(PreviewStateChanged, timeout=10)
                assert (found.seq, found.event_id) == (sent.seq, sent.event_id)


async def test_a_daemon_that_was_started_anew_is_told_by_its_instance(model: FakeModel) -> None:
    with FakeDaemon(listen=False) as daemon:
        daemon.add_app("my-app", model=model)
        async with daemon.async_client() as client:
            session = await client.new_session("my-app")
            async with await client.open_event_stream(session) as stream:
                greeting = await stream.wait_for("connected", timeout=10)
                assert greeting["instance_id"] == daemon.instance_id


@pytest.mark.parametrize("code", ["credential_required", "credential_auth_required"])
async def test_a_turn_without_a_credential_ends_though_nothing_follows(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle, code: Any
) -> None:
    """The turn pauses there (contract: events, section 5.6)."""
    model.will_fail(code).will_stream_text(["on"])
    result = await client.send(session, "go", timeout=10)
    assert (result.status, result.content) == ("failed", "")
    assert [error.code for error in result.errors] == [code]
    last = result.events[-1].payload
    assert isinstance(last, CredentialRequired | CredentialAuthRequired)
    assert (await client.send(session, "again", timeout=10)).content == "on"


async def test_a_message_that_had_to_wait_and_fails_ends(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["x"] * 5, delay=0.01).will_fail("session_busy", "busy")
    first, second = [await client.start_turn(session, text) for text in "12"]
    assert (await first.result(timeout=10)).ok
    result = await second.result(timeout=10)
    assert (result.status, result.error) == ("failed", "busy")


@pytest.mark.both_daemons
async def test_the_last_event_of_a_turn_is_read_with_it(
    client: AsyncDevClient, model: FakeModel, session: SessionHandle
) -> None:
    model.will_stream_text(["a"]).will_stream_text(["b"])
    for text in "ab":
        turn = await client.start_turn(session, text)
        events = [event async for event in turn]
        assert isinstance(events[0].payload, UserMessage)
        assert isinstance(events[-1].payload, TurnTerminal)
        assert {event.correlation_id for event in events} == {turn.correlation_id}
        assert numbers((await turn.result()).events) == numbers(events)
        assert turn.stream.operations().violations == ()


async def test_a_last_event_that_is_nowhere_does_not_hold_up_its_turn(model: FakeModel) -> None:
    """That costs a moment, not the turn."""
    model.will_stream_text(["a"])
    with FakeDaemon(listen=False, log_delay=60.0) as daemon:
        daemon.add_app("my-app", model=model)
        async with daemon.async_client() as client:
            session = add_session(daemon)
            async with await client.open_event_stream(session) as stream:
                lose(stream, lambda frame: "'turn_terminal'" in repr(frame))
                accepted = await client.post_message_raw(session, "go")
                result = await stream.wait_for_turn(accepted, timeout=10)
                assert (result.status, result.content) == ("completed", "a")
                assert assertions.event_count(result.events, TurnTerminal, 0)
