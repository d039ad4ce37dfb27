"""What only the blocking face has: its threads, and predicates that call the daemon."""

import gc
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from digitorn_testing import (
    ClientClosed,
    DaemonUnreachable,
    DevClient,
    EventPayload,
    LiveEvent,
    SessionHandle,
)
from digitorn_testing.events import MessageDone, Token
from digitorn_testing.fakes import FakeDaemon, FakeModel
from support.faces import Background, leftovers
from support.texts import ANSWER, pieces

ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[DevClient]:
    """A client with a good token, which approves what asks."""
    with daemon.client() as connected:
        yield connected


@pytest.fixture
def known(client: DevClient, model: FakeModel, session: SessionHandle) -> SessionHandle:
    """A session with one finished turn."""
    model.will_stream_text([ANSWER])
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
    model.will_stream_text(pieces(3))
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
    assert heard == [*pieces(3), "message_done"]
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
        with suppress(ClientClosed, DaemonUnreachable):
            call.result(10)
    # The collector would warn of what is open.
    del client, call
    gc.collect()


@pytest.fixture
def full() -> Iterator[int]:
    """A port that takes no connection on four addresses, as one behind a firewall would."""
    with ExitStack() as stack:
        port = 0
        for address in ADDRESSES:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(0)
            port = listener.getsockname()[1]
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                with suppress(BlockingIOError):
                    waiting.connect((address, port))
        yield port


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 and the like are no addresses")
def test_a_deadline_holds_for_all_addresses_of_a_name(full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def several(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        names = ADDRESSES if host == "several.localhost" else (host,)
        return [found for name in names for found in real(name, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    with DevClient(f"http://several.localhost:{full}", token="t" * 9, timeout=0.8, retries=None) as client:
        started = time.monotonic()
        with pytest.raises(DaemonUnreachable, match="timed out"):
            client.api.apps.list_apps()
        assert 0.7 < time.monotonic() - started < 2.4
