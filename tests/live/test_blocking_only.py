"""What only the blocking face has: its threads, and predicates that call the daemon."""

import contextlib
import gc
import threading
from collections.abc import Iterator

import pytest

from digitorn.testing import (
    ClientClosed,
    DaemonUnreachable,
    DevClient,
    EventPayload,
    LiveEvent,
    SessionHandle,
)
from digitorn.testing.events import MessageDone, Token
from digitorn.testing.fakes import FakeDaemon, FakeModel
from live.faces import Background, leftovers


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[DevClient]:
    """A client with a good token, which approves what asks."""
    with daemon.client() as connected:
        yield connected


@pytest.fixture
def known(client: DevClient, model: FakeModel, session: SessionHandle) -> SessionHandle:
    """A session with one finished turn."""
    model.will_stream_text(["old"])
    client.send_live(session, "first", total_timeout=10).stop()
    return session


def test_many_streams_cost_one_thread(client: DevClient, known: SessionHandle) -> None:
    assert leftovers() == 0
    streams = [client.open_event_stream(known) for _ in range(20)]
    assert leftovers() == 1
    for stream in streams:
        stream.stop()
    assert leftovers() == 0


def test_callbacks_run_in_order_off_the_reading_thread(
    client: DevClient, model: FakeModel, known: SessionHandle
) -> None:
    model.will_stream_text(list("abc"))
    heard: list[str] = []
    threads: set[str] = set()
    with client.open_event_stream(known, since=10_000) as stream:

        @stream.on(Token)
        def on_token(event: LiveEvent[Token]) -> None:
            heard.append(event.payload.delta)
            threads.add(threading.current_thread().name)

        @stream.on("message_done")
        def on_done(event: LiveEvent[EventPayload]) -> None:
            heard.append(event.type)

        client.post_message_raw(known, "second")
        stream.wait_for(MessageDone, timeout=10)
    assert heard == ["a", "b", "c", "message_done"]
    assert len(threads) == 1
    assert threads.isdisjoint({threading.current_thread().name, "digitorn-testing-events"})


def test_a_predicate_may_use_the_client(client: DevClient, known: SessionHandle) -> None:
    with client.open_event_stream(known) as stream:

        def asks(event: LiveEvent[Token]) -> bool:
            return not client.list_pending_approvals("my-app") and stream.log.last_seq > 0

        assert stream.wait_for(Token, where=asks, timeout=10)


def test_a_client_that_is_closed_in_the_middle_of_a_call_leaves_no_connection_open(
    daemon: FakeDaemon,
) -> None:
    client = daemon.client()
    with Background() as background, daemon.faults.calls(times=1).hang() as hanging:
        call = background.start(client.list_sessions, "my-app")
        for _ in range(1_000):
            if hanging.hits or threading.Event().wait(0.01):
                break
        assert hanging.hits == 1
        client.close()
        hanging.remove()
        # What came of it depends on how far it was.
        with contextlib.suppress(ClientClosed, DaemonUnreachable):
            call.result(10)
    # The collector would warn of what is open.
    del client, call
    gc.collect()
