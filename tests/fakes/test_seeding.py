"""Sessions that a test puts into the daemon: their history is there, and they go on."""

from collections.abc import Iterator

import pytest

from digitorn_testing import AnswerWith, ApproveAll, DenyAll, DevClient, NotFound
from digitorn_testing.builders import AppBuilder, SessionBuilder, TurnBuilder
from digitorn_testing.events import MessageDone, ToolCall
from digitorn_testing.fakes import FakeDaemon, FakeModel

LS = {"command": "ls"}
TALK = TurnBuilder().user("What is there?").tool("Bash", LS, result={"stdout": "a"}).text("One file, ", "a.")
ASKING = TurnBuilder().user("Remove it.").tool("Bash", {"command": "rm a"}, result={"stdout": "gone"})


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def daemon(model: FakeModel) -> Iterator[FakeDaemon]:
    with FakeDaemon(listen=False, model=model) as running:
        running.add_app("my-app")
        yield running


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[DevClient]:
    with daemon.client() as connected:
        yield connected


def test_the_history_is_that_of_the_builder(daemon: FakeDaemon, client: DevClient) -> None:
    builder = SessionBuilder(app_id="my-app", session_id="old", title="Files").turn(TALK)
    session = daemon.add_session(builder)
    history, built = client.get_history(session), builder.history()
    assert [one.to_wire()["role"] for one in history.messages] == ["user", "assistant", "assistant"]
    assert [(one.role, one.content, one.tool_calls) for one in history.messages] == [
        (one.role, one.content, one.tool_calls) for one in built.messages
    ]
    assert (history.title, history.created_at) == ("Files", built.created_at)
    assert (history.turn_active, history.current_seq) == (False, built.current_seq)
    assert [(one.seq, one.type, one.event_id) for one in history.events] == [
        (one.seq, one.type, one.event_id) for one in built.events
    ]
    (listed,) = client.list_sessions("my-app").sessions
    assert (listed.session_id, listed.title) == ("old", "Files")
    with client.open_event_stream(session) as stream:
        read = {one.event_id for one in stream.events()}
    assert {one.event_id for one in builder.events()} <= read


def test_the_next_message_continues_it(daemon: FakeDaemon, client: DevClient, model: FakeModel) -> None:
    session = daemon.add_session(SessionBuilder(app_id="my-app").turn(TALK))
    model.will_respond_with_text("Still one.")
    result = client.chat("my-app", "And now?", session=session)
    assert result.content == "Still one."
    (request,) = model.requests
    assert [(one.role, one.content) for one in request.messages] == [
        ("user", "What is there?"),
        ("assistant", ""),
        ("tool", '{"stdout": "a"}'),
        ("assistant", "One file, a."),
        ("user", "And now?"),
    ]
    assert request.messages[2].tool_call_id == request.messages[1].tool_calls[0].id
    assert result.events[0].seq > SessionBuilder().turn(TALK).events()[-1].seq


def test_a_pending_approval_is_approved_and_the_turn_ends(
    daemon: FakeDaemon, client: DevClient, model: FakeModel
) -> None:
    builder = SessionBuilder(app_id="my-app").turn(TALK).turn(ASKING.pending_approval(risk_level="high"))
    session = daemon.add_session(builder)
    (asked,) = client.api.approvals.list_app_approvals("my-app").pending
    assert (asked.request_id, asked.risk_level) == (builder.pending_approvals()[0].request_id, "high")
    assert client.get_history(session).turn_active
    model.will_respond_with_text("It is gone.")
    with client.open_event_stream(session, auto_approve=False) as stream:
        assert [one.request_id for one in stream.log.pending_approvals()] == [asked.request_id]
        client.api.approvals.resolve_approval("my-app", request_id=asked.request_id, approved=True)
        assert stream.wait_for(MessageDone, where=lambda done: done.seq > asked_seq(builder), timeout=10)
        ended = [one.payload for one in stream.events_of(ToolCall)]
    assert [one.result for one in ended] == [{"stdout": "a"}, {"stdout": "gone"}]
    assert model.requests[0].messages[-1].content == '{"stdout": "gone"}'
    assert client.get_history(session).messages[-1].content == "It is gone."
    assert client.api.approvals.list_app_approvals("my-app").pending == []


def asked_seq(builder: SessionBuilder) -> int:
    return builder.events()[-1].seq


