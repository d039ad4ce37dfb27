"""Calls over REST that are sent again."""

import random
import time

import pytest

from digitorn_testing import (
    AsyncDevClient,
    DaemonUnreachable,
    Exchanges,
    NotFound,
    RateLimited,
    RetryPolicy,
    ServerError,
    SessionHandle,
    Unauthorized,
    UnconfirmedMessage,
)
from digitorn_testing.events import UserMessage
from digitorn_testing.fakes import FakeDaemon, FakeModel, Faults
from support.servers import refusing

QUICK = RetryPolicy(attempts=4, first_pause=0.01, longest_pause=0.02, longest_search=0.5)


def sent(exchanges: Exchanges, operation: str) -> list[tuple[int | None, int]]:
    """Status and number of each attempt of an operation."""
    return [(one.status, one.retry) for one in exchanges.of(operation)]


async def test_a_reading_call_survives_what_passes(daemon: FakeDaemon) -> None:
    faults = daemon.faults
    async with daemon.async_client(retries=QUICK) as client:
        faults.calls(path="*/sessions", times=1).respond_with(503)
        faults.calls(path="*/sessions", times=1).cut_off()
        faults.calls(path="*/sessions", times=1).respond_with(429, retry_after=0.01)
        assert (await client.list_sessions("my-app")).total == 0
        # Each attempt can be seen.
        assert sent(client.exchanges, "list_sessions") == [(503, 0), (None, 1), (429, 2), (200, 3)]


async def test_an_error_tells_how_many_attempts_there_were(daemon: FakeDaemon) -> None:
    async with daemon.async_client(retries=QUICK) as client:
        with daemon.faults.calls().respond_with(503):
            with pytest.raises(ServerError, match="answered 503 on attempt 4") as failed:
                await client.list_sessions("my-app")
        assert failed.value.attempts == 4
        with pytest.raises(NotFound) as missing:
            await client.list_sessions("nope")
        assert missing.value.attempts == 1
        assert "attempt" not in str(missing.value)
    with refusing() as url:
        async with AsyncDevClient(url, token="x", retries=QUICK) as client:
            with pytest.raises(DaemonUnreachable, match=r"\(4 attempts\)") as unreachable:
                await client.list_sessions("my-app")
            assert unreachable.value.attempts == 4


async def test_without_a_policy_a_call_is_sent_once(daemon: FakeDaemon) -> None:
    async with daemon.async_client(retries=None) as client:
        daemon.faults.calls(times=1).respond_with(503)
        with pytest.raises(ServerError):
            await client.list_sessions("my-app")
        assert sent(client.exchanges, "list_sessions") == [(503, 0)]


async def test_retry_after_is_kept_to_and_bounded(daemon: FakeDaemon) -> None:
    policy = RetryPolicy(first_pause=0.001, longest_retry_after=1)
    async with daemon.async_client(retries=policy) as client:
        daemon.faults.calls(times=1).respond_with(429, retry_after=0.2)
        started = time.monotonic()
        await client.list_sessions("my-app")
        assert time.monotonic() - started >= 0.2
        daemon.faults.calls(times=1).respond_with(429, retry_after=60)
        with pytest.raises(RateLimited) as refused:
            await client.list_sessions("my-app")
        assert refused.value.retry_after == 60
        assert time.monotonic() - started < 10


async def test_the_deadline_bounds_all_attempts_and_pauses(daemon: FakeDaemon) -> None:
    endless = RetryPolicy(attempts=100_000, first_pause=0.02, longest_pause=0.02)
    async with daemon.async_client(retries=endless, timeout=1) as client:
        with daemon.faults.calls().respond_with(503):
            started = time.monotonic()
            with pytest.raises((ServerError, DaemonUnreachable)):
                await client.list_sessions("my-app")
            # It is not slept past the deadline to find that it is over.
            assert 0.8 < time.monotonic() - started < 5
        assert len(sent(client.exchanges, "list_sessions")) > 3
    async with daemon.async_client(retries=endless, timeout=10) as client:
        with daemon.faults.calls().respond_with(503, retry_after=50):
            started = time.monotonic()
            with pytest.raises(ServerError):
                await client.list_sessions("my-app")
            assert time.monotonic() - started < 5


async def test_an_attempt_that_hangs_is_given_up(daemon: FakeDaemon) -> None:
    policy = RetryPolicy(first_pause=0.001, attempt_timeout=1)
    async with daemon.async_client(retries=policy) as client:
        daemon.faults.calls(times=1).hang()
        await client.list_sessions("my-app")
        (first, _), (second, _) = sent(client.exchanges, "list_sessions")
        assert (first, second) == (None, 200)


async def test_what_would_do_something_twice_is_sent_once(daemon: FakeDaemon, model: FakeModel) -> None:
    async with daemon.async_client(retries=QUICK) as client:
        session = await client.new_session("my-app")
        daemon.faults.calls(path="*/fork", times=1).respond_with(503)
        with pytest.raises(ServerError) as failed:
            await client.fork(session)
        assert failed.value.attempts == 1
        assert [one.retry for one in client.exchanges] == [0]


