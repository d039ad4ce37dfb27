"""Apps from the builder on the embedded daemon: what the model is offered, and tools that Python runs."""

import asyncio
import json
import pickle
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from digitorn_testing import AppBuilder, DevClient, ToolContext, ToolDenied, ToolFailed
from digitorn_testing.fakes import (
    FakeDaemon,
    FakeModel,
    ModelMessage,
    ModelRequest,
    ModelSettings,
    ModelToolCall,
    ToolDefinition,
)
from support.recorder import APP, SECONDS, Frame, Talk, another
from support.texts import ANSWER

DEMO = Path(__file__).parents[2] / "docs" / "examples" / "demo_app.yaml"


class Sum(BaseModel):
    """What a handler may return."""

    sum: int


def add(a: int, b: int) -> dict[str, int]:
    """Adds two numbers."""
    return {"sum": a + b}


@asynccontextmanager
async def deployed(app: AppBuilder, model: FakeModel) -> AsyncGenerator[Talk, None]:
    """A joined session of an app."""
    with FakeDaemon() as daemon:
        daemon.deploy(app, model=model)
        async with another(daemon) as talk:
            yield talk


async def called(app: AppBuilder, model: FakeModel) -> dict[str, Any]:
    """The end of the first call of a turn; the turn goes on with a text."""
    model.will_respond_with_text("Done.")
    async with deployed(app, model) as talk:
        await talk.run("go")
        payload: dict[str, Any] = talk.recorder.of("tool_call")[0]["payload"]
        return payload


def asked(model: FakeModel) -> ModelRequest:
    """What the model was asked last."""
    assert model.last_request is not None
    return model.last_request


# --- handlers


async def test_a_handler_gives_the_result() -> None:
    model = FakeModel().will_call_tool("add", {"a": 1, "b": 2}).will_respond_with_text(ANSWER)
    async with deployed(AppBuilder(APP).with_tool(add), model) as talk:
        assert await talk.run("1 + 2?") == [
            "user_message",
            "message_started",
            "stream_done",
            "tool_call_streaming",
            "tool_start",
            "tool_call",
            "token",
            "stream_done",
            "result",
            "message_done",
            "turn_terminal",
        ]
        frame = talk.recorder.of("tool_call")[0]
    assert frame["op_state"] == "completed"
    payload = frame["payload"]
    assert (payload["success"], payload["error"], payload["result"]) == (True, "", {"sum": 3})
    first, second = model.requests
    assert [one.name for one in first.tools] == ["add"]
    assert second.messages[-1].content == '{"sum": 3}'


async def test_an_async_handler_runs_in_the_daemons_loop() -> None:
    seen: list[str] = []

    async def look_up(word: str) -> Sum:
        seen.append(threading.current_thread().name)
        return Sum(sum=len(word))

    payload = await called(
        AppBuilder(APP).with_tool(look_up), FakeModel().will_call_tool("look_up", {"word": "abc"})
    )
    assert payload["result"] == {"sum": 3}
    assert seen[0].startswith("fake-daemon-")


def boom(a: int) -> None:
    raise ValueError(f"no {a}")


async def boom_later(a: int) -> None:
    raise ValueError(f"no {a}")


async def cancels_itself(a: int) -> None:
    raise asyncio.CancelledError


def quits(a: int) -> None:
    raise SystemExit(a)


def number(a: int) -> Any:
    return a


def not_json(a: int) -> dict[str, object]:
    return {"a": object()}


def empty(a: int) -> None:
    """Does nothing."""


def text(a: int) -> str:
    return f"got {a}"


