"""What type checkers see in the code of a test author. Checked, never run."""

from typing import assert_type

from pydantic import BaseModel

from digitorn.testing import (
    AppBuilder,
    AppHandle,
    AsyncDevClient,
    AsyncLiveEventStream,
    Check,
    DevClient,
    EventLog,
    EventPayload,
    LiveEvent,
    LiveEventStream,
    SessionHandle,
    TurnResult,
    assertions,
)
from digitorn.testing.events import MessageDone, Token, ToolCall
from digitorn.testing.fakes import FakeDaemon, ModelRequest, ToolDefinition
from digitorn.testing.models import MessageAccepted, PendingApproval, SessionDetail, TokenResponse


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