async def test_a_message_whose_answer_is_lost_runs_once(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle
) -> None:
    model.will_respond_with_text("one", times=None)
    async with daemon.async_client(retries=QUICK) as client:
        daemon.faults.calls(path="*/messages", times=1).cut_off("answer")
        # By the stub, to which no id is given.
        accepted = await client.api.messages.send_message("my-app", session.session_id, message="hi")
        assert sent(client.exchanges, "send_message") == [(None, 0)]
        assert accepted.status == "accepted"
        turn = await client.turn(session, accepted, timeout=10)
        assert (await turn.result()).content == "one"
    await daemon.drain()
    assert model.request_count == 1


async def test_a_session_whose_creation_is_not_answered_is_found(
    daemon: FakeDaemon, model: FakeModel
) -> None:
    model.will_respond_with_text("one", times=None)
    async with daemon.async_client(retries=QUICK) as client:
        daemon.faults.calls(path="*/sessions", method="post", times=1).cut_off("answer")
        session = await client.new_session("my-app", message="hi")
        assert sent(client.exchanges, "create_session") == [(None, 0)]
        result = await (await client.turn(session, session.first_turn, timeout=10)).result()
        assert result.content == "one"
        daemon.faults.calls(path="*/sessions", method="post", times=1).cut_off("request")
        with pytest.raises(UnconfirmedMessage, match="not found in a new session") as lost:
            await client.new_session("my-app", message="hi")
        assert lost.value.session_id is None
        assert lost.value.client_message_id.startswith("cm-")


def set_fault(faults: Faults, chance: random.Random) -> str:
    """Sets a fault of the next message; its kind."""
    calls = faults.calls(path="*/messages", times=1)
    kind = chance.choice(["refuse", "fail", "cut request", "cut answer", "cut body", "hang", "slow"])
    match kind:
        case "refuse":
            calls.respond_with(429, retry_after=chance.choice([None, 0.001]))
        case "fail":
            calls.respond_with(chance.choice([500, 502, 504]))
        case "cut request":
            calls.cut_off("request")
        case "cut answer":
            calls.cut_off("answer")
        case "cut body":
            calls.cut_off("body")
        case "hang":
            calls.hang()
        case _:
            calls.slow_body(2)
    return kind


async def test_fifty_messages_meet_faults_and_each_runs_once_or_is_reported(
    daemon: FakeDaemon, model: FakeModel, session: SessionHandle, chance: random.Random
) -> None:
    model.will_respond_with_text("once", times=None)
    policy = RetryPolicy(
        attempts=200, first_pause=0.0005, longest_pause=0.002, attempt_timeout=0.5, longest_search=0.2
    )
    reported: dict[str, str] = {}
    kinds: dict[str, str] = {}
    async with daemon.async_client(retries=policy, keep_exchanges=0) as client:
        for number in range(50):
            text = f"only once: {number}"
            kinds[text] = set_fault(daemon.faults, chance)
            try:
                accepted = await client.post_message_raw(session, text)
            except UnconfirmedMessage:
                reported[text] = kinds[text]
            else:
                result = await (await client.turn(session, accepted, timeout=20)).result()
                assert result.content == "once"
        assert len(set(kinds.values())) == 7
        await daemon.drain()
        async with await client.open_event_stream(session) as stream:
            ran = [one.payload.content for one in stream.events_of(UserMessage)]
    assert len(ran) == len(set(ran)) == model.request_count
    assert set(kinds) - set(reported) <= set(ran)
    assert set(reported.values()) <= {"fail", "cut request", "hang"}


async def test_a_deletion_whose_answer_is_lost_is_a_deletion(daemon: FakeDaemon) -> None:
    async with daemon.async_client(retries=QUICK) as client:
        session = await client.new_session("my-app")
        daemon.faults.calls(method="delete", times=1).cut_off("answer")
        assert (await client.delete(session)).deleted
        assert sent(client.exchanges, "delete_session") == [(None, 0), (404, 1)]
        # A stub does not hide that nobody knows which attempt it was.
        again = await client.new_session("my-app")
        daemon.faults.calls(method="delete", times=1).cut_off("answer")
        with pytest.raises(NotFound) as caught:
            await client.api.sessions.delete_session("my-app", again.session_id)
        assert caught.value.may_be_done
        with pytest.raises(NotFound) as never:
            await client.delete(SessionHandle(session_id="nobody", app_id="my-app", daemon_url=daemon.url))
        assert not never.value.may_be_done


async def test_a_renewed_token_and_a_retry_go_together(daemon: FakeDaemon) -> None:
    async with AsyncDevClient(daemon.url, retries=QUICK) as client:
        await client.register("somebody", "correct horse battery")
        client._credentials.access_token = daemon.token("somebody", expires_in=-10)
        daemon.faults.calls(path="*/sessions", times=1).respond_with(503)
        await client.list_sessions("my-app")
        assert sent(client.exchanges, "list_sessions") == [(503, 0), (401, 1), (200, 2)]
        client._credentials.access_token = "wrong"
        client._credentials.refresh_token = None
        with pytest.raises(Unauthorized):
            await client.list_sessions("my-app")
        assert len(sent(client.exchanges, "list_sessions")) == 4