@pytest.mark.parametrize(
    ("handler", "params", "result", "error"),
    [
        (text, {"a": 1}, {"output": "got 1"}, ""),
        (empty, {"a": 1}, None, ""),
        (boom, {"a": 1}, None, "ValueError: no 1"),
        (boom_later, {"a": 1}, None, "ValueError: no 1"),
        (quits, {"a": 1}, None, "SystemExit: 1"),
        (cancels_itself, {"a": 1}, None, "CancelledError: the function cancelled itself"),
        (text, {"a": "x", "b": 1}, None, "InvalidArguments: a: Input should be a valid integer"),
        (number, {"a": 1}, None, "TypeError: a tool returns a mapping"),
        (not_json, {"a": 1}, None, "TypeError: Object of type object is not JSON serializable"),
    ],
)
async def test_what_a_handler_does_becomes_of_the_call(
    handler: Callable[[int], None], params: dict[str, Any], result: Any, error: str
) -> None:
    model = FakeModel().will_call_tool("tool", params)
    payload = await called(AppBuilder(APP).with_tool(handler, name="tool"), model)
    assert payload["success"] is not bool(error)
    assert payload["result"] == result
    assert payload["error"].startswith(error)
    assert bool(payload["error"]) is bool(error)
    assert asked(model).messages[-1].content.startswith(error)


async def test_a_handler_is_told_for_what_it_runs() -> None:
    seen: list[ToolContext] = []

    def look(context: ToolContext, path: str) -> str:
        seen.append(context)
        return path

    app = AppBuilder(APP).with_tool(look)
    model = FakeModel().will_call_tool("look", {"path": "a"}).will_respond_with_text("Done.")
    async with deployed(app, model) as talk:
        await talk.run("go")
        call = talk.recorder.of("tool_call")[0]
        (context,) = seen
        assert (context.app_id, context.session_id) == (APP, talk.session_id)
        assert (context.call_id, context.user_id) == (call["payload"]["id"], call["user_id"])
        assert (context.correlation_id, context.agent_id) == (call["correlation_id"], "main")
    (offered,) = model.requests[0].tools
    assert list(offered.parameters["properties"]) == ["path"]


async def test_a_schema_may_be_given() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    found: list[dict[str, Any]] = []

    def search(**arguments: object) -> None:
        found.append(arguments)

    app = AppBuilder(APP).with_tool(search, parameters=schema)
    model = FakeModel().will_call_tool("search", {"q": "whales", "n": 1})
    assert (await called(app, model))["success"]
    assert found == [{"q": "whales", "n": 1}]
    assert model.requests[0].tools[0].parameters == schema
    with pytest.raises(TypeError, match="not JSON"):
        AppBuilder(APP).with_tool(search, parameters={"type": {1, 2}})


@pytest.mark.parametrize(
    ("error", "result", "told"),
    [
        (ToolFailed("disk full"), None, "disk full"),
        (ToolFailed("half", {"done": 1}), {"done": 1}, "half"),
        (ToolDenied("not today"), {"success": False, "error": "not today"}, "not today"),
    ],
)
async def test_a_handler_says_how_it_fails(
    error: ToolFailed, result: dict[str, Any] | None, told: str
) -> None:
    async def fail() -> None:
        raise error

    model = FakeModel().will_call_tool("fail")
    payload = await called(AppBuilder(APP).with_tool(fail), model)
    assert (payload["success"], payload["error"], payload["result"]) == (False, told, result)
    assert model.requests[1].last_text == told
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.error, again.result) == (type(error), error.error, error.result)


async def test_a_script_may_refuse_a_call() -> None:
    ran: list[str] = []

    def touch() -> None:
        ran.append("touch")

    model = FakeModel().will_call_tool("touch", denied="The policy forbids it.")
    payload = await called(AppBuilder(APP).with_tool(touch), model)
    assert payload["result"] == {"success": False, "error": "The policy forbids it."}
    assert ran == []


@pytest.mark.parametrize("approved", [True, False])
async def test_a_definition_may_need_approval(approved: bool) -> None:
    tool = ToolDefinition("deploy", "Deploys.", requires_approval=True, risk_level="high")
    model = FakeModel().will_call_tool("deploy", result="done").will_respond_with_text("Done.")
    async with deployed(AppBuilder(APP).with_tools(tool), model) as talk:
        sent = await talk.send("go")
        asked = (await talk.recorder.wait_for("approval_request"))["payload"]
        assert asked["risk_level"] == "high"
        if approved:
            await talk.resolve(asked["request_id"], approved=True)
        else:
            await talk.deny("no")
        await talk.end(sent["correlation_id"])
        assert talk.recorder.of("tool_call")[0]["payload"]["success"] is approved


