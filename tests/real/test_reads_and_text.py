"""What following a turn costs on the released daemon, and that the text that it streams adds up."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from digitorn_testing import DevClient, EventLog, Exchange, Exchanges, SessionHandle
from digitorn_testing._events.event import InvalidPayload, UnknownPayload
from digitorn_testing._plugin import real
from digitorn_testing.events import Token, ToolCall, TurnTerminal
from digitorn_testing.fakes import FakeModel
from digitorn_testing.models import SessionEvent
from real.turns import TURN_SECONDS, send
from support.faces import eventually
from support.tcp_proxy import TcpProxy

# Routes that a stream reads: what of a session it was not sent.
LOG_ROUTES = ("/events", "/state", "/history", "/snapshot", "/queue")
WORDS = [f"word{number} " for number in range(40)]
ANSWERS = {
    "short": "Yes.",
    "ten": "abcdefghij",
    "cut": "done with bash",
    "long": "Hello, world! This is a long sentence that ends with bash",
    "marks": "a < b & [c] <d",
}
MOST_MILLISECONDS = 50.0


@pytest.fixture
def script(fake_model: FakeModel) -> FakeModel:
    """Answers of several lengths, with and without a tool before."""
    for name, answer in ANSWERS.items():
        fake_model.when(contains=f"say {name}").will_respond_with_text(answer)
    fake_model.when(contains="use a tool").will_call_tool("Bash", {"command": "echo hi"})
    fake_model.when(contains="look first").will_call_tool("Bash", {"command": "echo hi"}, text="Let me look.")
    fake_model.when(tool_result_of="Bash").will_respond_with_text(ANSWERS["cut"])
    fake_model.when(contains="go on").will_stream_text(WORDS, delay=0.05)
    fake_model.will_respond_with_text("Hello.", times=None)
    return fake_model


@pytest.fixture
def talk(dev_client: DevClient, session: SessionHandle, script: FakeModel) -> SessionHandle:
    """A session whose stream has joined, as it has for all turns but the first."""
    assert script is not None
    assert send(dev_client, session, "hello").content == "Hello."
    return session


def reads(exchanges: Exchanges, since: int) -> list[str]:
    """The reads of the log among the calls behind a position."""
    found: list[Exchange] = list(exchanges)[since:]
    return [
        one.path for one in found if one.method == "GET" and one.path.partition("?")[0].endswith(LOG_ROUTES)
    ]


def test_a_turn_costs_no_read_of_the_log_and_few_milliseconds(
    dev_client: DevClient, talk: SessionHandle
) -> None:
    late: list[float] = []
    for message in ("say short", "say cut", "use a tool", "look first", "say long") * 4:
        before = len(dev_client.exchanges)
        result = dev_client.send(talk, message, timeout=TURN_SECONDS)
        returned = time.time()
        terminal = next(event for event in result.events if isinstance(event.payload, TurnTerminal))
        assert terminal.emitted_at is not None
        late.append((returned - terminal.emitted_at.timestamp()) * 1000)
        if result.ok:
            assert reads(dev_client.exchanges, before) == []
        assert len(reads(dev_client.exchanges, before)) <= 2
    print(f"p50 {statistics.median(late):.1f} ms, p95 {sorted(late)[-2]:.1f} ms of {len(late)} turns")
    assert statistics.median(late) <= MOST_MILLISECONDS


def test_a_turn_of_seconds_is_not_asked_for(
    dev_client: DevClient, talk: SessionHandle, script: FakeModel
) -> None:
    command = 'python3 -c "import time; time.sleep(8)"'
    script.when(contains="take your time").will_call_tool("Bash", {"command": command})
    before = len(dev_client.exchanges)
    result = dev_client.send(talk, "take your time", timeout=TURN_SECONDS)
    assert result.duration > 8
    assert len(reads(dev_client.exchanges, before)) <= 2


def test_the_first_turn_of_a_session_costs_two_reads(
    dev_client: DevClient, session: SessionHandle, script: FakeModel
) -> None:
    assert script is not None
    assert dev_client.send(session, "say cut", timeout=TURN_SECONDS).content == ANSWERS["cut"]
    assert len(reads(dev_client.exchanges, 0)) <= 2


@pytest.mark.parametrize("message", [*(f"say {name}" for name in ANSWERS), "use a tool"])
def test_the_pieces_add_up_to_the_answer(dev_client: DevClient, talk: SessionHandle, message: str) -> None:
    turn = dev_client.start_turn(talk, message, timeout=TURN_SECONDS)
    text = "".join(turn.text_deltas())
    result = turn.result()
    assert text == result.content == result.text == ANSWERS[message.rpartition(" ")[2].replace("tool", "cut")]
    assert result.deltas_complete
    assert "".join(turn.text_deltas()) == text, "whoever reads it again gets the same"


def test_what_is_said_before_a_tool_comes_before_the_answer(
    dev_client: DevClient, talk: SessionHandle
) -> None:
    turn = dev_client.start_turn(talk, "look first", timeout=TURN_SECONDS)
    text = "".join(turn.text_deltas())
    result = turn.result()
    assert (text, result.content) == ("Let me look.\n\ndone with bash", "done with bash")
    assert (result.text, result.commentary, result.deltas_complete) == (
        result.content,
        ("Let me look.",),
        True,
    )


@pytest.mark.parametrize("way", ["cut", "reset", "stalled"])
def test_a_connection_lost_in_mid_turn_loses_nothing(
    dev_client: DevClient, pytestconfig: pytest.Config, talk: SessionHandle, way: str
) -> None:
    access = real.access(pytestconfig)
    assert access is not None
    port = int(access["url"].rpartition(":")[2])
    with TcpProxy(port) as proxy, DevClient.with_token(access["token"], daemon_url=proxy.url) as client:
        session = SessionHandle(session_id=talk.session_id, app_id=talk.app_id, daemon_url=proxy.url)
        turn = client.start_turn(session, "go on", timeout=TURN_SECONDS)
        with ThreadPoolExecutor(1) as thread:
            pieces = thread.submit(lambda: list(turn.text_deltas()))
            turn.wait_for(Token, where=lambda event: "word9" in event.payload.delta)
            lose(proxy, way)
            result = turn.result()
            text = "".join(pieces.result(TURN_SECONDS))
        assert turn.stream.connection.reconnects >= 1
        assert text == result.content == "".join(WORDS)
        assert result.deltas_complete
        rows = dev_client.api.sessions.get_session_state(
            talk.app_id, talk.session_id, since_seq=result.events[0].seq - 1
        ).gap_events
        sent = [row.seq for row in rows if row.payload.get("event_id") and row.seq <= result.events[-1].seq]
        assert [event.seq for event in result.events] == sent
        # One for the rejoin, one more if the loss came at a bad moment.
        assert len(reads(client.exchanges, 0)) <= 2


def lose(proxy: TcpProxy, way: str) -> None:
    """Loses every connection through a proxy."""
    if way == "stalled":
        with proxy.stalled():
            proxy.reset()
    elif way == "reset":
        proxy.reset()
    else:
        proxy.cut()


def test_rows_of_the_log_are_events_once(dev_client: DevClient, talk: SessionHandle) -> None:
    result = dev_client.send(talk, "use a tool", timeout=TURN_SECONDS)
    with dev_client.open_event_stream(talk) as stream:

        def rows() -> list[SessionEvent]:
            page = dev_client.api.sessions.list_session_events(talk.app_id, talk.session_id, limit=5000)
            return [row for row in page.events if not isinstance(row, dict)]

        # The second one is written when the turn is saved, shortly after its end.
        logged = eventually(rows, lambda logged: [row.type for row in logged].count("tool_call") == 2)
        for row in logged:
            stream.log.feed(row.to_wire())
        events = stream.events()
        assert len(stream.events_of(ToolCall)) == len(result.tool_calls) == 1
        assert [row.type for row in stream.log.log_only].count("tool_call") == 1
        assert not [event for event in events if isinstance(event.payload, InvalidPayload | UnknownPayload)]
        # Heartbeats have no number, and neither has what a connection begins with.
        numbers = [event.seq for event in events if event.seq]
        assert len(set(numbers)) == len(numbers)
        (call,) = stream.turn_result(result.correlation_id).tool_calls
        assert (call.id, call.success, call.result) == (
            result.tool_calls[0].id,
            True,
            result.tool_calls[0].result,
        )


def test_the_history_has_no_second_call_either(dev_client: DevClient, talk: SessionHandle) -> None:
    result = dev_client.send(talk, "use a tool", timeout=TURN_SECONDS)
    log = EventLog(session_id=talk.session_id, strict=True)
    for row in dev_client.get_history(talk).events:
        log.feed(row.to_wire())
    assert [event.payload.id for event in log.events_of(ToolCall)] == [result.tool_calls[0].id]
    assert log.turn(result.correlation_id)[-1].type == "turn_terminal"
