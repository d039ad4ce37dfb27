"""What both daemons are made to do: the same apps, the same script of the model, the same calls."""

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

import httpx

from digitorn_testing import AppBuilder, AsyncDevClient
from digitorn_testing.fakes import FakeModel

from .record import Line, Run, caller, without

Scenario: TypeAlias = Callable[[Run], Awaitable[None]]
Recorded: TypeAlias = dict[str, list[Line]]
"""The lines of each scenario."""

KEY_SECRET: Final = "MODEL_API_KEY"
SCENARIOS: Final[dict[str, Scenario]] = {}
"""The scenarios by name."""

POLICIES: Final = {"auto": "auto", "approve": "approve", "alone": "auto"}
"""What each app does with calls of tools; the app `alone` has one session."""

_THOUGHT: Final = "First I look at the question.\nThen I look for an answer.\nAt last I say it."
_PIECES: Final = ("This is the first part, ", "this is the second part, ", "and this is the last one.")
# A fault of the daemon, which about one turn in 25 meets.
_WRONG_LOOP: Final = "is bound to a different event loop"
# Texts of this length are not compared, and the daemons put different words around what the provider says.
_LONG: Final = "so says the provider, in more words than anybody wants to read " * 3
# Commands that only wait, like sleep, are refused.
_LONG_COMMAND: Final = 'python3 -c "import time; time.sleep(20)"'
_APP: Final = """
app:
  app_id: {app_id}
  name: The app of a comparison
  version: "1.0"
runtime:
  mode: conversation
agents:
  - id: main
    role: assistant
    brain: {{}}
    system_prompt: >-
      You are the agent of a comparison. You say what you are told to say, and you call the tools that you are
      told to call.
tools:
  modules:
    shell: {{}}
    memory: {{}}
    workspace: {{}}
    preview: {{}}
  capabilities:
    default_policy: {policy}
    max_risk_level: high
    grant:
      - module: context_builder
        actions: [ask_user]
"""


def app_of(app_id: str, policy: str, base_url: str) -> AppBuilder:
    """An app of the scenarios.

    Args:
        app_id: Its id.
        policy: What it does with calls of tools.
        base_url: Where its model is.
    """
    return AppBuilder.from_yaml(_APP.format(app_id=app_id, policy=policy)).with_model(
        provider="openai",
        model="fake-model",
        backend="openai_compat",
        base_url=base_url,
        api_key_secret=KEY_SECRET,
    )


def write_script(model: FakeModel) -> None:
    """Scripts the model of all scenarios.

    What tools return is scripted as well: the released daemon runs its own tools, the embedded one has none.

    Args:
        model: The model.
    """
    calls: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "Say it.": (
            "Bash",
            {"command": "echo from-the-shell"},
            _ran("echo from-the-shell", "from-the-shell\n"),
        ),
        "Ask first.": ("Bash", {"command": "echo asked"}, _ran("echo asked", "asked\n")),
        "Set a goal.": ("MemorySetGoal", {"goal": "to compare"}, {"goal": "to compare"}),
        "Write a file.": ("WsWrite", {"path": "a.txt", "content": "hello\n"}, {"path": "a.txt"}),
    }
    for said, (name, params, result) in calls.items():
        model.when(contains=said).will_call_tool(name, params, text="I use a tool for it.", result=result)
    model.when(contains="Take long.").will_call_tool("Bash", {"command": _LONG_COMMAND}, delay=20)
    model.when(contains="Ask me.").will_ask_user("Which colour?", choices=["red", "blue"])
    model.when(contains="Think.").will_respond_with_text("I have thought about it.", thinking=_THOUGHT)
    model.when(contains="Speak slowly.").will_stream_text(_PIECES, delay=0.8)
    model.when(contains="Speak very slowly.").will_stream_text(_PIECES, delay=3)
    model.when(contains="Be refused.").will_fail("auth_error", f"401 unauthorized: {_LONG}")
    model.when(contains="Be too long.").will_fail(
        "context_overflow", f"the context length is exceeded: {_LONG}"
    )
    model.will_respond_with_text("This is all that there is to say.", times=None)


async def record(url: str, token: str, base_url: str, run: str, names: Iterable[str]) -> Recorded:
    """Records scenarios on a daemon.

    Args:
        url: The daemon.
        token: Access token of an administrator.
        base_url: Where the daemon finds the model.
        run: Random text that makes the ids of this run unique; both daemons get the same ids.
        names: The scenarios.

    Returns:
        Their lines. Names that differ between daemons and runs are replaced.
    """
    apps = {name: f"{name}-{run}" for name in POLICIES}
    async with AsyncDevClient.with_token(token, daemon_url=url) as client:
        for name, app_id in apps.items():
            await client.deploy_app(app_of(app_id, POLICIES[name], base_url), secrets={KEY_SECRET: "a key"})
    recorded: Recorded = {}
    async with caller(url, token) as http:
        for name in names:
            lines = await _record_one(http, apps, f"{name}-{run}", SCENARIOS[name])
            if _WRONG_LOOP in json.dumps(lines):
                lines = await _record_one(http, apps, f"{name}-again-{run}", SCENARIOS[name])
                lines = without({"-again-": "-"}, lines)
            recorded[name] = without({run: "RUN"}, lines)
    return recorded


async def _record_one(
    http: httpx.AsyncClient, apps: dict[str, str], session_id: str, scenario: Scenario
) -> list[Line]:
    async with Run(http, apps, session_id) as run:
        await scenario(run)
        user_id = run.tape.user_id
    return without({f'"user_id": "{user_id}"': '"user_id": "USER"'}, run.tape.lines)


def _ran(command: str, stdout: str) -> dict[str, Any]:
    place = {"command": command, "cwd": "/", "platform": "unix", "shell": "/bin/bash"}
    return {"stdout": stdout, "stderr": "", "exit_code": 0, **place}


