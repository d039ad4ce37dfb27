"""The app builder: what it writes, what it keeps, what it refuses."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from digitorn_testing import AppBuilder, AppNotPortable, ToolDefinition
from digitorn_testing._apps.language import Action, action_of, tool_name
from digitorn_testing._apps.tools import InvalidArguments, PythonTool, ToolContext
from digitorn_testing._apps.yaml import write_yaml

DEMO = Path(__file__).parents[2] / "docs" / "examples" / "demo_app.yaml"
BARE = "app: {app_id: my-app, name: my-app}\n"


def add(a: int, b: int = 1) -> dict[str, int]:
    """Adds two numbers."""
    return {"sum": a + b}


def written(app: AppBuilder) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(app.to_yaml())
    return document


def python_tool(app: AppBuilder, name: str) -> PythonTool:
    tool = app.source.own_tools[name]
    assert isinstance(tool, PythonTool)
    return tool


def capabilities(app: AppBuilder) -> dict[str, Any]:
    found: dict[str, Any] = written(app)["tools"]["capabilities"]
    return found


# --- the agent


def test_an_app_has_an_id_a_name_and_an_agent() -> None:
    assert written(AppBuilder("my-app")) == {
        "app": {"app_id": "my-app", "name": "my-app"},
        "agents": [{"id": "main"}],
    }
    assert written(AppBuilder("my-app", name="Mine"))["app"]["name"] == "Mine"
    assert repr(AppBuilder("my-app")) == "<AppBuilder 'my-app'>"


def test_a_step_leaves_the_builder_as_it_was() -> None:
    base = AppBuilder("my-app").with_tools("Bash").with_system_prompt("One.")
    before = base.to_yaml()
    base.append_system_prompt("Two.").without_tools("Bash").with_model(model="m").with_greeting("Hi")
    base.with_tool(add).with_module("web", {"a": 1}).with_default_policy("block")
    assert base.to_yaml() == before


def test_prompts_are_replaced_and_appended() -> None:
    app = AppBuilder("my-app").append_system_prompt("One.")
    assert written(app)["agents"] == [{"id": "main", "system_prompt": "One."}]
    assert written(app.append_system_prompt("Two."))["agents"][0]["system_prompt"] == "One.\n\nTwo."
    assert written(app.with_system_prompt("Three."))["agents"][0]["system_prompt"] == "Three."
    assert written(app.append_system_prompt(""))["agents"][0]["system_prompt"] == "One."


def test_the_prompt_is_of_the_agent_that_users_talk_to() -> None:
    text = BARE + "runtime: {entry_agent: b}\nagents: [{id: a, system_prompt: A}, {id: b, system_prompt: B}]"
    agents = written(AppBuilder.from_yaml(text).append_system_prompt("More."))["agents"]
    assert [one["system_prompt"] for one in agents] == ["A", "B\n\nMore."]


def test_the_rest_of_a_file_is_kept() -> None:
    before = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    app = AppBuilder.from_yaml(DEMO).append_system_prompt("Be brief.")
    after = written(app)
    assert app.app_id == "testing-demo"
    assert after["agents"][0].pop("system_prompt").endswith("then answer.\n\nBe brief.")
    del before["agents"][0]["system_prompt"]
    assert after == before


def test_a_prompt_that_stands_flat_moves_to_the_agent() -> None:
    app = AppBuilder.from_yaml("app_id: flat\nsystem_prompt: Short.\ngreeting: Hi\n")
    after = written(app.append_system_prompt("More.").with_greeting("Hello"))
    assert after == {
        "app_id": "flat",
        "agents": [{"id": "main", "system_prompt": "Short.\n\nMore."}],
        "ui": {"greeting": "Hello"},
    }


def test_model_settings_change_what_they_name() -> None:
    app = AppBuilder("my-app").with_model(
        provider="openai", model="m-1", base_url="http://127.0.0.1:9/v1", api_key_secret="KEY", temperature=0
    )
    brain = written(app.with_model(max_tokens=50, backend="anthropic"))["agents"][0]["brain"]
    assert brain == {
        "provider": "openai",
        "model": "m-1",
        "backend": "anthropic",
        "temperature": 0,
        "max_tokens": 50,
        "config": {"base_url": "http://127.0.0.1:9/v1", "api_key": "{{secret.KEY}}"},
    }


def test_a_reference_does_not_win_over_settings() -> None:
    text = BARE + "agents: [{id: a, brain: {provider_id: main, credential: c}}]"
    app = AppBuilder.from_yaml(text)
    assert written(app.with_model(temperature=1.0))["agents"][0]["brain"]["provider_id"] == "main"
    brain = written(app.with_model(model="m", api_key_secret="KEY"))["agents"][0]["brain"]
    assert brain == {"model": "m", "config": {"api_key": "{{secret.KEY}}"}}


# --- tools


@pytest.mark.parametrize(
    ("tool", "action", "name"),
    [
        ("Bash", Action("shell", "bash"), "Bash"),
        ("filesystem.read", Action("filesystem", "read"), "Read"),
        ("git.branch_list", Action("git", "branch_list"), "GitBranchList"),
        ("Lookup", None, "Lookup"),
    ],
)
def test_tools_are_actions_of_modules(tool: str, action: Action | None, name: str) -> None:
    assert action_of(tool) == action
    assert tool_name(tool) == name


def test_named_tools_become_the_only_ones_of_their_module() -> None:
    tools = written(AppBuilder("my-app").with_tools("Read", "shell.bash", "Write"))["tools"]
    assert tools["modules"] == {
        "filesystem": {"constraints": {"allowed_actions": ["read", "write"]}},
        "shell": {"constraints": {"allowed_actions": ["bash"]}},
    }
    assert tools["capabilities"]["grant"] == [
        {"module": "filesystem", "actions": ["read", "write"]},
        {"module": "shell", "actions": ["bash"]},
    ]


def test_a_module_brings_all_its_tools() -> None:
    app = AppBuilder("my-app").with_tools("Read").with_module("filesystem", {"root": "/tmp"})
    assert written(app)["tools"]["modules"] == {"filesystem": {"constraints": {}, "config": {"root": "/tmp"}}}
    kept = app.with_tools("Write").with_module("filesystem")
    assert written(kept)["tools"]["modules"] == written(app)["tools"]["modules"]


def test_an_approval_takes_the_place_of_the_grant() -> None:
    app = AppBuilder("my-app").with_tools("Bash", requires_approval=True)
    assert capabilities(app)["approve"] == [{"module": "shell", "actions": ["bash"]}]
    assert not capabilities(app).get("grant")


def test_an_exclusion_takes_the_grant_away() -> None:
    app = AppBuilder("my-app").with_tools("Read", "Write").without_tools("filesystem.write", "Bash")
    assert capabilities(app) == {
        "default_policy": "auto",
        "max_risk_level": "high",
        "grant": [{"module": "filesystem", "actions": ["read"]}],
        "hidden_actions": [
            {"module": "filesystem", "actions": ["write"]},
            {"module": "shell", "actions": ["bash"]},
        ],
        "deny": [
            {"module": "filesystem", "actions": ["write"]},
            {"module": "shell", "actions": ["bash"]},
        ],
    }


def test_the_last_word_on_a_tool_counts() -> None:
    app = AppBuilder("my-app").with_tools("Bash").without_tools("Bash").with_tools("Bash")
    assert capabilities(app)["grant"] == [{"module": "shell", "actions": ["bash"]}]
    assert capabilities(app)["deny"] == capabilities(app)["hidden_actions"] == []


def test_a_file_that_blocks_a_tool_can_be_opened_for_it() -> None:
    text = BARE + "tools: {modules: {git: {constraints: {blocked_actions: [push, pull]}}}}"
    app = AppBuilder.from_yaml(text).with_tools("git.push")
    assert written(app)["tools"]["modules"]["git"]["constraints"] == {"blocked_actions": ["pull"]}


@pytest.mark.parametrize("key", ["deny", "hidden_actions", "approve"])
def test_a_whole_module_is_not_opened_for_one_tool(key: str) -> None:
    text = BARE + f"tools: {{capabilities: {{{key}: [{{module: shell}}]}}}}"
    with pytest.raises(ValueError, match=f"'Bash': {key} names the whole module 'shell'"):
        AppBuilder.from_yaml(text).with_tools("Bash")


def test_a_hidden_module_is_not_opened_for_one_tool() -> None:
    text = BARE + "tools: {capabilities: {hidden_modules: [shell]}}"
    with pytest.raises(ValueError, match="hidden_modules names the whole module 'shell'"):
        AppBuilder.from_yaml(text).with_tools("Bash")


def test_policies() -> None:
    assert capabilities(AppBuilder("my-app").with_default_policy("block"))["default_policy"] == "block"


# --- Python functions


def test_a_function_tells_its_schema() -> None:
    tool = python_tool(AppBuilder("my-app").with_tool(add, risk_level="high"), "add")
    assert tool.definition == ToolDefinition(
        "add",
        "Adds two numbers.",
        {
            "type": "object",
            "properties": {
                "a": {"title": "A", "type": "integer"},
                "b": {"title": "B", "type": "integer", "default": 1},
            },
            "required": ["a"],
            "additionalProperties": False,
        },
        risk_level="high",
    )
    assert not tool.is_async


CONTEXT = ToolContext("my-app", "s-1", "u-1", "c-1", "fp-1", "main")


class Counter:
    """Something with a state."""

    async def __call__(self, by: int) -> None:
        """Counts."""

    def count(self, by: int) -> None:
        """Counts, too."""


@pytest.mark.parametrize(
    ("handler", "description", "is_async"),
    [
        (Counter(), "Counts.", True),
        (Counter().count, "Counts, too.", False),
        (functools.partial(Counter().count), "Counts, too.", False),
    ],
)
def test_whatever_can_be_called_is_a_handler(
    handler: Callable[[int], None], description: str, is_async: bool
) -> None:
    tool = python_tool(AppBuilder("my-app").with_tool(handler, name="count"), "count")
    assert (tool.definition.description, tool.is_async) == (description, is_async)
    assert tool.bind({"by": "3"}, CONTEXT) == ((), {"by": 3})


def test_arguments_that_do_not_fit() -> None:
    tool = python_tool(AppBuilder("my-app").with_tool(add), "add")
    with pytest.raises(InvalidArguments, match=r"^a: Missing required argument; c: Unexpected keyword arg"):
        tool.bind({"c": 1}, CONTEXT)


def test_names_and_descriptions_may_be_given() -> None:
    tool = python_tool(AppBuilder("my-app").with_tool(add, name="plus", description="Sums."), "plus")
    assert (tool.name, tool.definition.description) == ("plus", "Sums.")


def unannotated(a) -> None:  # type: ignore[no-untyped-def]  # pyright: ignore
    """Lacks an annotation."""


def nameless(a: int, /) -> None:
    """Has a parameter that cannot be named."""


def not_json(a: Callable[[], int]) -> None:
    """Has a parameter that JSON cannot hold."""


def unresolved(a: "Missing") -> None:  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore
    """Has an annotation of nothing."""


NO_HANDLERS: list[tuple[object, type[Exception], str]] = [
    (3, TypeError, "expected a function, got 3"),
    (dict, TypeError, "expected a function, got <class 'dict'>"),
    (lambda: None, ValueError, "malformed tool name '<lambda>'"),
    (functools.partial(add), ValueError, "no name of its own; pass name="),
    (unannotated, TypeError, "'unannotated': parameter 'a' has no type annotation"),
    (nameless, TypeError, "'nameless': parameter 'a' has no name"),
    (not_json, TypeError, "'not_json': its parameters cannot come as JSON"),
    (unresolved, TypeError, "'unresolved': its signature cannot be read: name 'Missing'"),
]


@pytest.mark.parametrize(("handler", "error", "message"), NO_HANDLERS)
def test_what_cannot_be_a_handler_is_refused(handler: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        AppBuilder("my-app").with_tool(handler)


def test_what_only_the_embedded_daemon_has_is_not_written() -> None:
    app = AppBuilder("my-app").with_tool(add).with_tools("Bash", "Lookup", ToolDefinition("Ask", "Asks."))
    with pytest.raises(AppNotPortable, match=r"'add' is a Python function.*FakeDaemon\.deploy") as caught:
        app.without_tools("Nothing").to_yaml()
    assert caught.value.app_id == "my-app"
    assert caught.value.tools == ("add", "Lookup", "Ask", "Nothing")
    assert "'Lookup' is of no known module" in str(caught.value)
    assert "'Ask' has a definition of its own" in str(caught.value)


def test_a_function_may_stand_in_for_a_tool_of_the_daemon() -> None:
    def bash(command: str) -> str:
        return command

    app = AppBuilder.from_yaml(DEMO).with_tool(bash, name="Bash")
    assert python_tool(app, "Bash").handler is bash
    assert python_tool(app.without_tools("Bash").with_tool(bash, name="Bash"), "Bash").handler is bash


# --- what is refused


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (lambda: AppBuilder("-x"), ValueError, "malformed app id '-x'"),
        (lambda: AppBuilder("x").with_tools("a b"), ValueError, "malformed tool name 'a b'"),
        (lambda: AppBuilder("x").without_tools(""), ValueError, "malformed tool name ''"),
        (lambda: AppBuilder("x").with_tools("Bash", "shell.bash"), ValueError, "tool 'Bash' is there twice"),
        (lambda: AppBuilder("x").with_tools("Bash").with_tool(add, name="Bash"), ValueError, "there twice"),
        (lambda: AppBuilder("x").with_tool(add).with_tool(add), ValueError, "tool 'add' is there twice"),
        (lambda: AppBuilder("x").with_module("a b"), ValueError, "malformed module id 'a b'"),
        (lambda: AppBuilder("x").with_module("a", {"b": object()}), TypeError, "not JSON serializable"),
        (lambda: AppBuilder("x").with_model(temperature=-1), ValueError, "temperature must be 0 or more"),
        (lambda: AppBuilder("x").with_model(temperature=float("nan")), ValueError, "temperature must be"),
        (lambda: AppBuilder("x").with_model(max_tokens=0), ValueError, "max_tokens must be positive"),
        (lambda: AppBuilder("x").with_model(model=""), ValueError, "model must not be empty"),
        (lambda: AppBuilder("x").with_system_prompt("\ud800"), ValueError, "system prompt: not valid text"),
    ],
)
def test_bad_input_is_named_at_once(
    step: Callable[[], AppBuilder], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        step()


def test_bad_input_that_type_checkers_find() -> None:
    app: Any = AppBuilder("x")
    with pytest.raises(ValueError, match="unknown default policy 'ask'; known are auto, approve, block"):
        app.with_default_policy("ask")
    with pytest.raises(ValueError, match="unknown risk_level 'huge'"):
        app.with_tool(add, risk_level="huge")
    with pytest.raises(ValueError, match="unknown backend 'soap'"):
        app.with_model(backend="soap")
    with pytest.raises(TypeError, match="expected the name of a tool, got 3"):
        app.with_tools(3)
    with pytest.raises(TypeError, match="greeting: expected text, got int"):
        app.with_greeting(3)


def test_a_key_in_the_place_of_a_secrets_name_is_not_shown() -> None:
    with pytest.raises(ValueError, match="name of a secret") as caught:
        AppBuilder("x").with_model(api_key_secret="sk-very-secret")
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        ("app.yaml", "expected a mapping, got str; a path goes as a pathlib.Path"),
        ("name: x", "no app.app_id"),
        ("app_id: '../etc'", "malformed app id"),
        ("app_id: x\nself: &a [*a]", "contains itself"),
        ("app_id: x\ndata: !!binary aGk=", "holds a bytes"),
    ],
)
def test_a_text_that_is_no_app(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AppBuilder.from_yaml(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tools: [Bash]", "tools: expected a mapping, got list"),
        ("modules: {shell: {}}", "modules stands at the top"),
        ("tools: {capabilities: {deny: [Bash]}}", r"capabilities\.deny: expected a list of mappings"),
        ("tools: {modules: {shell: 3}}", r"tools\.modules\.shell: expected a mapping, got int"),
    ],
)
def test_a_file_of_another_form_is_not_changed(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AppBuilder.from_yaml(BARE + text).with_tools("Bash")


# --- YAML

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.dates()
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.integers() | st.booleans()
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
)


@example({"breaks": "a\x85b\u2028", "refused": "\x7f\ufeff\uffff", "no": [[], {}, [1e-7]]})
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_written_is_read_again(document: Mapping[Any, Any]) -> None:
    assert yaml.safe_load(write_yaml(document)) == document


@given(prompt=TEXTS, more=TEXTS, name=TEXTS, greeting=TEXTS)
def test_texts_survive_yaml(prompt: str, more: str, name: str, greeting: str) -> None:
    app = AppBuilder("my-app", name=name).with_system_prompt(prompt).with_greeting(greeting)
    assert written(app) == app.source.document
    again = AppBuilder.from_yaml(app.to_yaml())
    assert again.append_system_prompt(more).to_yaml() == app.append_system_prompt(more).to_yaml()