async def test_the_script_wins_over_the_handler() -> None:
    ran: list[int] = []

    def count() -> None:
        ran.append(1)

    model = FakeModel().will_call_tool("count", result={"n": 7}).will_call_tool("count", error="broken")
    model.will_call_tool("count", result=None).will_respond_with_text("ok")
    async with deployed(AppBuilder(APP).with_tool(count), model) as talk:
        await talk.run("go")
        payloads = [one["payload"] for one in talk.recorder.of("tool_call")]
    assert [(one["success"], one["result"], one["error"]) for one in payloads] == [
        (True, {"n": 7}, ""),
        (False, None, "broken"),
        (True, None, ""),
    ]
    assert ran == []


@pytest.mark.parametrize("approved", [True, False])
async def test_a_tool_that_needs_approval_asks_though_the_script_does_not_say_so(approved: bool) -> None:
    model = FakeModel().will_call_tool("add", {"a": 1, "b": 2}).will_respond_with_text("ok")
    app = AppBuilder(APP).with_tool(add, requires_approval=True, risk_level="high")
    async with deployed(app, model) as talk:
        accepted = await talk.send("go")
        request = (await talk.recorder.wait_for("approval_request"))["payload"]
        assert (request["tool_name"], request["risk_level"]) == ("add", "high")
        await (talk.resolve(request["request_id"], approved=True) if approved else talk.deny("no"))
        await talk.end(accepted["correlation_id"])
        payload = talk.recorder.of("tool_call")[0]["payload"]
    assert payload["success"] is approved
    denied = {"success": False, "error": payload["error"]}
    assert payload["result"] == ({"sum": 3} if approved else denied)


# --- aborts and the end of the daemon


async def test_an_abort_cancels_an_async_handler() -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await aborted(hang, started)
    assert cancelled.is_set()


async def test_an_abort_does_not_wait_for_a_handler_on_a_thread() -> None:
    started, release = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        release.wait(SECONDS)

    await aborted(hang, started, before_stop=release.set)
    assert not any(one.name == "tool hang" for one in threading.enumerate())


async def test_a_handler_that_swallows_its_cancellation_does_not_undo_the_abort() -> None:
    started = threading.Event()

    async def stubborn() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "never mind"
        return "never"

    await aborted(stubborn, started)


async def aborted(
    handler: Callable[[], Any], started: threading.Event, before_stop: Callable[[], None] = lambda: None
) -> None:
    """Aborts a turn while a handler of it runs."""
    model = FakeModel().will_call_tool(handler.__name__).will_respond_with_text("after")
    async with deployed(AppBuilder(APP).with_tool(handler), model) as talk:
        accepted = await talk.send("go")
        assert await asyncio.to_thread(started.wait, SECONDS)
        await talk.client.post(f"{talk.path}/abort")
        await talk.end(accepted["correlation_id"])
        assert talk.recorder.of("message_cancelled")
        assert talk.recorder.of("tool_call") == []
        assert (await talk.run("again"))[-2:] == ["message_done", "turn_terminal"]
        before_stop()


async def test_a_handler_on_a_thread_holds_up_nobody() -> None:
    release = threading.Event()

    def hang() -> str:
        return "ended" if release.wait(SECONDS) else "gave up"

    model = FakeModel().will_call_tool("hang").will_respond_with_text("ok")
    async with deployed(AppBuilder(APP).with_tool(hang), model) as talk:
        accepted = await talk.send("go")
        await talk.recorder.wait_for("tool_start")
        assert (await talk.client.get(talk.path)).json()["data"]["is_active"] is True
        release.set()
        await talk.end(accepted["correlation_id"])
        assert talk.recorder.of("tool_call")[0]["payload"]["result"] == {"output": "ended"}