def test_a_pending_approval_is_denied(daemon: FakeDaemon, client: DevClient, model: FakeModel) -> None:
    session = daemon.add_session(SessionBuilder(app_id="my-app").turn(ASKING.pending_approval()))
    model.will_respond_with_text("Then not.")
    with client.open_event_stream(session, approvals=DenyAll("no")) as stream:
        done = stream.wait_for(MessageDone, timeout=10)
        (ended,) = stream.events_of(ToolCall)
    assert not ended.payload.success
    assert done.correlation_id == ended.correlation_id == ASKING.correlation_id
    assert "no" in model.requests[0].messages[-1].content


def test_an_open_question_is_answered(daemon: FakeDaemon, client: DevClient, model: FakeModel) -> None:
    session = daemon.add_session(
        SessionBuilder(app_id="my-app").turn(TurnBuilder().user("hi").question("Which?"))
    )
    model.will_respond_with_text("The first, then.")
    with client.open_event_stream(session, approvals=AnswerWith("the first")) as stream:
        stream.wait_for(MessageDone, timeout=10)
    assert "the first" in model.requests[0].messages[-1].content


def test_the_apps_function_runs_when_the_builder_has_no_result(
    daemon: FakeDaemon, client: DevClient, model: FakeModel
) -> None:
    def add(a: int, b: int) -> str:
        return str(a + b)

    daemon.deploy(AppBuilder("sums").with_tool(add))
    open_call = TurnBuilder().user("2 and 3?").tool("add", {"a": 2, "b": 3}).pending_approval()
    session = daemon.add_session(SessionBuilder(app_id="sums").turn(open_call))
    model.will_respond_with_text("Five it is.")
    with client.open_event_stream(session, approvals=ApproveAll()) as stream:
        stream.wait_for(MessageDone, timeout=10)
    assert model.requests[0].messages[-1].content == '{"output": "5"}'


def test_a_turn_that_runs_goes_on_and_the_queue_follows(
    daemon: FakeDaemon, client: DevClient, model: FakeModel
) -> None:
    model.will_respond_with_text("The first answer.").will_respond_with_text("The second answer.")
    model.will_respond_with_text("The third answer.")
    first = TurnBuilder(correlation_id="fp-1").user("one").unfinished()
    waiting = [TurnBuilder(correlation_id=f"fp-{n}").user(f"say {n}").queued(n - 1) for n in (2, 3)]
    builder = SessionBuilder(app_id="my-app").turn(first).turn(waiting[0]).turn(waiting[1])
    session = daemon.add_session(builder)
    daemon.drain()
    assert [one.content for one in client.get_history(session).messages] == [
        *("one", "The first answer.", "say 2", "The second answer.", "say 3", "The third answer.")
    ]
    with client.open_event_stream(session) as stream:
        starts = [one.correlation_id for one in stream.events() if one.type == "message_started"]
    assert starts == ["fp-1", "fp-2", "fp-3"]
    queue = client.get_queue(session, include_finished=True)
    assert [one.status for one in queue.entries] == ["completed", "completed"]


def test_a_turn_that_failed_is_told(daemon: FakeDaemon, client: DevClient) -> None:
    failed = TurnBuilder().user("hi").error("rate_limited", "slow down")
    history = client.get_history(daemon.add_session(SessionBuilder(app_id="my-app").turn(failed)))
    assert history.interrupted
    assert history.last_error is not None
    assert history.last_error.code == "rate_limited"


def test_whose_it_is_and_where(daemon: FakeDaemon, client: DevClient) -> None:
    eve = daemon.add_user("eve@example.com", "a-long-password")
    builder = SessionBuilder(session_id="hers").turn(TALK)
    with pytest.raises(ValueError, match="no app 'app'; its apps: my-app"):
        daemon.add_session(builder)
    session = daemon.add_session(builder, app_id="my-app", user=eve)
    with pytest.raises(ValueError, match="already has a session 'hers'"):
        daemon.add_session(builder, app_id="my-app")
    with pytest.raises(NotFound):
        client.get_session(session)
    with DevClient(daemon_url=daemon.url, token=daemon.token(eve)) as hers:
        assert hers.get_session(session).message_count
        assert {one.user_id for one in hers.get_history(session).events} == {eve.user_id}
