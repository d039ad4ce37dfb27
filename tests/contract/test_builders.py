"""Builders keep to the contract: one for each event type, each valid, and turns as the daemon tells them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from contract.event_schemas import schema_faults, schema_of
from digitorn_testing import EventLog, InvalidPayload, UnknownPayload
from digitorn_testing._generated._runtime import EventSpec
from digitorn_testing._generated.events import EVENTS
from digitorn_testing.builders import SessionBuilder, TurnBuilder, event, payloads
from digitorn_testing.fakes import FakeModel, Usage
from support.recorder import Frame, Talk, faults_of, talking
from support.texts import ANSWER, PIECES

# --- every event type


def name_of(spec: EventSpec) -> str:
    return spec.wire if spec.variant_key is None else f"{spec.wire} with {spec.variant_key}"


@pytest.mark.parametrize("spec", EVENTS.specs, ids=name_of)
def test_each_event_type_has_a_builder_whose_output_keeps_to_the_contract(spec: EventSpec) -> None:
    built = payloads.BUILDERS[spec.payload]()
    assert type(built) is spec.payload
    wire = spec.wire.replace("*", "custom")
    assert schema_of(wire, built.to_wire()) is not None
    assert schema_faults({"type": wire, "payload": built.to_wire()}) == []
    if not spec.enveloped:
        return
    made = event(built)
    assert made.type == wire
    assert schema_faults(dict(made)) == []
    assert faults_of(dict(made)) == []
    assert made.payload.to_wire().keys() == built.to_wire().keys()
    log = EventLog(strict=True)
    read = log.feed(dict(made)) or log.log_only[0]
    assert len(log) + len(log.log_only) == 1
    assert not isinstance(read.payload, InvalidPayload | UnknownPayload)
    assert (read.payload, read.kind, read.op_type, read.op_state) == (
        made.payload,
        made.kind,
        made.op_type,
        made.op_state,
    )


def test_there_is_no_builder_too_many() -> None:
    assert set(payloads.BUILDERS) == {spec.payload for spec in EVENTS.specs}
    assert {one.__name__ for one in payloads.BUILDERS.values()} | {"BUILDERS"} == set(payloads.__all__)


@pytest.mark.parametrize("spec", EVENTS.specs, ids=name_of)
def test_a_broken_member_is_refused(spec: EventSpec) -> None:
    required = [name for name, one in spec.payload.model_fields.items() if one.is_required()]
    for name in required:
        if spec.payload.model_fields[name].annotation is not Any:
            with pytest.raises(ValueError, match="validation error"):
                payloads.BUILDERS[spec.payload](**{name: object()})


# --- turns as the daemon tells them

Scenario = tuple[FakeModel, TurnBuilder, Callable[[Talk, str], Awaitable[object]] | None]

HI = TurnBuilder().user("hi")
LONG = "x" * 80


def text() -> Scenario:
    model = FakeModel().will_respond_with_text(ANSWER, usage=Usage(7, 3))
    return model, HI.text(ANSWER).usage(7, 3), None


def streamed() -> Scenario:
    return FakeModel().will_stream_text(PIECES), HI.text(*PIECES), None


def thinking() -> Scenario:
    return FakeModel().will_stream_text([ANSWER], thinking="b"), HI.thinking("b").text(ANSWER), None


def closed_thinking() -> Scenario:
    return FakeModel().will_stream_text(["c"], thinking=LONG), HI.thinking(LONG).text("c"), None


def tools() -> Scenario:
    model = FakeModel().will_call_tool(
        "Bash", {"command": "ls"}, result={"stdout": "a"}, text="I look at it."
    )
    model.will_call_tool("Bash", error="no such file").will_respond_with_text("done")
    turn = HI.commentary("I look at it.").tool("Bash", {"command": "ls"}, result={"stdout": "a"})
    return model, turn.tool("Bash", error="no such file").text("done"), None


def approved() -> Scenario:
    model = FakeModel().will_call_tool("Bash", {"command": "rm"}, result={"n": 1}, requires_approval=True)
    turn = HI.tool("Bash", {"command": "rm"}, result={"n": 1}).approval("sure").text("done")
    return (
        model.will_respond_with_text("done"),
        turn,
        lambda talk, one: talk.resolve(one, approved=True, message="sure"),
    )


def denied() -> Scenario:
    model = FakeModel().will_call_tool("Bash", requires_approval=True).will_respond_with_text("ok")
    turn = HI.tool("Bash").denied("no").text("ok")
    return model, turn, lambda talk, _: talk.deny("no")


def question() -> Scenario:
    model = FakeModel().will_ask_user("Which?", choices=["a", "b"]).will_respond_with_text("b it is")
    turn = HI.question("Which?", choices=["a", "b"], answer="b").text("b it is")
    return model, turn, lambda talk, one: talk.resolve(one, approved=True, response="b")


def failed() -> Scenario:
    return FakeModel().will_fail("rate_limited", "slow"), HI.error("rate_limited", "slow"), None


def lacking() -> Scenario:
    return FakeModel().will_fail("credential_required", "x"), HI.error("credential_required", "x"), None


SCENARIOS = (text, streamed, thinking, closed_thinking, tools, approved, denied, question, failed, lacking)


def told(frames: list[Frame]) -> list[dict[str, Any]]:
    """What must be equal: not ids, times and counts, but who reports what, on what, in which state."""
    turn = next(one["correlation_id"] for one in frames if one["type"] == "message_started")
    ops: dict[str, int] = {turn: 0}
    return [
        {
            "type": one["type"],
            "kind": one["kind"],
            "op": (ops.setdefault(one["op_id"], len(ops)), one["op_type"], one["op_state"]),
            "parent": ops.get(one["op_parent_id"]),
            "names its turn": {turn: True, None: False}[one["correlation_id"]],
            "fields": sorted(one),
            # The embedded daemon also tells in its result how full the context is.
            "members": sorted(set(one["payload"]) - {"context"}),
            "said": {key: one["payload"].get(key) for key in SAID},
        }
        for one in frames
        # Before each request to the model, the daemon tells how full its context is; a builder leaves that to
        # whoever wants it: `TurnBuilder.event`.
        if one["type"] != "hook"
    ]


SAID = (
    *(
        "content",
        "delta",
        "text",
        "name",
        "params",
        "success",
        "error",
        "result",
        "approved",
        "reason",
        "code",
    ),
    *("category", "retry", "tool_name", "tool_params", "risk_level", "pending", "fast_path", "position"),
    *("tool_calls_count", "turns_used", "turn_number", "label", "detail", "display"),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.__name__)
async def test_a_built_turn_is_told_as_the_embedded_daemon_tells_it(scenario: Callable[[], Scenario]) -> None:
    model, turn, decide = scenario()
    async with talking(model) as talk:
        accepted = await talk.send("hi")
        if decide is not None:
            asked = await talk.recorder.wait_for("approval_request")
            await decide(talk, asked["payload"]["request_id"])
        last = turn.build()[-1].type
        await talk.recorder.wait_for_turn(last, accepted["correlation_id"])
        frames = talk.recorder.frames
    # Without what the join brought.
    first = next(place for place, one in enumerate(frames) if one["type"] == "user_message")
    assert told([dict(one) for one in turn.build()]) == told(frames[first:])


TURNS = [
    *(scenario()[1] for scenario in SCENARIOS),
    HI.text("par").aborted(),
    HI.tool("Bash").pending_approval().aborted(),
    HI.queued().text("a").aborted(),
    HI.queued().error("credential_auth_required"),
    HI.unfinished(),
]


@pytest.mark.parametrize("place", range(len(TURNS)))
def test_frames_of_a_built_turn_keep_to_their_schemas(place: int) -> None:
    for one in TURNS[place].build():
        assert faults_of(dict(one)) == []


def test_frames_of_a_built_session_keep_to_their_schemas() -> None:
    session = SessionBuilder()
    for turn in TURNS:
        session = session.turn(turn)
    assert [faults for one in session.events() if (faults := faults_of(dict(one)))] == []
    log = session.log()
    assert log.operations().violations == ()
    assert len(log) == len(session.events())
