"""Faults on purpose, as a client sees them that knows nothing of this package."""

import asyncio
import concurrent.futures
import time
from collections.abc import Iterator

import httpx
import pytest

from digitorn_testing import SessionHandle
from digitorn_testing._transport.endpoints import endpoint_of
from digitorn_testing.events import MessageDone, Token
from digitorn_testing.fakes import FakeDaemon, FakeModel, Fault
from digitorn_testing.fakes._wire.socketio import Cut
from support.recorder import APP, SocketRefused, Talk, another, recording, talking
from support.sessions import add_session
from support.texts import PIECES, pieces

TEN = pieces(10)


@pytest.fixture
def http(daemon: FakeDaemon) -> Iterator[httpx.Client]:
    """A signed-in HTTP client."""
    endpoint = endpoint_of(daemon.url)
    transport = None if endpoint is None else endpoint.http()
    headers = {"Authorization": f"Bearer {daemon.token()}"}
    with httpx.Client(base_url=daemon.url, headers=headers, timeout=5, transport=transport) as client:
        yield client


def post(http: httpx.Client, session: SessionHandle, message: str = "go") -> httpx.Response:
    path = f"/api/apps/{session.app_id}/sessions/{session.session_id}/messages"
    return http.post(path, json={"message": message})


# --- calls


def test_calls_are_answered_with_a_status(daemon: FakeDaemon, http: httpx.Client) -> None:
    fault = daemon.faults.calls(times=2).respond_with(429, retry_after=1.5, reason="slow down")
    for _ in range(2):
        answer = http.get("/auth/me")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1.5")
        assert answer.json() == {"error": "slow down"}
    assert http.get("/auth/me").status_code == 200
    assert (fault.hits, fault.is_active) == (2, False)
    with daemon.faults.calls().respond_with(503):
        answer = http.get("/auth/me")
        assert answer.status_code == 503
        assert "retry-after" not in answer.headers
    assert http.get("/auth/me").status_code == 200
    # The daemon itself remembers what it answered.
    assert [one.status for one in daemon.exchanges] == [429, 429, 200, 503, 200]


def test_a_fault_is_scoped(daemon: FakeDaemon, model: FakeModel, http: httpx.Client) -> None:
    one, other = (
        SessionHandle(session_id=name, app_id="my-app", daemon_url=daemon.url) for name in ("one", "other")
    )
    model.will_respond_with_text("x", times=None)
    by_session = daemon.faults.calls(session=one).respond_with(500)
    by_path = daemon.faults.calls(path="/api/apps/*/sessions/other/messages", method="get").respond_with(501)
    assert post(http, one).status_code == 500
    assert post(http, other).status_code == 200
    assert http.get("/auth/me").status_code == 200
    by_method = daemon.faults.calls(path="*/messages", method="post").respond_with(502)
    assert post(http, other).status_code == 502
    assert [fault.hits for fault in (by_session, by_path, by_method)] == [1, 0, 1]
    daemon.faults.clear()
    assert daemon.faults.active() == []
    assert post(http, one).status_code == 200


def test_a_fault_counts(daemon: FakeDaemon, http: httpx.Client) -> None:
    def statuses(count: int) -> list[int]:
        return [http.get("/healthz").status_code for _ in range(count)]

    with daemon.faults.calls(after=2, times=1).respond_with(500):
        assert statuses(5) == [200, 200, 500, 200, 200]
    with daemon.faults.calls(after=1, every=2).respond_with(500):
        assert statuses(6) == [200, 200, 500, 200, 500, 200]


def test_a_request_that_is_cut_off_is_not_executed(
    daemon: FakeDaemon, model: FakeModel, http: httpx.Client, session: SessionHandle
) -> None:
    model.will_respond_with_text("x")
    with daemon.faults.calls(path="*/messages").cut_off() as fault:
        with pytest.raises(httpx.TransportError):
            post(http, session)
        assert fault.hits == 1
    assert model.request_count == 0
    assert post(http, session).status_code == 200


def test_an_answer_that_is_cut_off_was_executed(
    daemon: FakeDaemon, model: FakeModel, http: httpx.Client, session: SessionHandle
) -> None:
    model.will_respond_with_text("x")
    with daemon.faults.calls(path="*/messages").cut_off("answer"):
        with pytest.raises(httpx.TransportError):
            post(http, session)
    daemon.drain()
    assert model.request_count == 1


def test_a_body_that_is_cut_off_has_begun(daemon: FakeDaemon, http: httpx.Client) -> None:
    with daemon.faults.calls().cut_off("body"), pytest.raises(httpx.TransportError):
        http.get("/auth/me")
    assert http.get("/auth/me").status_code == 200


def test_a_slow_body_takes_its_time(daemon: FakeDaemon, http: httpx.Client) -> None:
    whole = http.get("/auth/me").json()
    with daemon.faults.calls().slow_body(0.2):
        started = time.monotonic()
        assert http.get("/auth/me").json() == whole
        assert time.monotonic() - started >= 0.2


def test_calls_hang_until_the_caller_gives_up(daemon: FakeDaemon, http: httpx.Client) -> None:
    with daemon.faults.calls().hang() as fault:
        with pytest.raises(httpx.ReadTimeout):
            http.get("/auth/me", timeout=0.1)
        assert fault.hits == 1


def test_what_hangs_is_answered_when_the_fault_is_removed(
    daemon: FakeDaemon, model: FakeModel, http: httpx.Client, session: SessionHandle
) -> None:
    model.will_respond_with_text("x")
    fault = daemon.faults.calls(path="*/messages").hang()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        asking = pool.submit(post, http, session, "hello")
        with pytest.raises(TimeoutError):
            asking.result(0.1)
        fault.remove()
        fault.remove()
        assert asking.result(5).status_code == 200
    daemon.drain()
    assert model.last_request is not None
    assert model.last_request.last_text == "hello"