@pytest.mark.parametrize("is_async", [True, False])
async def test_nothing_runs_on_when_the_daemon_stops(is_async: bool) -> None:
    started, ended = threading.Event(), threading.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def work() -> None:
        started.set()
        # Work that takes longer than all else that the daemon does to stop.
        threading.Event().wait(0.3)
        ended.set()

    model = FakeModel().will_call_tool("tool")
    app = AppBuilder(APP).with_tool(hang, name="tool") if is_async else None
    async with deployed(app or AppBuilder(APP).with_tool(work, name="tool"), model) as talk:
        await talk.send("go")
        assert await asyncio.to_thread(started.wait, SECONDS)
    assert ended.is_set()


async def test_a_handler_that_does_not_end_is_named() -> None:
    started, release = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        release.wait(30)

    with FakeDaemon() as daemon:
        daemon.deploy(AppBuilder(APP).with_tool(hang), model=FakeModel().will_call_tool("hang"))
        async with another(daemon) as talk:
            await talk.send("go")
            assert await asyncio.to_thread(started.wait, SECONDS)
        try:
            with pytest.raises(RuntimeError, match="functions of tools still run: hang"):
                daemon.stop()
        finally:
            release.set()


# --- exclusions and policies


@pytest.mark.parametrize("name", ["Bash", "shell.bash"])
async def test_an_excluded_tool_is_not_offered_and_refused(name: str) -> None:
    model = FakeModel().will_call_tool(name, {"command": "rm"}, result="gone").will_respond_with_text("ok")
    app = AppBuilder(APP).with_tools("Bash", "Read").without_tools("Bash", "WebSearch")
    async with deployed(app, model) as talk:
        types = await talk.run("go")
        payload = talk.recorder.of("tool_call")[0]["payload"]
    assert types.index("tool_start") < types.index("tool_call")
    assert payload["success"] is False
    assert payload["result"] == {"success": False, "error": payload["error"]}
    assert payload["error"] == f"The tool {name!r} is excluded from app 'my-app'"
    assert asked(model).tools == (ToolDefinition("Read"),)
    assert asked(model).excluded_tools == ("Bash", "WebSearch")
    assert asked(model).messages[-1].content == payload["error"]


async def test_an_excluded_handler_does_not_run() -> None:
    ran: list[int] = []

    def count() -> None:
        ran.append(1)

    model = FakeModel().will_call_tool("count")
    payload = await called(AppBuilder(APP).with_tool(count).without_tools("count"), model)
    assert payload["success"] is False
    assert (asked(model).tools, asked(model).excluded_tools, ran) == ((), ("count",), [])


@pytest.mark.parametrize(
    ("app", "name", "outcome"),
    [
        (AppBuilder(APP), "Bash", "runs"),
        (AppBuilder(APP).with_module("shell").with_default_policy("approve"), "Bash", "asks"),
        (AppBuilder(APP).with_module("shell").with_default_policy("block"), "Bash", "blocked"),
        (AppBuilder(APP).with_tools("Bash").with_default_policy("block"), "Bash", "runs"),
        (AppBuilder(APP).with_tools("git.push", requires_approval=True), "GitPush", "asks"),
        (AppBuilder(APP).with_tool(add, name="Bash").with_default_policy("block"), "Bash", "runs"),
    ],
)
async def test_what_a_policy_makes_of_a_call(app: AppBuilder, name: str, outcome: str) -> None:
    model = FakeModel().will_call_tool(name, result={}).will_respond_with_text("ok")
    async with deployed(app, model) as talk:
        accepted = await talk.send("go")
        if outcome == "asks":
            request = await talk.recorder.wait_for("approval_request")
            await talk.resolve(request["payload"]["request_id"], approved=True)
        await talk.end(accepted["correlation_id"])
        payload = talk.recorder.of("tool_call")[0]["payload"]
        assert bool(talk.recorder.of("approval_request")) is (outcome == "asks")
    assert payload["success"] is (outcome != "blocked")
    assert bool(payload["error"]) is (outcome == "blocked")


