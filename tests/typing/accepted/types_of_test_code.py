"""What type checkers see in the code of a test author. Checked, never run."""

import re
from collections.abc import Sequence
from typing import assert_type

from pydantic import BaseModel, JsonValue

from digitorn.testing import (
    AppBuilder,
    AppHandle,
    AsyncDevClient,
    AsyncLiveEventStream,
    AsyncTurn,
    Change,
    Check,
    Comparison,
    DevClient,
    EventCapture,
    EventLog,
    EventPayload,
    LiveEvent,
    LiveEventStream,
    Operation,
    Operations,
    Recording,
    Response,
    SessionHandle,
    Turn,
    TurnResult,
    assertions,
    builders,
    compare,
    digitorn_live,
)
from digitorn.testing.builders import SessionBuilder, TurnBuilder, payloads
from digitorn.testing.events import MessageDone, Token, ToolCall
from digitorn.testing.fakes import FakeDaemon, ModelRequest, ToolDefinition
from digitorn.testing.models import (
    AppSummary,
    MessageAccepted,
    PendingApproval,
    SessionDetail,
    SessionHistory,
    TokenResponse,
)


def waiting(stream: LiveEventStream) -> None:
    assert_type(stream.wait_for(ToolCall), LiveEvent[ToolCall])
    assert_type(stream.wait_for(ToolCall, timeout=3).payload, ToolCall)
    assert_type(stream.wait_for("tool_call"), LiveEvent[EventPayload])
    assert_type(stream.poll_for(ToolCall), LiveEvent[ToolCall] | None)
    call = stream.wait_for(ToolCall, where=lambda e: e.payload.name == "Bash", timeout=30)
    assert_type(call.payload.success, bool)
    assert_type(call.seq, int)
    assert_type(call.correlation_id, str | None)


async def waiting_async(stream: AsyncLiveEventStream) -> None:
    assert_type(await stream.wait_for(ToolCall), LiveEvent[ToolCall])
    assert_type(await stream.poll_for("token"), LiveEvent[EventPayload] | None)
    async for event in stream:
        assert_type(event, LiveEvent[EventPayload])


def narrowing(event: LiveEvent[EventPayload]) -> str:
    if isinstance(event.payload, Token):
        assert_type(event.payload.delta, str)
    match event.payload:
        case ToolCall(name=name, success=False, error=error):
            assert_type(name, str)
            assert_type(error, str)
            return error
        case MessageDone() as done:
            assert_type(done.correlation_id, str)
            return done.correlation_id
        case _:
            return event.type


def collecting(stream: LiveEventStream, log: EventLog) -> None:
    for event in stream.events_of(ToolCall):
        assert_type(event.payload, ToolCall)
    assert_type(stream.events(), list[LiveEvent[EventPayload]])
    assert_type(log.turn("fp-1"), list[LiveEvent[EventPayload]])

    @stream.on(ToolCall)
    def seen(event: LiveEvent[ToolCall]) -> None:
        assert_type(event.payload.name, str)

    assert_type(seen(stream.wait_for(ToolCall)), None)


def a_payload_is_covariant(event: LiveEvent[ToolCall]) -> LiveEvent[EventPayload]:
    return event


def rest(client: DevClient, session: SessionHandle) -> None:
    detail = client.api.sessions.get_session(session.app_id, session.session_id)
    assert_type(detail, SessionDetail)
    assert_type(detail.is_active, bool)
    assert_type(client.post_message_raw(session, "hi"), MessageAccepted)
    assert_type(client.list_pending_approvals("app"), list[PendingApproval])
    assert_type(client.login("me", "secret"), TokenResponse)
    assert_type(client.chat("app", "hi"), TurnResult)
    assert_type(client.send_live(session, "hi"), LiveEventStream)
    assert_type(DevClient.with_token("t"), DevClient)


async def rest_async(client: AsyncDevClient, session: SessionHandle) -> None:
    assert_type(await client.api.sessions.get_session("a", "s"), SessionDetail)
    assert_type(await client.send_live(session, "hi"), AsyncLiveEventStream)
    assert_type(await AsyncDevClient.with_user("me", "secret"), AsyncDevClient)


def checking(stream: LiveEventStream) -> None:
    check = assertions.event_order(stream.events(), [ToolCall, "message_done"])
    assert_type(check, Check)
    assert_type(check.ok, bool)
    ok, detail = check
    assert_type(ok, bool)
    assert_type(detail, str)
    assert ok, detail
    assert_type(stream.wait_for_turn("fp-1"), TurnResult)


class Answer(BaseModel):
    text: str


def returns_a_mapping(a: int, b: int = 1) -> dict[str, int]:
    return {"sum": a + b}


async def returns_a_model(question: str) -> Answer:
    return Answer(text=question)