def _scenario(scenario: Scenario) -> Scenario:
    SCENARIOS[scenario.__name__] = scenario
    return scenario


@_scenario
async def text_turn(run: Run) -> None:
    """A text."""
    main = await run.begin()
    await main.ended(await run.send("Tell me."))


@_scenario
async def thinking_turn(run: Run) -> None:
    """A text after some reasoning."""
    main = await run.begin()
    await main.ended(await run.send("Think."))


@_scenario
async def tool_turn(run: Run) -> None:
    """A tool that nobody has to approve."""
    main = await run.begin()
    await main.ended(await run.send("Say it."))


@_scenario
async def approved_tool(run: Run) -> None:
    """A tool that is approved."""
    main = await run.begin("approve")
    turn = await run.send("Ask first.")
    asked = await main.event("approval_request")
    await run.call("GET", "/approvals")
    await run.resolve(asked["payload"]["request_id"], "Go on.", approved=True)
    await main.ended(turn)


@_scenario
async def denied_tool(run: Run) -> None:
    """A tool that is denied, twice if the daemon asks twice."""
    main = await run.begin("approve")
    turn = await run.send("Ask first.")
    asked = await main.event("approval_request")
    await run.resolve(asked["payload"]["request_id"], "Never.", approved=False)
    again = await main.event("approval_request", tool_name="Bash")
    await run.resolve(again["payload"]["request_id"], "Never.", approved=False)
    await main.ended(turn)


@_scenario
async def question(run: Run) -> None:
    """A question to the user."""
    main = await run.begin()
    turn = await run.send("Ask me.")
    asked = await main.event("approval_request")
    await run.call("GET", "/approvals")
    await run.resolve(asked["payload"]["request_id"], "blue", approved=True)
    await main.ended(turn)


@_scenario
async def second_message(run: Run) -> None:
    """A message while another one is being answered."""
    main = await run.begin()
    await main.event("token", turn=await run.send("Speak slowly."))
    second = await run.send("Tell me.", client_message_id="second")
    await run.session_call("GET", "/queue")
    await main.ended(second)
    await run.session_call("GET", "/queue")


@_scenario
async def aborted_tool(run: Run) -> None:
    """A tool that runs when its turn is aborted."""
    main = await run.begin()
    turn = await run.send("Take long.")
    await main.event("tool_start")
    await main.event("turn:heartbeat")
    # A message that is saved after the abort would make the session go on.
    await run.saved(2, calls=True)
    await run.session_call("POST", "/abort")
    await main.ended(turn)
    await run.session_call("GET")


@_scenario
async def refused_turn(run: Run) -> None:
    """A provider that refuses the key, and what the session says of it before and after a good turn."""
    main = await run.begin()
    await main.ended(await run.send("Be refused."))
    await run.session_call("GET")
    await main.ended(await run.send("Tell me."))


@_scenario
async def overflowing_turn(run: Run) -> None:
    """A provider to which the conversation is too long."""
    main = await run.begin()
    await main.ended(await run.send("Be too long."))
    await run.session_call("GET")


@_scenario
async def joins(run: Run) -> None:
    """Sockets that join in the middle of a turn, while a tool asks, and after the end."""
    main = await run.begin("approve")
    speaking = await run.send("Speak very slowly.")
    await main.event("token", turn=speaking)
    await run.partly_saved()
    await run.joined("while it speaks")
    await main.ended(speaking)
    await run.saved(2)
    asking = await run.send("Ask first.")
    asked = await main.event("approval_request")
    await run.saved(3, calls=True)
    await run.joined("while it asks")
    await run.resolve(asked["payload"]["request_id"], "Go on.", approved=True)
    await main.ended(asking)
    await run.saved(3)
    await run.joined("at the end")
    await run.tape.quiet()


@_scenario
async def memory_tools(run: Run) -> None:
    """Tools of the agent's memory."""
    main = await run.begin()
    await main.ended(await run.send("Set a goal."))
    await run.session_call("GET", "/memory")


@_scenario
async def reads(run: Run) -> None:
    """What a session says of itself after a turn with a tool."""
    main = await run.begin("alone")
    await main.ended(await run.send("Say it."))
    await run.saved(2)
    await run.call("GET", "/sessions")
    await run.session_call("GET")
    for part in ("/history", "/events", "/state", "/snapshot", "/queue", "/memory", "/tasks", "/export"):
        await run.session_call("GET", part)
    await run.session_call("GET", "/state", since_seq=1)
    await run.session_call("GET", "/snapshot", since=1)


@_scenario
async def socket_commands(run: Run) -> None:
    """Messages, decisions and aborts that are sent over the socket."""
    main = await run.begin("approve")
    place = {"app_id": run.app_id, "session_id": run.session_id}
    sent = await main.command("send_message", {**place, "message": "Ask first."})
    asked = await main.event("approval_request")
    decision = {"request_id": asked["payload"]["request_id"], "approved": True, "message": "Go on."}
    await main.command("resolve_approval", {"app_id": run.app_id, **decision})
    await main.command("resolve_approval", {"app_id": run.app_id, **decision})
    await main.ended(sent["correlation_id"])
    sent = await main.command("send_message", {**place, "message": "Speak slowly."})
    await main.event("token", turn=sent["correlation_id"])
    await main.command("abort_turn", place)
    await main.ended(sent["correlation_id"])
    await main.command("latest_seq", {"session_id": run.session_id})
    await main.command("replay", {"session_id": run.session_id, "since": 0})
    await main.command("join_session", {"app_id": run.app_id, "session_id": "no-such-session"})
    await main.command("join_session", {"app_id": run.app_id})
    await main.command("leave_session", {"session_id": run.session_id})
