"""Operations: what the events of one op_id fold into, and which changes of state the contract forbids."""

import random
import re
from pathlib import Path
from typing import Any

import pytest

from digitorn_testing import EventLog, EventPayload, LiveEvent, Operations, SessionHandle, TurnResult
from digitorn_testing._events.transitions import TRANSITIONS
from digitorn_testing._generated.events import TERMINAL_STATES
from digitorn_testing._generated.payloads import OpState, OpType
from digitorn_testing._turns.collect import collect
from digitorn_testing.builders import SessionBuilder, TurnBuilder, event, payloads
from digitorn_testing.models import QueueEntry

Event = LiveEvent[EventPayload]

BASH = TurnBuilder().user("hi").tool("Bash", {"command": "ls"}, result={"stdout": "a"}, call_id="c-1")


def states(*told: OpState, type: OpType, payload: EventPayload | None = None) -> Operations:
    """The operations of one op_id whose events tell some states, one after the other, in the middle of a
    session."""
    made = payload or payloads.hook()
    return Operations.of(
        event(made, seq=seq, op_id="op", op_type=type, op_state=state) for seq, state in enumerate(told, 11)
    )


# --- states


def test_a_turn_that_waits_is_approved_runs_and_completes() -> None:
    builder = SessionBuilder().turn(TurnBuilder().user("first").text("a"))
    builder = builder.turn(BASH.queued().approval().text("done"))
    events = builder.events()
    seen: list[dict[OpType, OpState]] = []
    for count in range(1, len(events) + 1):
        found = Operations.of(events[:count]).find(within="fp-000000000002")
        assert not found.violations
        now: dict[OpType, OpState] = {one.type: one.state for one in found}
        if not seen or seen[-1] != now:
            seen.append(now)
    assert seen == [
        {},
        {"turn": "pending"},
        {"turn": "running"},
        {"turn": "running", "tool": "running"},
        {"turn": "running", "tool": "running", "approval": "waiting_approval"},
        {"turn": "running", "tool": "running", "approval": "completed"},
        {"turn": "running", "tool": "completed", "approval": "completed"},
        {"turn": "completed", "tool": "completed", "approval": "completed"},
    ]


@pytest.mark.parametrize(
    ("type", "before", "after"),
    [
        ("turn", "pending", "completed"),
        ("turn", "running", "pending"),
        ("turn", "completed", "pending"),
        ("turn", "cancelled", "failed"),
        ("tool", "completed", "running"),
        ("tool", "completed", "failed"),
        ("tool", "failed", "completed"),
        ("tool", "running", "waiting_approval"),
        ("tool", "running", "timeout"),
        ("approval", "completed", "cancelled"),
        ("approval", "cancelled", "waiting_approval"),
        ("approval", "timeout", "completed"),
        ("agent", "completed", "failed"),
        ("compact", "completed", "running"),
        ("system", "completed", "running"),
    ],
)
def test_a_forbidden_transition_is_reported_and_not_raised(
    type: OpType, before: OpState, after: OpState
) -> None:
    # Of what says completed, only the end of a turn is one.
    payload = payloads.message_done() if type == "turn" else None
    found = states(before, after, type=type, payload=payload)
    (violation,) = found.violations
    assert (violation.before, violation.after, violation.event.seq) == (before, after, 12)
    assert violation.operation is found[0]
    assert f"from {before} to {after} by {violation.event.type} (seq 12)" in str(violation)


def test_what_has_ended_stays_so_whatever_is_told_later() -> None:
    found = states("running", "completed", "running", "failed", type="tool")
    assert (found[0].state, found[0].is_open, len(found.violations)) == ("completed", False, 2)
    assert found[0].ended == found[0].events[1].emitted_at


def test_every_known_transition_is_no_violation() -> None:
    made: dict[OpType, EventPayload] = {"turn": payloads.message_done(), "agent": payloads.agent_event()}
    for known in TRANSITIONS:
        for after in known.after:
            payload = made.get(known.type, payloads.hook())
            events = [
                event(payload, seq=11, op_id="op", op_type=known.type, op_state=known.before),
                event(
                    _told_by(known.by, payload, after), seq=12, op_id="op", op_type=known.type, op_state=after
                ),
            ]
            found = Operations.of(events)
            assert found.violations == (), known
            assert found[0].state == (known.before if known.keeps else after), known