@pytest.mark.parametrize(
    ("app", "name", "offered"),
    [
        (AppBuilder(APP).with_tools("Read"), "Nope", "Read"),
        (AppBuilder(APP).with_tools("Read", "Lookup").with_tool(add), "Bash", "Read, Lookup, add"),
        (AppBuilder(APP).with_tools("Read"), "filesystem.write", "Read"),
        (AppBuilder(APP).with_tools("Read"), "filesystem.read", ""),
        (AppBuilder(APP).with_tools("Lookup"), "execute_tool", ""),
        # What a whole module has is not all known here.
        (AppBuilder(APP).with_tools("Read").with_module("git"), "GitPush", ""),
        (AppBuilder(APP), "Nope", ""),
        (AppBuilder(APP).with_tools("Read").without_tools("Read"), "Nope", ""),
    ],
)
async def test_a_call_of_a_tool_that_the_app_does_not_name_fails(
    app: AppBuilder, name: str, offered: str
) -> None:
    payload = await called(app, FakeModel().will_call_tool(name, {}, result={"n": 1}))
    error = f"App 'my-app' offers no tool {name!r}; its tools are {offered}" if offered else ""
    assert (payload["success"], payload["error"]) == (not offered, error)
    assert payload["result"] == ({"success": False, "error": error} if offered else {"n": 1})


async def test_a_question_to_the_user_is_under_no_policy() -> None:
    model = FakeModel().will_ask_user("Which?").will_respond_with_text("ok")
    async with deployed(AppBuilder(APP).with_tools("Read").with_default_policy("block"), model) as talk:
        accepted = await talk.send("go")
        request = await talk.recorder.wait_for("approval_request")
        await talk.resolve(request["payload"]["request_id"], approved=True, message="This.")
        await talk.end(accepted["correlation_id"])
    assert json.loads(asked(model).messages[-1].content)["user_response"] == "This."


# --- what the model is asked


async def test_the_model_sees_the_whole_conversation_of_a_session() -> None:
    model = FakeModel().will_call_tool("add", {"a": 1, "b": 2}, text="Let me see.")
    model.will_respond_with_text("Three.").will_respond_with_text("Five.")
    app = AppBuilder(APP).with_system_prompt("You add.").append_system_prompt("Be brief.").with_tool(add)
    async with deployed(app, model) as talk:
        await talk.run("1 + 2?")
        await talk.run("And 2 more?")
        start: Frame = talk.recorder.of("tool_start")[0]
        call = ModelToolCall(start["payload"]["call_id"], "add", {"a": 1, "b": 2})
    assert [one.system_prompt for one in model.requests] == ["You add.\n\nBe brief."] * 3
    assert asked(model).messages == (
        ModelMessage("user", "1 + 2?"),
        ModelMessage("assistant", "Let me see.", (call,)),
        ModelMessage("tool", '{"sum": 3}', tool_call_id=call.id),
        ModelMessage("assistant", "Three."),
        ModelMessage("user", "And 2 more?"),
    )


def test_tools_are_offered_in_the_order_in_which_they_are_named() -> None:
    app = AppBuilder(APP).with_tools("Read", "Bash", "Lookup").with_tool(add).with_tools("Write")
    with FakeDaemon() as daemon, daemon.client() as client:
        daemon.deploy(app)
        tools = request_of(daemon, client, APP).tools
        assert [one.name for one in tools] == ["Read", "Bash", "Lookup", "add", "Write"]