def test_a_daemon_stops_at_once_while_calls_hang() -> None:
    def stopped_in() -> float:
        with FakeDaemon() as daemon, concurrent.futures.ThreadPoolExecutor() as pool:
            daemon.faults.calls().hang()
            asking = pool.submit(httpx.get, f"{daemon.url}/healthz", timeout=5)
            with pytest.raises(TimeoutError):
                asking.result(0.1)
            started = time.monotonic()
            daemon.stop()
            asking.exception(5)
            return time.monotonic() - started

    # One of three, for a busy machine. Calls that are not let go take a second each time.
    assert any(stopped_in() < 0.9 for _ in range(3))


@pytest.mark.parametrize("count", [{"times": 0}, {"after": -1}, {"every": 0}])
def test_a_fault_that_could_never_hit_is_refused(count: dict[str, int]) -> None:
    faults = FakeDaemon().faults
    for make in (faults.calls, faults.events, faults.refuse_connections):
        with pytest.raises(ValueError, match=next(iter(count))):
            make(**count)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - one of several


def test_what_is_no_fault_is_refused() -> None:
    faults = FakeDaemon().faults
    with pytest.raises(ValueError, match="200"):
        faults.calls().respond_with(200)
    with pytest.raises(ValueError, match="did you mean 'token'"):
        faults.events("tokn")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a misspelt name
    assert faults.active() == []


def test_a_fault_says_what_it_is() -> None:
    faults = FakeDaemon().faults
    fault: Fault = faults.events(Token, session="s-1", times=1).lose()
    assert repr(fault) == "<Fault: Lose() on Token of session s-1; active, 0 hits>"
    fault.remove()
    assert "ended" in repr(fault)


# --- events


async def tokens(talk: Talk) -> list[str]:
    """The pieces of text of one turn in order of arrival, until its end."""
    accepted = await talk.send("go")
    await talk.end(accepted["correlation_id"])
    return [one["payload"]["delta"] for one in talk.recorder.of("token")]


async def test_events_are_lost_but_logged() -> None:
    async with talking(FakeModel().will_stream_text(TEN)) as talk:
        fault = talk.daemon.faults.events(Token, session=talk.session_id, after=3, times=2).lose()
        assert await tokens(talk) == TEN[:3] + TEN[5:]
        assert fault.hits == 2
        assert [one["payload"]["delta"] for one in await talk.gap(1) if one["type"] == "token"] == TEN


async def test_events_come_twice() -> None:
    async with talking(FakeModel().will_stream_text(PIECES)) as talk:
        talk.daemon.faults.events(Token, times=1).duplicate(copies=2)
        assert await tokens(talk) == [*[PIECES[0]] * 3, PIECES[1]]
        first, second = talk.recorder.of("token")[:2]
        assert first == second


async def test_events_are_overtaken() -> None:
    async with talking(FakeModel().will_stream_text(TEN)) as talk:
        talk.daemon.faults.events(Token, times=1).delay(0.1)
        await talk.send("go")
        await talk.recorder.wait_for("token", 10)
        assert talk.recorder.types()[-1] == "token"
        assert talk.recorder.frames[-1]["payload"]["delta"] == TEN[0]


@pytest.mark.parametrize("how", ["reset", "close", "disconnect"])
async def test_connections_are_cut_behind_some_events(how: Cut) -> None:
    async with talking(FakeModel().will_stream_text(TEN, times=2)) as talk:
        fault = talk.daemon.faults.events(session=talk.session_id, every=4, times=1).drop_connection(how)
        before = len(talk.recorder.frames)
        await talk.send("go")
        await asyncio.wait_for(talk.recorder.lost.wait(), 5)
        assert fault.hits == 1
        assert len(talk.recorder.frames) - before <= 4
        # Others stay, and the session goes on.
        async with another(talk.daemon, session_id=talk.session_id) as back:
            assert (await back.run("and on"))[-1] == "turn_terminal"


async def test_what_nobody_hears_is_not_hit() -> None:
    async with talking(FakeModel().will_stream_text(["a"], times=2)) as talk:
        fault = talk.daemon.faults.events(MessageDone).lose()
        other = await talk.client.post(f"/api/apps/{APP}/sessions/other/messages", json={"message": "x"})
        assert other.status_code == 200
        await asyncio.to_thread(talk.daemon.drain)
        assert fault.hits == 0


async def test_connections_are_refused() -> None:
    async with talking(FakeModel()) as talk:
        fault = talk.daemon.faults.refuse_connections(times=1)
        with pytest.raises(SocketRefused):
            async with recording(talk.daemon):
                pass
        async with recording(talk.daemon):
            assert fault.hits == 1


def test_a_client_in_process_is_hit_as_well(model: FakeModel) -> None:
    model.will_stream_text(TEN)
    with FakeDaemon(model=model, listen=False) as daemon, daemon.client() as client:
        daemon.add_app("my-app")
        twice = daemon.faults.events(Token, times=3).duplicate()
        dropped = daemon.faults.events(Token, after=5, times=1).drop_connection()
        # What comes before its join would be read over HTTP.
        stream = client.send_live(add_session(daemon), "go", total_timeout=10)
        assert [one.payload.delta for one in stream.events_of(Token)] == TEN
        assert (twice.hits, dropped.hits) == (3, 1)
        assert stream.log.duplicates >= 3
        stream.stop()