def returns_nothing() -> None: ...


def building(daemon: FakeDaemon, request: ModelRequest) -> None:
    app = AppBuilder("app").with_tools("Bash", ToolDefinition("Lookup")).with_default_policy("approve")
    app = app.with_tool(returns_a_mapping).with_tool(returns_a_model).with_tool(returns_nothing)
    assert_type(app, AppBuilder)
    assert_type(app.to_yaml(), str)
    assert_type(daemon.deploy(app), AppHandle)
    assert_type(request.excluded_tools, tuple[str, ...])
    assert_type(request.model_settings.temperature, float | None)


def building_events(capture: EventCapture) -> None:
    assert_type(payloads.tool_call(name="Bash", params={"command": "ls"}, success=False), ToolCall)
    call = builders.event(payloads.tool_call(name="Bash"), seq=3, op_state="failed", correlation_id=None)
    assert_type(call, LiveEvent[ToolCall])
    turn = TurnBuilder(session_id="s").user("hi").tool("Bash", {"command": ["ls"]}).approval().text("a", "b")
    assert_type(turn, TurnBuilder)
    assert_type(turn.build(), list[LiveEvent[EventPayload]])
    assert_type(turn.error("rate_limited").queued(), TurnBuilder)
    session = SessionBuilder().turn(turn)
    assert_type(session.log(), EventLog)
    assert_type(session.history(), SessionHistory)
    assert_type(session.pending_approvals(), list[PendingApproval])
    capture.publish(payloads.token(delta="x"))
    capture.publish(call)
    assert_type(capture.events_of(ToolCall)[0].payload.name, str)
    assert_type(capture.has_event_of(ToolCall, "token"), bool)


def asking(turn: Turn, other: AsyncTurn, result: TurnResult, operation: Operation, log: EventLog) -> None:
    assert_type(turn.events_of(ToolCall), Sequence[LiveEvent[ToolCall]])
    assert_type(other.events_of("tool_call"), Sequence[LiveEvent[EventPayload]])
    assert_type(result.events_of(Token)[0].payload.delta, str)
    assert_type(operation.events_of(ToolCall)[0].payload.success, bool)
    assert_type(log.events_of(ToolCall), Sequence[LiveEvent[ToolCall]])
    assert_type(turn.has_event_of(ToolCall, "token"), bool)
    assert_type(log.turn_result(), TurnResult)
    assert_type(EventLog.load("r.jsonl").turn_result("fp-1").has_event_of(ToolCall), bool)
    assert_type(EventLog.of(TurnBuilder().user("hi").build()), EventLog)


def any_route(client: DevClient) -> None:
    answer = client.request(
        "POST", "/api/new", json={"a": [1, None]}, params={"n": 1, "of": ["a", "b"]}, timeout=3
    )
    assert_type(answer, Response)
    assert_type(answer.status, int)
    assert_type(answer.json(), JsonValue)
    assert_type(client.list_apps(), list[AppSummary])
    assert_type(client.get_app("a").app_id, str)


async def any_route_async(client: AsyncDevClient) -> None:
    assert_type(await client.request("GET", "/api/new", headers={"X-Name": "x"}), Response)


def operations(stream: LiveEventStream, turn: Turn, other: AsyncTurn, result: TurnResult) -> None:
    found = stream.operations().find(name="Bash", type="tool", within=turn)
    assert_type(found, Operations)
    assert_type(found.find(within=other).find(within=result).find(within="fp-1").open(), Operations)
    assert_type(found[0], Operation)
    assert_type(found[0].duration, float | None)
    assert_type(found[0].parent, Operation | None)
    assert_type(Operations.of(stream.log), Operations)


def runs(before: Recording, result: TurnResult, log: EventLog) -> None:
    comparison = compare("a.jsonl", before, same_text=lambda one, other: one in other)
    assert_type(comparison, Comparison)
    assert_type(compare(log, [result]).of("tool_lost", "text"), Comparison)
    assert_type(list(comparison), list[Change])
    comparison.raise_for_changes(ignore=["text", "time"])
    assert_type(assertions.within(result, tokens=5, cost_usd=0.1, seconds=3, tool_calls=2), Check)
    assert_type(assertions.within([result], seconds=2.5), Check)
    assert_type(assertions.tools_not_called(result.events, "Bash"), Check)
    assert_type(assertions.text_matches(result.events, re.compile("a")), Check)
    assert_type(assertions.text_matches(result.events, lambda text: len(text) > 3), Check)


@digitorn_live
def lives(number: int) -> str:
    return str(number)


@digitorn_live(repeats=5, at_least=4)
async def lives_often(number: int) -> str:
    return str(number)


async def marked_tests_keep_their_types() -> None:
    assert_type(lives(1), str)
    assert_type(await lives_often(1), str)
