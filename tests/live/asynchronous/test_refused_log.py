"""A daemon that refuses its log: a turn that has ended is returned, and the refused call is named."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from digitorn_testing import AsyncDevClient, EventTimeout, SessionHandle, StreamConnection
from digitorn_testing._generated import builders
from digitorn_testing._stream import backfill, following, log_reads
from digitorn_testing.events import MemoryUpdate, MessageDone, Token, ToolCall
from digitorn_testing.fakes import CallFaults, FakeDaemon, FakeModel
from support.sessions import add_session

PIECES = ["This is a, ", "b, ", "and c."]

REFUSALS: dict[str, tuple[Callable[[CallFaults], Any], str]] = {
    "500": (lambda calls: calls.respond_with(500), "answered 500"),
    "503": (lambda calls: calls.respond_with(503), "answered 503"),
    "429": (lambda calls: calls.respond_with(429), "answered 429"),
    "404": (lambda calls: calls.respond_with(404), "answered 404"),
    "cut off": (lambda calls: calls.cut_off(), "GET /api/apps/my-app/sessions/"),
    "never answered": (lambda calls: calls.hang(), "timed out"),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for the log."""
    for module in (backfill, following):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.2)
    for module in (following, log_reads):
        monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)


@pytest.fixture
def known(daemon: FakeDaemon) -> SessionHandle:
    """A session that is there."""
    return add_session(daemon)


@pytest.fixture
def gap(daemon: FakeDaemon, model: FakeModel, known: SessionHandle) -> Iterator[None]:
    """A piece of the next answer is lost on its way, so that the log is read for it."""
    model.will_stream_text(PIECES)
    with daemon.faults.events(Token, session=known, after=1, times=1).lose():
        yield


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.usefixtures("gap", "impatient")
async def test_a_turn_that_has_ended_is_returned(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle, refusal: str
) -> None:
    refuse, said = REFUSALS[refusal]
    with refuse(daemon.faults.calls(method="GET", session=known)):
        result = await client.send(known, "go", timeout=20)
    assert (result.content, result.status) == ("".join(PIECES), "completed")
    assert not result.deltas_complete
    assert result.incomplete_because is not None
    assert said in result.incomplete_because


@pytest.mark.usefixtures("gap", "impatient")
async def test_what_is_read_later_completes_it(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    with daemon.faults.calls(method="GET", session=known).respond_with(503):
        stream = await client.send_live(known, "go", 20)
    async with stream:
        assert stream.turn_result().incomplete_because is not None
        await stream.fill_gaps(since=0)
        assert stream.turn_result().incomplete_because is None
        assert stream.turn_result().deltas_complete


@pytest.mark.usefixtures("gap")
async def test_a_log_that_recovers_in_time_gives_the_whole_turn(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    refused = daemon.faults.calls(method="GET", session=known, times=3).respond_with(503)
    result = await client.send(known, "go", timeout=20)
    assert (result.text, result.deltas_complete, result.incomplete_because) == ("".join(PIECES), True, None)
    assert refused.hits == 3


@pytest.mark.usefixtures("gap")
async def test_with_less_time_it_is_returned_at_the_deadline(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    async with await client.open_event_stream(known) as stream:
        with daemon.faults.calls(method="GET", session=known).respond_with(500):
            accepted = await client.post_message_raw(known, "go")
            await stream.wait_for(MessageDone, timeout=20)
            result = await stream.wait_for_turn(accepted, timeout=0.05)
    assert result.content == "".join(PIECES)
    assert result.incomplete_because is not None
    assert "answered 500" in result.incomplete_because


@pytest.mark.usefixtures("impatient")
async def test_nothing_is_held_back_for_long_and_a_time_out_names_the_call(
    daemon: FakeDaemon, client: AsyncDevClient, known: SessionHandle
) -> None:
    def is_back(connection: StreamConnection) -> bool:
        return connection.reconnects == 1 and connection.state == "joined"

    async with await client.open_event_stream(known) as stream:
        with daemon.faults.calls(path="*/state", session=known).respond_with(503):
            daemon.drop_connections()
            await stream.wait_for_connection(is_back, timeout=10)
            sent = daemon.publish(known, builders.memory_update())
            assert (await stream.wait_for(MemoryUpdate, timeout=20)).seq == sent.seq
            with pytest.raises(EventTimeout, match=r"refused last: .*GET \S+ \(get_session_state\)"):
                await stream.wait_for(ToolCall, timeout=0.01)
        await stream.fill_gaps()
        with pytest.raises(EventTimeout) as late:
            await stream.wait_for(ToolCall, timeout=0.01)
        assert "refused" not in str(late.value)
