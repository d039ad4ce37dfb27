"""Mistakes that type checkers must find: each marked line, and no other. Never run."""

from digitorn.testing import (
    AppBuilder,
    DevClient,
    EventCapture,
    LiveEvent,
    LiveEventStream,
    SessionHandle,
    Turn,
    TurnResult,
    assertions,
    compare,
    digitorn_live,
)
from digitorn.testing.builders import SessionBuilder, TurnBuilder, event, payloads
from digitorn.testing.events import EventPayload, Token, ToolCall, ToolStart
from digitorn.testing.fakes import FakeDaemon, FakeModel


def misspelt_names(stream: LiveEventStream) -> None:
    stream.wait_for("tool_cal")  # E: no such wire name
    stream.poll_for("Token")  # E: a class name is no wire name
    stream.events_of("message-done")  # E: no such wire name
    assertions.no_event([], "erorr")  # E: no such wire name
    assertions.event_order([], [ToolCall, "mesage_done"])  # E: no such wire name


def wrong_classes(stream: LiveEventStream) -> None:
    stream.wait_for(str)  # E: not a payload
    start: LiveEvent[ToolStart] = stream.wait_for(ToolCall)  # E: another payload
    print(start)


def missing_members(event: LiveEvent[ToolCall], any_event: LiveEvent[EventPayload]) -> None:
    print(event.payload.sucess)  # E: misspelt member
    print(any_event.payload.name)  # E: not narrowed
    print(event.payload.success + "x")  # E: a bool is no text
    print(event.sequence)  # E: no such envelope field


def wrong_questions(turn: Turn, result: TurnResult, client: DevClient) -> None:
    turn.events_of("tool_cal")  # E: no such wire name
    result.has_event_of(str)  # E: not a payload
    print(result.events_of(ToolCall)[0].payload.delta)  # E: of another payload
    print(client.request("GET", "/api/new").json()["data"])  # E: not narrowed
    client.request("GET", "/api/new", params={"a": object()})  # E: no value of a parameter


def wrong_predicates(stream: LiveEventStream) -> None:
    stream.wait_for(Token, where=lambda e: e.payload.name == "x")  # E: no such member


def wrong_stubs(client: DevClient) -> None:
    client.api.sessions.get_session("a")  # E: an argument is missing
    client.api.sessions.get_session("a", 5)  # E: an id is text
    client.api.sessions.get_sesion("a", "s")  # E: no such operation
    client.api.session.get_session("a", "s")  # E: no such group
    client.api.messages.send_message("a", "s", mesage="hi")  # E: no such keyword
    client.api.messages.send_message("a", "s", message="hi", queue_mode="later")  # E: no such value
    client.api.approvals.resolve_approval("a", request_id="r", approved="yes")  # E: not a bool


def wrong_options(daemon: FakeDaemon) -> None:
    daemon.client(aprove=True)  # E: no such option
    daemon.client(timeout="1")  # E: seconds are a number
    daemon.async_client(auto_aprove=False)  # E: no such option
    daemon.in_process_client(retries=3)  # E: no such option
    daemon.async_in_process_client(retries=3)  # E: no such option


def frozen(event: LiveEvent[ToolCall]) -> None:
    event.seq = 5  # E: events are frozen


def returns_a_number() -> int:
    return 3


def wrong_apps(app: AppBuilder) -> None:
    app.with_tool(returns_a_number)  # E: not what a tool returns
    app.with_default_policy("ask")  # E: no such policy
    app.with_tools(3)  # E: a tool has a name
    app.with_model(temprature=0.5)  # E: no such keyword


def wrong_builders(capture: EventCapture) -> None:
    payloads.tool_call(nam="Bash")  # E: misspelt member
    payloads.tool_call(success="yes")  # E: not a bool
    payloads.agent_event(action="spawn")  # E: no such value
    payloads.tol_call()  # E: no such event type
    event(payloads.token(), op_state="done")  # E: no such state
    start: LiveEvent[ToolStart] = event(payloads.tool_call())  # E: another payload
    TurnBuilder().user("hi").error("rate_limit")  # E: no such code
    TurnBuilder().tool(3)  # E: a tool has a name
    SessionBuilder().turn("hi")  # E: not a turn
    capture.publish("token")  # E: not an event
    capture.has_event_of("tool_cal")  # E: no such wire name
    print(start)


def wrong_operations(stream: LiveEventStream) -> None:
    stream.operations().find(type="tol")  # E: no such type
    stream.operations().find(within=3)  # E: not a turn
    print(stream.operations()[0].statee)  # E: misspelt attribute


def wrong_answers(model: FakeModel) -> None:
    model.will_answer(1)  # E: no answer
    model.will_answer(lambda request: len(request.messages))  # E: a number is no answer
    model.will_answer(lambda request: request.last_txt)  # E: misspelt member
    model.when(matching="weather")  # E: a text goes to contains=


def names_of_the_predecessor(client: DevClient, session: SessionHandle, stream: LiveEventStream) -> None:
    client.get_persistent_events(session)  # E: deprecated
    client.deploy("app.yaml", wait=10)  # E: the argument is gone
    client.mcp_catalog()  # E: gone
    stream.events_by_type("token")  # E: deprecated
    stream.wait_for("token", predicate=lambda event: event.seq > 3)  # E: deprecated
    assertions.report([("ordered", (True, "fine"))])  # E: deprecated


def wrong_runs(result: TurnResult) -> None:
    compare(result, 3)  # E: not a run
    compare("a", "b").of("tools")  # E: no such kind of change
    compare("a", "b").raise_for_changes(ignore=["texts"])  # E: no such kind of change
    assertions.within(result, tokens="5")  # E: not a number
    assertions.within(result, calls=5)  # E: no such limit
    assertions.text_matches(result.events, "a text")  # E: a text goes to contains_text
    assertions.tools_not_called(result.events, 3)  # E: a tool has a name
    digitorn_live(repeat=5)  # E: misspelt