def test_a_file_of_an_app_is_deployed_with_changes() -> None:
    app = AppBuilder.from_yaml(DEMO).append_system_prompt("Be brief.").without_tools("Bash")
    with FakeDaemon() as daemon, daemon.client() as client:
        handle = daemon.deploy(app)
        assert (handle.app_id, handle.daemon_url) == ("testing-demo", daemon.url)
        request = request_of(daemon, client, handle.app_id)
    assert request.system_prompt.endswith("then answer.\n\nBe brief.")
    assert (request.tools, request.excluded_tools) == ((), ("Bash",))
    assert request.model_settings == ModelSettings(
        provider="openai",
        model="demo-model",
        backend="openai_compat",
        api_key="{{secret.DEMO_API_KEY}}",
    )
    assert "DEMO_API_KEY" not in repr(request)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tools: {capabilities: {default_policy: ask}}", "default_policy: unknown policy 'ask'"),
        ("tools: {capabilities: {deny: [Bash]}}", r"deny\.0: expected a mapping with a module"),
        ("agents: [{id: a, brain: {temperature: hot}}]", "temperature: expected a number, got 'hot'"),
        ("agents: [{id: a, brain: {max_tokens: 1.5}}]", "max_tokens: expected a number, got 1.5"),
    ],
)
def test_a_definition_that_does_not_compile_is_refused(text: str, message: str) -> None:
    with FakeDaemon() as daemon, pytest.raises(ValueError, match=message):
        daemon.deploy(AppBuilder.from_yaml(f"app: {{app_id: x}}\n{text}"))


# --- round trips

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
TOOLS = st.lists(
    st.sampled_from(["Bash", "Glob", "GitPush", "Read", "WebFetch"]), unique=True, max_size=4
).map(sorted)


@pytest.fixture(scope="module")
def daemon() -> Any:
    with FakeDaemon() as running:
        yield running


@pytest.fixture(scope="module")
def client(daemon: FakeDaemon) -> Any:
    with daemon.client() as connected:
        yield connected


def request_of(daemon: FakeDaemon, client: DevClient, app_id: str) -> ModelRequest:
    """What an app asks the daemon's model."""
    daemon.model.reset()
    daemon.model.will_respond_with_text("ok")
    assert client.chat(app_id, "hi", timeout=SECONDS).content == "ok"
    return asked(daemon.model)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompt=TEXTS,
    more=TEXTS,
    offered=TOOLS,
    excluded=TOOLS,
    policy=st.sampled_from(["auto", "approve", "block"]),
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 10**9),
)
def test_yaml_over_rest_asks_the_model_the_same(
    daemon: FakeDaemon,
    client: DevClient,
    prompt: str,
    more: str,
    offered: list[str],
    excluded: list[str],
    policy: Any,
    temperature: float | None,
    max_tokens: int | None,
) -> None:
    names = {"GitPush": "git.push"}
    app = (
        AppBuilder("trip")
        .with_system_prompt(prompt)
        .append_system_prompt(more)
        .with_model(provider="openai", model="m", api_key_secret="KEY", base_url="http://127.0.0.1:9/v1")
        .with_model(temperature=temperature, max_tokens=max_tokens)
        .with_tools(*(names.get(one, one) for one in offered))
        .without_tools(*(names.get(one, one) for one in excluded))
        .with_default_policy(policy)
    )
    daemon.deploy(app)
    direct = request_of(daemon, client, "trip")
    client.undeploy("trip")
    client.deploy_text(app.to_yaml())
    client.wait_for_app("trip", timeout=SECONDS)
    over_rest = request_of(daemon, client, "trip")
    assert {one.name for one in direct.tools} == set(offered) - set(excluded)
    assert set(direct.excluded_tools) == set(excluded)
    assert (direct.model_settings.temperature, direct.model_settings.max_tokens) == (temperature, max_tokens)
    assert sorted(over_rest.tools, key=lambda one: one.name) == sorted(direct.tools, key=lambda one: one.name)
    assert sorted(over_rest.excluded_tools) == sorted(direct.excluded_tools)
    for one in (direct, over_rest):
        assert (one.system_prompt, one.messages) == (direct.system_prompt, direct.messages)
        assert one.model_settings == direct.model_settings