def _told_by(by: tuple[type[EventPayload], ...], usual: EventPayload, state: OpState) -> EventPayload:
    if not by:
        return usual
    return payloads.BUILDERS[by[0]](**({"status": state} if by[0].__name__ == "TurnTerminal" else {}))


def test_no_transition_leaves_a_terminal_state_but_with_a_reason() -> None:
    # Each either keeps the state, or is the last word that one event alone has.
    assert all(one.keeps or one.by for one in TRANSITIONS if one.before in TERMINAL_STATES)
    assert all(one.section for one in TRANSITIONS)


def test_the_documentation_has_every_known_transition() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| ([\w, ]+) \| ([\w, ]+) \| (.*)\|$", page, re.MULTILINE)
    told = {
        (type, before, after, "it stays" in note)
        for type, some, others, note in rows[1:]
        for before in some.split(", ")
        for after in others.split(", ")
    }
    known = {(one.type, one.before, after, one.keeps) for one in TRANSITIONS for after in one.after}
    assert told == known


def test_only_the_event_that_may_do_it_ends_a_call_as_cancelled() -> None:
    assert states("running", "cancelled", type="tool", payload=payloads.bg_task_update()).violations == ()
    assert len(states("running", "cancelled", type="tool").violations) == 1


def test_a_state_that_the_type_has_not_is_reported_and_what_follows_is_not() -> None:
    # The contract has neither for a tool (contract: events, sections 4.1 and 6.3).
    found = states("pending", "waiting_approval", "running", "completed", type="tool")
    assert [(one.before, one.after) for one in found.violations] == [
        (None, "pending"),
        ("pending", "waiting_approval"),
    ]
    assert str(found.violations[0]) == "tool 'hook_id' (op) began as pending by hook (seq 11)"
    assert found[0].state == "completed"
    parked = states("running", "waiting_approval", "waiting_approval", "running", "completed", type="tool")
    assert [(one.before, one.after) for one in parked.violations] == [("running", "waiting_approval")]


# --- ends without a beginning


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (payloads.approval_resolved(request_id="r-1", op_id="r-1"), "approval"),
        (payloads.message_done(correlation_id="fp-1"), "turn"),
        (payloads.message_cancelled(correlation_id="fp-1"), "turn"),
        (payloads.turn_terminal(correlation_id="fp-1"), "turn"),
    ],
)
def test_an_end_without_a_beginning_is_reported_where_the_beginning_cannot_have_been_missed(
    payload: EventPayload, kind: str
) -> None:
    (violation,) = Operations.of([event(payload, seq=1)]).violations
    assert (violation.before, violation.operation.type) == (None, kind)
    assert f"went to {violation.after} without a beginning by" in str(violation)
    # Whoever joins later has not seen what was before.
    assert Operations.of([event(payload, seq=2)]).violations == ()
    other = event(payloads.token(), seq=1, session_id="s-2")
    assert Operations.of([other, event(payload, seq=2)]).violations == ()
    here = Operations.of([event(payloads.hook(), seq=1), event(payload, seq=7)])
    assert [one.event.seq for one in here.violations] == [7]


def test_a_call_that_is_only_reported_at_its_end_is_no_violation() -> None:
    assert Operations.of([event(payloads.tool_call(id="c-1"), seq=1)]).violations == ()


def test_raw_envelopes_are_folded_as_well() -> None:
    turn = BASH.approval().text("done")
    wanted = [(one.id, one.state) for one in Operations.of(turn.build())]
    assert [(one.id, one.state) for one in Operations.of(turn.frames())] == wanted


# --- turns


def test_a_turn_that_has_ended_does_not_start_again() -> None:
    events = BASH.text("done").build()
    turn = TurnBuilder().correlation_id
    for ended in (events, BASH.aborted().build(), BASH.error().build()):
        last = Operations.of(ended).find(type="turn")[0].state
        again = event(payloads.message_started(correlation_id=turn), seq=100)
        call = event(payloads.tool_start(id="c-9", correlation_id=turn), seq=101)
        violations = Operations.of([*ended, again, call]).violations
        assert [(one.operation.id, one.before, one.after, one.event.seq) for one in violations] == [
            (turn, last, "running", 100),
            (turn, last, "running", 101),
        ]


