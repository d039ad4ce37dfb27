"""Turns and sessions that are built: what happened, in the order and under the numbers of the contract."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from digitorn_testing import (
    EventCapture,
    EventLog,
    InvalidPayload,
    Operations,
    SessionHandle,
    TurnResult,
    UnknownPayload,
    assertions,
)
from digitorn_testing._events.failures import FAILURES
from digitorn_testing._turns.collect import collect
from digitorn_testing.builders import ErrorCode, SessionBuilder, TurnBuilder, event, frame, payloads
from digitorn_testing.events import (
    ApprovalResolved,
    Error,
    MessageQueued,
    Result,
    Token,
    ToolCall,
    ToolStart,
    UserMessage,
)
from support.recorder import folded
from support.texts import ANSWER, PIECES

HANDLE = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://x")


def result_of(turn: TurnBuilder) -> TurnResult:
    return collect(turn.build(), session=HANDLE, correlation_id=turn.correlation_id)


def types(turn: TurnBuilder) -> list[str]:
    return folded([one.type for one in turn.build()])


# --- one event


def test_an_event_has_the_envelope_of_its_type() -> None:
    call = event(payloads.tool_call(id="c-1", name="Bash"), seq=7)
    assert (call.seq, call.type, call.kind, call.event_id) == (7, "tool_call", "session", "ev-000000000007")
    assert (call.op_id, call.op_type, call.op_state) == ("c-1", "tool", "completed")
    assert (call.app_id, call.session_id, call.user_id) == ("app", "s-1", "u-1")
    assert call.correlation_id == "fp-000000000001"
    assert call.payload.success
    asked = event(payloads.approval_request(request_id="r-1"))
    assert (asked.kind, asked.op_id, asked.op_state, asked.correlation_id) == (
        *("approval", "r-1", "waiting_approval"),
        None,
    )


def test_what_a_payload_leaves_open_is_as_in_the_envelope() -> None:
    asked = event(payloads.approval_request(), seq=5, app_id="a-9", session_id="s-9", user_id="u-9")
    payload = asked.payload
    assert (payload.app_id, payload.session_id, payload.user_id) == ("a-9", "s-9", "u-9")
    assert payload.request_id == payload.op_id == asked.op_id
    assert event(payloads.approval_request(), seq=6).op_id != asked.op_id
    assert asked.raw["payload"]["session_id"] == "s-9"
    begun = event(payloads.message_started(), correlation_id="fp-9")
    assert (begun.correlation_id, begun.op_id, begun.payload.correlation_id) == ("fp-9",) * 3
    assert event(payloads.tool_start(), correlation_id="fp-9").payload.correlation_id == "fp-9"
    beat = event(payloads.turn_heartbeat(), correlation_id="fp-9")
    assert beat.payload.turn.correlation_id == "fp-9"
    assert event(payloads.tool_start(), op_id="c-9").payload.id == "c-9"
    assert event(payloads.tool_start(call_id="c-9")).op_id == "c-9"
    assert event(payloads.terminal_output(op_parent_id="c-9")).op_parent_id == "c-9"
    assert event(payloads.terminal_output(), op_parent_id="c-9").payload.op_parent_id == "c-9"


def test_what_a_payload_says_stays() -> None:
    asked = event(payloads.approval_request(request_id="r-1", session_id="s-2"), session_id="s-9")
    assert (asked.payload.session_id, asked.payload.op_id, asked.op_id) == ("s-2", "r-1", "r-1")
    begun = event(payloads.message_started(correlation_id="fp-2"), correlation_id="fp-9")
    assert (begun.payload.correlation_id, begun.correlation_id) == ("fp-2", "fp-9")
    assert event(payloads.message_started(correlation_id="fp-2")).op_id == "fp-2"


def test_single_events_belong_together() -> None:
    turn = [payloads.message_started(), payloads.token(delta="x"), payloads.tool_start(name="Bash")]
    events = [event(one, seq=seq) for seq, one in enumerate([*turn, payloads.message_done()], 1)]
    found = Operations.of(events)
    assert [(one.type, one.state, one.turn) for one in found] == [
        ("turn", "completed", "fp-000000000001"),
        ("tool", "running", "fp-000000000001"),
    ]
    calls = [event(payloads.tool_call(), seq=seq) for seq in (1, 2)]
    assert len(Operations.of(calls)) == 2
    assert not found.violations
    assert not Operations.of(calls).violations


@pytest.mark.parametrize("seq", [0, -1])
def test_a_number_that_stands_for_none_is_refused(seq: int) -> None:
    with pytest.raises(ValueError, match=f"seq={seq}: the events of a session are counted up from 1"):
        event(payloads.token(), seq=seq)
    with pytest.raises(ValueError, match="counted up from 1"):
        TurnBuilder(start_seq=seq)


def test_a_turn_refuses_what_it_cannot_play() -> None:
    with pytest.raises(ValueError, match="'nope' is no code of a failed turn; they are credential_auth_req"):
        TurnBuilder().error("nope")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose
    with pytest.raises(ValueError, match="the turn begins with 'a'; another message begins another turn"):
        TurnBuilder().user("a").user("b")
    with pytest.raises(ValueError, match="the turn begins with ''; another message begins another turn"):
        TurnBuilder().user("").user("b")
    with pytest.raises(TypeError, match="JSON"):
        TurnBuilder().tool("Read", {"path": object()})


def test_what_a_tool_is_given_and_gives_is_copied_when_it_is_said() -> None:
    paths, numbers = ["a"], [1]
    params: dict[str, object] = {"paths": paths}
    answer: dict[str, object] = {"lines": numbers}
    turn = TurnBuilder().tool("Read", params, result=answer).tool("Read", result="text")
    paths.append("b")
    numbers.append(2)
    calls = [one.payload for one in turn.build() if isinstance(one.payload, ToolCall)]
    assert [(one.params, one.result) for one in calls] == [
        ({"paths": ["a"]}, {"lines": [1]}),
        ({}, {"output": "text"}),
    ]


def test_what_is_given_wins() -> None:
    at = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    one = event(
        payloads.token(delta="x", correlation_id="fp-own"),
        ts=at,
        correlation_id="fp-2",
        op_id="o",
        op_type="system",
        op_state="failed",
        op_parent_id="p",
        event_id="ev-1",
        session_id="s-2",
    )
    assert (one.emitted_at, one.correlation_id, one.op_id, one.op_type) == (at, "fp-2", "o", "system")
    assert (one.op_state, one.op_parent_id, one.event_id, one.session_id) == ("failed", "p", "ev-1", "s-2")
    assert event(payloads.token(correlation_id="fp-own")).correlation_id == "fp-own"
    assert event(payloads.token(), correlation_id=None).correlation_id is None


@pytest.mark.parametrize(
    ("payload", "state"),
    [
        (payloads.tool_call(success=False), "failed"),
        (payloads.user_message(pending=True), "pending"),
        (payloads.approval_resolved(approved=True), "completed"),
        (payloads.approval_resolved(approved=False, reason="no"), "cancelled"),
        (payloads.approval_resolved(approved=False, reason="Timed out"), "timeout"),
        (payloads.bg_task_update(status="progress"), "running"),
        (payloads.bg_task_update(status="cancelled"), "cancelled"),
        (payloads.agent_event(action="agent_result", status="timeout"), "timeout"),
        (payloads.agent_event(action="agent_cancel"), "cancelled"),
        (payloads.hook(phase="error"), "failed"),
        (payloads.hook(phase="cancelled"), "cancelled"),
        (payloads.hook_notification(level="warning"), "failed"),
        (payloads.notification_result(error="x"), "failed"),
        (payloads.message_replaced(queue_depth=2), "pending"),
        (payloads.message_replaced(), "running"),
    ],
)
def test_the_state_follows_from_the_payload(payload: ToolCall, state: str) -> None:
    assert event(payload).op_state == state


def test_types_that_are_no_part_of_an_operation_have_seven_fields() -> None:
    one = event(payloads.module_result(), seq=4)
    assert set(one) == {"type", "seq", "kind", "app_id", "session_id", "payload", "ts"}
    assert (one.ts or "").endswith("+00:00")


def test_a_control_frame_has_no_number_and_no_session() -> None:
    one = event(payloads.connected())
    assert (one.kind, one.session_id, "seq" in one) == ("system", None, False)


def test_a_family_of_types_has_a_name_of_its_own() -> None:
    assert event(payloads.preview_custom()).type == "preview:custom"
    drawn = event(payloads.preview_custom(extra_members={"x": 1}), type="preview:drawn")
    assert (drawn.type, drawn["payload"]) == ("preview:drawn", {"x": 1})
    unknown = event(UnknownPayload.from_wire({"a": 1}), type="later_type")
    assert (unknown.type, unknown.op_type) == ("later_type", None)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="the payload of 'token' is no ToolCall"):
        event(payloads.tool_call(), type="token")
    with pytest.raises(ValueError, match="UnknownPayload is no event type"):
        event(UnknownPayload())
    with pytest.raises(ValueError, match="without an envelope"):
        event(payloads.web_preview_attached())
    with pytest.raises(ValueError, match="delta"):
        payloads.token(delta=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose


# --- turns


def test_a_turn_with_a_tool_and_an_approval() -> None:
    turn = TurnBuilder().user("hi").commentary("I look at it.")
    turn = (
        turn.tool("Bash", {"command": "ls"}, result={"n": 1})
        .approval("sure", risk_level="high")
        .text(*PIECES)
    )
    assert types(turn) == [
        *("user_message", "message_started", "token", "stream_done", "tool_call_streaming", "tool_start"),
        *("approval_request", "approval_resolved", "tool_call", "token", "stream_done", "result"),
        *("message_done", "turn_terminal"),
    ]
    found = result_of(turn)
    assert (found.status, found.content, found.commentary) == (
        *("completed", "".join(PIECES)),
        ("I look at it.",),
    )
    (call,) = found.tool_calls
    assert (call.name, call.params, call.success, call.result) == ("Bash", {"command": "ls"}, True, {"n": 1})
    (approval,) = found.approvals
    assert (approval.resolution, approval.message) == ("approved", "sure")
    assert approval.request.risk_level == "high"
    assert [one.seq for one in turn.build()] == list(range(1, len(turn.build()) + 1))
    events = turn.build()
    assert assertions.seq_unique(events)
    assert assertions.correlation_thread(events)
    assert assertions.no_errors(events)


def test_a_builder_stays_as_it_is() -> None:
    base = TurnBuilder().user("hi")
    assert types(base.text("a")) != types(base.tool("Bash"))
    assert types(base) == [
        *("user_message", "message_started", "stream_done", "result", "message_done", "turn_terminal"),
    ]


def test_ids_and_times_are_the_same_each_time_and_go_up() -> None:
    turn = TurnBuilder(
        app_id="my-app",
        session_id="s-9",
        user_id="me",
        correlation_id="fp-9",
        start_seq=40,
        starts_at=datetime(2026, 5, 1, tzinfo=UTC),
        step=timedelta(seconds=1),
    )
    turn = turn.user("hi").tool("Bash").approval().text("a")
    events = turn.build()
    assert turn.frames() == [frame(one) for one in events]
    assert [one.seq for one in events] == list(range(40, 40 + len(events)))
    times = [one.emitted_at for one in events]
    assert times[0] == datetime(2026, 5, 1, tzinfo=UTC)
    assert times == [datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(len(events))]
    assert {one.session_id for one in events} == {"s-9"}
    assert {one.correlation_id for one in events} == {"fp-9", None}
    request = next(one for one in events if one.type == "approval_request")
    assert request.emitted_at is not None
    assert request["payload"]["created_at"] == request.emitted_at.timestamp()


def test_thinking_that_is_short_is_not_closed() -> None:
    short = types(TurnBuilder().thinking("a\nb").text(ANSWER))
    assert short[2:5] == ["thinking_started", "thinking_delta", "token"]
    long = types(TurnBuilder().thinking("a\nb\nc").text(ANSWER))
    assert long[2:6] == ["thinking_started", "thinking_delta", "thinking", "token"]


def test_a_commentary_that_no_call_follows_is_a_request_of_its_own() -> None:
    turn = TurnBuilder().user("hi").commentary("Please wait.").text("done")
    found = result_of(turn)
    assert (found.commentary, found.content) == (("Please wait.",), "done")
    assert [one.type for one in turn.build()].count("stream_done") == 2


def test_denied_and_timed_out_calls_fail() -> None:
    denied = result_of(TurnBuilder().tool("Bash", result={"n": 1}).denied("too risky").text("ok"))
    assert (denied.approvals[0].resolution, denied.approvals[0].message) == ("denied", "too risky")
    assert denied.tool_calls[0].success is False
    assert denied.tool_calls[0].result == {"success": False, "error": denied.tool_calls[0].error}
    assert "too risky" in denied.tool_calls[0].error
    late = result_of(TurnBuilder().tool("Bash").denied("Approval timed out after 300s").text("ok"))
    assert late.approvals[0].resolution == "timed_out"


def test_a_call_that_fails() -> None:
    found = result_of(TurnBuilder().tool("Bash", error="no such file").text("sorry"))
    assert (found.tool_calls[0].success, found.tool_calls[0].error) == (False, "no such file")
    assert found.status == "completed"


def test_a_question_and_its_answer() -> None:
    found = result_of(TurnBuilder().question("Which?", choices=["a", "b"], answer="b").text("b it is"))
    assert found.tool_calls[0].result == {
        "status": "approved",
        "question": "Which?",
        "user_response": "b",
        "raw_response": "b",
    }
    assert (found.approvals[0].message, found.approvals[0].request.description) == (
        *("b", "Which?\n\nOptions: a, b"),
    )
    open_one = result_of(TurnBuilder().question("Which?"))
    assert open_one.approvals[0].resolution == "open"


def test_a_turn_that_waits_for_an_approval_does_not_end() -> None:
    turn = TurnBuilder().user("hi").tool("Bash").pending_approval()
    assert types(turn)[-1] == "approval_request"
    with pytest.raises(ValueError, match="Bash waits for an approval"):
        turn.text("done")
    with pytest.raises(ValueError, match="Bash waits for an approval"):
        turn.error()
    assert types(turn.aborted())[-3:] == ["abort", "message_cancelled", "turn_terminal"]


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_a_turn_that_fails(code: ErrorCode) -> None:
    turn = TurnBuilder().user("hi").error(code, "it broke")
    found = result_of(turn)
    assert found.status == "failed"
    assert found.error
    assert "it broke" in turn.build()[-1 if code.startswith("credential_") else -4]["payload"]["detail"]
    assert found.errors[-1].code == code
    if code.startswith("credential_"):
        # The turn pauses there: nothing follows.
        assert types(turn)[-1] == types(turn.queued())[-1] == code
    else:
        assert types(turn)[-4:] == ["error", "result", "message_cancelled", "turn_terminal"]


def test_a_turn_that_is_cut_off() -> None:
    cut = ["abort", "message_cancelled", "turn_terminal"]
    assert types(TurnBuilder().user("hi").text(PIECES[0]).aborted())[-4:] == ["token", *cut]
    assert types(TurnBuilder().user("hi").tool("Bash").aborted())[-4:] == ["tool_start", *cut]
    assert types(TurnBuilder().queued().text(PIECES[0]).aborted())[-4:] == ["token", *cut]


def test_a_queued_turn_is_announced_first() -> None:
    events = TurnBuilder().user("hi").queued(position=3).text("a").build()
    assert [(one.type, one.op_state) for one in events[:3]] == [
        ("message_queued", "pending"),
        ("user_message", "pending"),
        ("message_started", "running"),
    ]
    assert events[2]["payload"]["position"] == 3
    assert [one.type for one in events].count("user_message") == 1


def test_usage() -> None:
    turn = TurnBuilder().user("hi").tool("Bash").text("a").usage(70, 30)
    found = result_of(turn)
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (70, 30)
    counters = [(one.type, one["payload"]["count"]) for one in turn.build() if one.type.endswith("n_token")]
    assert counters == [("in_token", 70)]
    estimated = result_of(TurnBuilder().user("hi").tool("Bash").text("a")).usage
    assert estimated is not None
    assert estimated.input_tokens == 2


def test_anything_else_may_happen_in_a_turn() -> None:
    turn = (
        TurnBuilder().event(payloads.hook(hook_id="h-1")).event(payloads.token(), op_state="failed").text("a")
    )
    hook, token = turn.build()[2:4]
    assert (hook.type, hook.correlation_id, hook.op_type) == ("hook", turn.correlation_id, "system")
    assert (token.op_id, token.op_state) == (turn.correlation_id, "failed")


def test_an_approval_is_that_of_a_call() -> None:
    for wrong in (TurnBuilder(), TurnBuilder().tool("Bash").text("a")):
        with pytest.raises(ValueError, match="an approval is that of a tool call"):
            wrong.approval()


# --- sessions

FIRST = TurnBuilder().user("one").thinking("hm").tool("Bash", {"a": 1}, result={"n": 1}).text("first")


def test_turns_of_a_session_have_one_count_and_one_clock() -> None:
    session = (
        SessionBuilder(session_id="s-7", start_seq=5).turn(FIRST).turn(TurnBuilder().user("two").text("2"))
    )
    events = session.events()
    assert [one.seq for one in events] == list(range(5, 5 + len(events)))
    times = [one.emitted_at for one in events if one.emitted_at is not None]
    assert times == sorted(set(times))
    assert {one.session_id for one in events} == {"s-7"}
    log = session.log()
    assert isinstance(log, EventLog)
    assert (len(log), log.duplicates, log.foreign) == (len(events), 0, [])
    assert [event.payload.content for event in log.events_of(Result)] == ["first", "2"]
    assert [one.correlation_id for one in log.events_of(UserMessage)] == [
        "fp-000000000001",
        "fp-000000000002",
    ]
    last = log.events_of(Result)[-1].payload
    assert last.usage.total_input_tokens == 1 + 1 + 1
    assert last.turn_number == 2


def test_correlation_ids_stay_unless_they_are_taken() -> None:
    own = TurnBuilder(correlation_id="fp-000000000003").user("x").text("x")
    session = SessionBuilder().turn(own).turn(own).turn(own).turn(FIRST)
    ids = [one.correlation_id for one in session.log().events_of(UserMessage)]
    assert ids == ["fp-000000000003", "fp-000000000002", "fp-000000000004", "fp-000000000001"]


def test_a_queued_turn_is_announced_while_the_one_before_it_runs() -> None:
    log = SessionBuilder().turn(FIRST).turn(TurnBuilder().user("two").queued().text("2")).log()
    assert assertions.event_order(
        log.events(), ["message_queued", "user_message", "message_started", "result", "turn_terminal"]
    )
    assert log.operations().violations == ()


def test_the_history_of_a_session() -> None:
    aborted = TurnBuilder().user("two").text("par").aborted()
    history = SessionBuilder(title="T").turn(FIRST).turn(aborted).history()
    assert [(one.role, one.content) for one in history.messages] == [
        ("user", "one"),
        ("assistant", ""),
        ("assistant", "first"),
        ("user", "two"),
    ]
    (call,) = history.messages[1].tool_calls or []
    assert (call.type, call.function.name, call.function.arguments) == ("function", "Bash", '{"a": 1}')
    assert (history.title, history.turn_count, history.message_count) == ("T", 2, 4)
    assert (history.interrupted, history.turn_active, history.last_message_preview) == (True, False, "two")
    assert (history.event_count, history.events_has_more) == (len(history.events), False)
    assert history.events_next_seq == history.events[-1].seq
    # The rows say the same as the live events.
    log = EventLog(session_id="s-1")
    for row in history.events:
        log.feed({key: value for key, value in row.to_wire().items() if key != "id"})
    assert [one.type for one in log] == [one.type for one in history.events]
    assert not log.events_of(InvalidPayload)


def test_a_session_that_waits_for_an_approval_with_a_message_behind_it() -> None:
    session = SessionBuilder().turn(FIRST).turn(TurnBuilder().user("rm").tool("Bash").pending_approval())
    (pending,) = session.pending_approvals()
    (told,) = session.log().pending_approvals()
    assert pending.to_wire().items() <= told.to_wire().items()
    assert (pending.tool_name, pending.session_id) == ("shell.bash", "s-1")
    assert session.history().turn_active
    session = session.turn(TurnBuilder().user("next").queued(position=2).text("never"))
    history = session.history()
    assert [(one.message, one.status, one.position) for one in history.pending_queue] == [
        ("next", "queued", 2)
    ]
    # It counts as started while the other one waits.
    assert session.events()[-1].type == "message_started"
    with pytest.raises(ValueError, match="let this one be `queued`"):
        SessionBuilder().turn(FIRST.unfinished()).turn(FIRST)
    session = session.turn(TurnBuilder().user("last").queued(position=3).text("never"))
    assert session.events()[-1].op_state == "pending"
    assert [one.message for one in session.history().pending_queue] == ["next", "last"]
    assert [one.payload.queue_depth for one in session.log().events_of(MessageQueued)] == [1, 2]
    with pytest.raises(ValueError, match="let this one be `queued`"):
        session.turn(FIRST)


def test_an_empty_session() -> None:
    history = SessionBuilder().history()
    assert (history.messages, history.events, history.last_message_role) == ([], [], "")
    assert SessionBuilder().log().events() == []


# --- the capture


def test_a_capture_keeps_what_is_published() -> None:
    capture = EventCapture()
    assert not capture.has_event_of(ToolCall)
    assert capture.publish(payloads.tool_start(id="c-1", name="Bash")).seq == 1
    capture.publish(payloads.tool_call(id="c-1", name="Bash"))
    capture.publish(event(payloads.token(delta="x"), seq=10))
    capture.publish(payloads.token(delta="y"))
    assert capture.has_event_of(ToolCall)
    assert capture.has_event_of(Error, "token")
    assert not capture.has_event_of(ApprovalResolved)
    assert [one.payload.delta for one in capture.events_of(Token)] == ["x", "y"]
    assert [one.seq for one in capture.events] == [1, 2, 10, 11]
    assert [one.state for one in capture.operations().find(name="Bash")] == ["completed"]
    assert (capture.publish_count, len(capture.events_of(ToolStart))) == (4, 1)
    with pytest.raises(ValueError, match="did you mean 'token'"):
        capture.has_event_of("tokn")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a misspelt name
    capture.reset()
    assert (capture.publish_count, capture.events) == (0, [])


def test_a_copy_counts_as_published_and_is_kept_once() -> None:
    capture = EventCapture()
    one = event(payloads.token(delta="x"))
    capture.publish(one)
    capture.publish(one)
    assert (capture.publish_count, len(capture.events)) == (2, 1)


def test_a_capture_keeps_an_event_whose_number_or_id_is_taken() -> None:
    capture = EventCapture()
    capture.publish(payloads.tool_start(id="c-1", name="Bash"))
    # An event that says nothing else has number 1 and the id that goes with it.
    kept = capture.publish(event(payloads.tool_call(id="c-1", name="Bash")))
    capture.publish(event(payloads.token(delta="x"), seq=9, event_id="ev-1"))
    capture.publish(event(payloads.token(delta="y"), seq=4, event_id="ev-1"))
    assert (kept.seq, kept.event_id) == (2, "ev-000000000002")
    assert capture.has_event_of(ToolCall)
    assert [one.seq for one in capture.events] == [1, 2, 9, 4]
    assert [one.payload.delta for one in capture.events_of(Token)] == ["x", "y"]
    assert len({one.event_id for one in capture.events}) == 4
    assert [one.seq for one in capture.log] == [1, 2, 4, 9]
    assert (capture.publish_count, capture.operations().violations) == (4, ())


def test_a_copy_under_another_number_is_kept_once() -> None:
    capture = EventCapture()
    asked = payloads.approval_request(request_id="r-1")
    first = capture.publish(event(asked, seq=3, event_id="ev-1"))
    assert capture.publish(event(asked, seq=4, event_id="ev-1")) is first
    assert len(capture.events) == 1


def test_a_capture_keeps_what_threads_publish_at_once() -> None:
    capture = EventCapture()
    start = threading.Barrier(8)

    def publish(thread: int) -> None:
        start.wait(timeout=10)
        for number in range(100):
            capture.publish(payloads.token(delta=f"{thread} {number}"))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=30)
    assert (capture.publish_count, len(capture.events), len(capture.log)) == (800, 800, 800)
    assert [one.seq for one in capture.events] == list(range(1, 801))
    for thread in range(8):
        mine = [one.payload.delta for one in capture.events_of(Token) if one.payload.delta[0] == str(thread)]
        assert mine == [f"{thread} {number}" for number in range(100)]