@pytest.mark.parametrize(
    "payload",
    [
        *(payloads.token(), payloads.in_token(), payloads.out_token(), payloads.stream_done()),
        *(payloads.thinking_started(), payloads.thinking_delta(), payloads.turn_heartbeat()),
        *(payloads.tool_call_streaming(), payloads.status(), payloads.result()),
    ],
    ids=lambda payload: type(payload).__name__,
)
def test_what_is_sent_in_the_background_may_come_behind_the_end(payload: EventPayload) -> None:
    turn = TurnBuilder().correlation_id
    for ended in (BASH.text("done").build(), BASH.aborted().build(), BASH.error().build()):
        found = Operations.of([*ended, event(payload, seq=100, correlation_id=turn)])
        assert found.violations == ()
        assert found.find(type="turn")[0].state == Operations.of(ended).find(type="turn")[0].state


def test_a_turn_that_was_given_up_as_stale_may_go_on() -> None:
    begun = BASH.unfinished().build()
    stale = event(payloads.error(code="turn_stale"), seq=100, op_type="turn")
    thought = event(payloads.thinking(text="still here"), seq=101)
    assert stale.op_state == "failed"
    assert Operations.of([*begun, stale, thought]).violations == ()


def test_a_turn_is_not_over_at_its_result() -> None:
    events = BASH.text("done").build()
    assert [one.type for one in events[-3:]] == ["result", "message_done", "turn_terminal"]
    assert Operations.of(events[:-2]).find(type="turn")[0].is_open
    (turn,) = Operations.of(events).find(type="turn")
    assert (turn.state, turn.ended) == ("completed", events[-2].emitted_at)
    assert turn.duration == pytest.approx((len(events) - 2) * 0.01)


def test_late_tokens_do_not_reopen_a_turn() -> None:
    events = BASH.text("done").build()
    late = event(payloads.token(delta="x"), seq=99)
    (turn,) = Operations.of([*events, late]).find(type="turn")
    assert (turn.state, turn.is_open, turn.ended) == ("completed", False, events[-2].emitted_at)
    assert turn.events[-1] == late


def test_a_terminal_event_that_came_before_a_lower_number_stays_the_last() -> None:
    started, done = BASH.build()[-12:-10], BASH.build()[-1]
    found = Operations.of([done, *started])
    assert found[0].state == "completed"
    assert found.violations == ()


def test_a_failed_turn_stays_failed_though_it_ends_as_cancelled() -> None:
    events = TurnBuilder().user("hi").error("rate_limited").build()
    assert [one.type for one in events[-2:]] == ["message_cancelled", "turn_terminal"]
    found = Operations.of(events)
    assert (found[0].state, found[0].ended, found.violations) == ("failed", events[-1].emitted_at, ())


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("completed", "completed"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
        ("interrupted", "cancelled"),
    ],
)
def test_the_last_event_tells_how_a_turn_ended(status: Any, state: str) -> None:
    terminal = event(payloads.turn_terminal(correlation_id="fp-000000000001", status=status), seq=2)
    assert terminal.op_state == "completed"
    found = Operations.of([event(payloads.message_started(correlation_id="fp-000000000001")), terminal])
    assert (found[0].state, found.violations) == (state, ())


def test_an_aborted_turn_leaves_its_call_open() -> None:
    found = Operations.of(BASH.pending_approval().aborted().build())
    assert {one.type: (one.state, one.is_open) for one in found} == {
        "turn": ("cancelled", False),
        "tool": ("running", True),
        "approval": ("cancelled", False),
    }
    assert [one.name for one in found.open()] == ["Bash"]
    assert found.violations == ()


def test_a_message_that_is_taken_out_of_the_queue_is_named_by_its_row() -> None:
    waiting = TurnBuilder().user("hi").queued().unfinished()
    announced = waiting.build()[:2]
    row = QueueEntry(
        id="row-7",
        app_id="app",
        session_id="s-1",
        position=1,
        message="hi",
        status="queued",
        correlation_id=waiting.correlation_id,
        enqueued_at=0.0,
        error_code="",
    )
    cancelled = event(payloads.message_cancelled(session_id="s-1", entry_id="row-7"), seq=9)
    assert (cancelled.op_id, cancelled.correlation_id) == ("row-7", "row-7")
    snapshot = event(payloads.queue_snapshot(entries=[row], depth=1), seq=8)
    assert [one.state for one in Operations.of([*announced, cancelled])] == ["pending"]
    assert [one.state for one in Operations.of([*announced, snapshot, cancelled])] == ["cancelled"]


def test_a_message_over_the_socket_is_the_turn_that_it_starts() -> None:
    first = event(payloads.user_message(pending=True), op_id="fp-1", op_type="message", correlation_id="fp-1")
    started = event(payloads.message_started(), seq=2, op_id="fp-1", correlation_id="fp-1")
    found = Operations.of([first, started])
    assert [(one.type, one.state, one.name) for one in found] == [("turn", "running", "turn")]
    assert found.violations == ()


# --- what is an operation


@pytest.mark.parametrize(
    "payload",
    [
        payloads.queue_snapshot(),
        payloads.session_snapshot(),
        payloads.active_ops_snapshot(),
        payloads.abort(),
        payloads.queue_cleared(),
        payloads.queue_full(),
        payloads.notification_result(),
        payloads.connected(),
        payloads.info(),
        payloads.module_result(),
    ],
    ids=lambda payload: type(payload).__name__,
)
def test_what_stands_for_the_session_or_a_socket_is_no_operation(payload: EventPayload) -> None:
    assert len(Operations.of([event(payload)])) == 0


@pytest.mark.parametrize(
    "payload",
    [
        payloads.preview_cleared(),
        payloads.widget_close(),
        payloads.behavior_directive(),
        payloads.notification(),
        payloads.agent_event(action="agent"),
    ],
    ids=lambda payload: type(payload).__name__,
)
def test_what_no_event_ever_closes_is_not_open(payload: EventPayload) -> None:
    (one,) = Operations.of([event(payload)])
    assert (one.state, one.is_open, one.ended, one.duration) == ("running", False, None, None)


def test_a_sub_agent_has_its_name_its_parent_and_an_end() -> None:
    spawned = payloads.agent_event(action="spawn_agent", agent_id="a-1", op_id="a-1", specialist="coder")
    ended = payloads.agent_event(action="agent_result", agent_id="a-1", op_id="a-1", status="completed")
    turn = BASH.event(spawned, op_parent_id="c-1").event(ended).text("done")
    found = Operations.of(turn.build())
    (agent,) = found.find(type="agent")
    assert (agent.name, agent.names, agent.state) == ("coder", ("coder", "a-1"), "completed")
    assert agent.parent is found.get("c-1")
    assert agent.turn == turn.correlation_id


def test_an_agent_that_is_cancelled_and_then_reports_is_cancelled() -> None:
    cancelled = payloads.agent_event(action="agent_cancel", agent_id="a-1")
    result = payloads.agent_event(action="agent_result", agent_id="a-1", status="completed")
    started = payloads.agent_event(action="spawn_agent", agent_id="a-1")
    found = Operations.of(event(one, seq=seq) for seq, one in enumerate((started, cancelled, result), 1))
    assert (found[0].state, found.violations) == ("cancelled", ())


def test_the_result_of_a_background_task_that_is_taken_up_later_does_not_reopen_it() -> None:
    done = payloads.bg_task_update(task_id="t-1", tool_name="Build", status="completed")
    found = Operations.of(
        [
            event(payloads.bg_task_update(task_id="t-1")),
            event(done, seq=2),
            event(payloads.notification(task_id="t-1"), seq=3),
        ]
    )
    assert [(one.id, one.name, one.state, one.is_open) for one in found] == [
        ("t-1", "Build", "completed", False)
    ]
    assert found.violations == ()


# --- relations, names, looking up


def test_parents_are_those_the_daemon_names_or_those_that_follow_from_the_order() -> None:
    agent = payloads.agent_event()
    found = Operations.of(BASH.approval().event(agent, op_id="a-1", op_parent_id="c-1").text("done").build())
    tree = {(one.type, one.name): one.parent.name if one.parent else None for one in found}
    assert tree == {
        ("turn", "turn"): None,
        ("tool", "Bash"): "turn",
        ("approval", "shell.bash"): "Bash",
        ("agent", found.find(type="agent")[0].name): "Bash",
    }
    (turn,) = found.find(type="turn")
    assert [one.name for one in turn.children] == ["Bash"]
    assert [one.type for one in turn.children[0].children] == ["approval", "agent"]


def test_an_approval_belongs_to_the_call_that_waits_and_not_to_one_that_is_over() -> None:
    turn = BASH.tool("Bash", call_id="c-2").approval().text("done")
    (approval,) = Operations.of(turn.build()).find(type="approval")
    assert approval.parent is not None
    assert approval.parent.id == "c-2"


def test_a_call_whose_output_names_it_as_the_parent_is_not_its_own_parent() -> None:
    events = BASH.text("done").build()
    assert ("terminal_output", "c-1", "c-1") in [(one.type, one.op_id, one.op_parent_id) for one in events]
    (call,) = Operations.of(events).find(name="Bash")
    assert call.parent is not None
    assert (call.parent.type, call.parent_id) == ("turn", None)
    handle = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://x")
    (record,) = collect(events, session=handle, correlation_id="fp-000000000001").tool_calls
    assert record.parent is None


def test_a_parent_that_is_not_here_is_named_all_the_same() -> None:
    (one,) = Operations.of([event(payloads.tool_start(id="c-1"), op_parent_id="elsewhere")])
    assert (one.parent, one.parent_id) == (None, "elsewhere")


def test_a_call_goes_by_every_name_it_has() -> None:
    turn = TurnBuilder().user("hi").tool("execute_tool", {"name": "shell.bash"}).text("done")
    found = Operations.of(turn.build())
    for name in ("execute_tool", "shell.bash", "bash"):
        assert [one.type for one in found.find(name=name)] == ["tool"]
    assert len(found.find(name="turn")) == 1
    # The model is offered it under this name.
    assert len(found.find(name="Bash")) == 1
    assert len(found.find(name="other.bash")) == 0


def two_turns() -> EventLog:
    second = TurnBuilder().user("more").tool("Bash").approval().text("two")
    return SessionBuilder().turn(BASH.text("one")).turn(second).log()


def test_within_a_turn_by_its_id_or_by_what_has_it() -> None:
    log = two_turns()
    second = "fp-000000000002"
    found = log.operations().find(within=second)
    assert [one.type for one in found] == ["turn", "tool", "approval"]
    handle = SessionHandle(session_id="s-1", app_id="app", daemon_url="http://x")
    result: TurnResult = collect(log.turn(second), session=handle, correlation_id=second)
    assert [one.id for one in log.operations().find(within=result)] == [one.id for one in found]
    assert len(log.operations().find(within="fp-9")) == 0


def test_within_an_operation() -> None:
    operations = two_turns().operations()
    turns = operations.find(type="turn")
    assert [one.type for one in operations.find(within=turns[1])] == ["turn", "tool", "approval"]
    (call,) = operations.find(type="tool", within=turns[1])
    assert [one.type for one in operations.find(within=call)] == ["tool", "approval"]
    # Ids of turns may be those of another session.
    first, second = (SessionBuilder(session_id=one).turn(BASH.text("a")) for one in ("s-1", "s-2"))
    both = Operations.of(first.events() + second.events())
    assert len(both.find(within=both.find(type="turn")[0])) == 2


def test_a_misspelt_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'tol' is no type of operations; they are turn, tool, agent"):
        two_turns().operations().find(type="tol")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose


def test_they_come_in_order_of_their_start_whatever_the_order_of_arrival() -> None:
    events = BASH.approval().text("done").build()
    wanted = [(one.id, one.state, len(one.events)) for one in Operations.of(events)]
    shuffled = [*events, *events[3:6]]
    random.Random(7).shuffle(shuffled)
    found = Operations.of(shuffled)
    assert [(one.id, one.state, len(one.events)) for one in found] == wanted
    assert found.violations == ()


def test_ids_of_different_sessions_are_different_operations() -> None:
    one, other = SessionBuilder(session_id="s-1"), SessionBuilder(session_id="s-2")
    events = one.turn(BASH.text("a")).events() + other.turn(BASH.unfinished()).events()
    found = Operations.of(events).find(type="tool")
    assert sorted((operation.id, operation.state) for operation in found) == [
        ("c-1", "completed"),
        ("c-1", "running"),
    ]


def test_a_selection_keeps_its_own_violations() -> None:
    broken = event(payloads.tool_start(id="c-1"), seq=90)
    found = Operations.of([*BASH.approval().text("done").build(), broken])
    assert len(found.violations) == len(found.find(name="Bash", type="tool").violations) == 1
    assert found.find(type="approval").violations == ()
    assert len(found[:1]) == 1
    assert found.get("c-1") is found.find(type="tool")[0]
    assert found.get("nothing") is None
