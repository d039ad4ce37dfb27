"""Builds the definition of an app in Python."""

import copy
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

from digitorn_testing._errors import AppNotPortable
from digitorn_testing._extras import needing

from .document import (
    capabilities,
    check_single,
    child,
    delist,
    enlist,
    is_listed,
    module_block,
    offer,
    strings,
    update,
)
from .language import (
    ASK_USER,
    BACKENDS,
    BACKGROUND_RUN,
    POLICIES,
    RISK_LEVELS,
    Action,
    Backend,
    Policy,
    RiskLevel,
    action_of,
    entry_agent,
    is_valid_id,
    mapping,
)
from .tools import PythonTool, ToolDefinition, ToolHandler, json_object, python_tool
from .yaml import write_yaml

_V = TypeVar("_V")

_TOOL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_SECRET: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class AppSource:
    """What a builder has collected; the embedded daemon deploys it.

    Attributes:
        document: The definition in the structure of the app language.
        own_tools: Tools that the language cannot express, by name.
        own_exclusions: Excluded tools that the language cannot name.
        mentioned: Every tool that was named, in order.
    """

    document: dict[str, Any]
    own_tools: Mapping[str, ToolDefinition | PythonTool] = field(
        default_factory=dict[str, "ToolDefinition | PythonTool"]
    )
    own_exclusions: tuple[str, ...] = ()
    mentioned: tuple[str, ...] = ()


class AppBuilder:
    """Builds the definition of an app step by step. Each step returns a new builder.

        app = (
            AppBuilder("my-app")
            .with_system_prompt("You keep accounts.")
            .with_tool(add)
            .without_tools("Bash")
        )

    `FakeDaemon.deploy` accepts the builder itself; `to_yaml` returns the text for any daemon.

    Args:
        app_id: Id of the app.
        name: Name of the app; its id if left out.

    Raises:
        ValueError: The id is malformed (contract: rest, section 1.4).
    """

    __slots__ = ("_source",)

    def __init__(self, app_id: str, *, name: str | None = None) -> None:
        _check_id(app_id)
        identity = {"app_id": app_id, "name": app_id if name is None else _text("name", name)}
        self._source = AppSource({"app": identity, "agents": [{"id": "main"}]})

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Starts from an existing definition. Needs the extra `digitorn-testing[daemon]`.

        Args:
            source: YAML text, or the path of a file.

        Raises:
            ImportError: PyYAML is not installed.
            OSError: The file cannot be read.
            ValueError: The source is not the definition of an app.
        """
        document = _read_yaml(source)
        app_id = mapping(document.get("app")).get("app_id", document.get("app_id"))
        if not isinstance(app_id, str):
            raise ValueError("not the definition of an app: it has no app.app_id")
        _check_id(app_id)
        builder = cls(app_id)
        builder._source = AppSource(document)
        return builder

    @property
    def app_id(self) -> str:
        """Id of the app."""
        document = self._source.document
        return str(mapping(document.get("app")).get("app_id", document.get("app_id")))

    @property
    def source(self) -> AppSource:
        """What the builder has collected so far."""
        return self._source

    # --- the agent

    def with_system_prompt(self, text: str) -> Self:
        """Replaces the system prompt of the agent that users talk to.

        Args:
            text: The whole prompt; it may contain templates such as `{{workspace}}`.
        """
        document, agent = self._opened_agent()
        agent["system_prompt"] = _text("system prompt", text)
        return self._with(document=document)

    def append_system_prompt(self, text: str) -> Self:
        """Appends to the system prompt of the agent that users talk to, after a blank line.

        Args:
            text: The text to append.
        """
        document, agent = self._opened_agent()
        there = agent.get("system_prompt") or ""
        if not isinstance(there, str):
            raise ValueError(f"system_prompt: expected text, got {type(there).__name__}")
        parts = (there.rstrip("\n"), _text("system prompt", text))
        agent["system_prompt"] = "\n\n".join(part for part in parts if part)
        return self._with(document=document)

    def with_model(
        self,
        *,
        provider: str | None = None,
        model: str | None = None,
        backend: Backend | None = None,
        base_url: str | None = None,
        api_key_secret: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> Self:
        """Sets the model of the agent that users talk to; settings that are left out stay unchanged.

        Args:
            provider: Name of the provider, such as `openai`.
            model: Name of the model.
            backend: Protocol that the provider speaks.
            base_url: URL of the provider, for example of a `FakeModelServer`.
            api_key_secret: Name of the app's secret with the provider's key. The secret itself is passed when
                the app is deployed, and never becomes part of the definition.
            temperature: Sampling temperature, 0 or more.
            max_tokens: Maximum number of tokens of an answer.

        Raises:
            ValueError: A value is out of range.
        """
        document, agent = self._opened_agent()
        brain = child(agent, "brain", "agents.brain")
        settings = {
            "provider": _optional_text("provider", provider),
            "model": _optional_text("model", model),
            "backend": None if backend is None else _one_of("backend", backend, BACKENDS),
            "temperature": _temperature(temperature),
            "max_tokens": _positive("max_tokens", max_tokens),
        }
        update(brain, settings)
        config = {"base_url": _optional_text("base_url", base_url), "api_key": _secret(api_key_secret)}
        if any(value is not None for value in config.values()):
            update(child(brain, "config", "agents.brain.config"), config)
        # A reference to a named provider or to a stored credential would override these settings.
        if provider or model or base_url:
            brain.pop("provider_id", None)
        if api_key_secret:
            brain.pop("credential", None)
        return self._with(document=document)

    def with_sub_agent(self, agent_id: str, system_prompt: str, *, model: str | None = None) -> Self:
        """Adds an agent that the agent that users talk to may start with the tool `Agent`.

        It has the model settings that this agent has now.

        Args:
            agent_id: Id of the new agent, the tool's argument `specialist`.
            system_prompt: Its system prompt.
            model: Name of its model; the same if left out.

        Raises:
            ValueError: The id is malformed or given twice.
        """
        if not _MODULE.fullmatch(agent_id):
            raise ValueError(f"malformed agent id {agent_id!r}")
        document, agent = self._opened_agent()
        if any(mapping(one).get("id") == agent_id for one in document["agents"]):
            raise ValueError(f"agent {agent_id!r} is there twice")
        brain = copy.deepcopy(child(agent, "brain", "agents.brain"))
        update(brain, {"model": _optional_text("model", model)})
        told = _text("system prompt", system_prompt)
        specialist = {"id": agent_id, "role": "specialist", "brain": brain, "system_prompt": told}
        document["agents"].append(specialist)
        module_block(document, "agent_spawn")
        return self._with(document=document)

    def with_mode(
        self,
        mode_id: str,
        *,
        label: str | None = None,
        system_prompt: str = "",
        tools: Iterable[str] | None = None,
    ) -> Self:
        """Adds a mode that users choose for a message. Without a choice, `auto` or the first one is active.

        Args:
            mode_id: Id of the mode.
            label: Its name for people; made from the id if left out.
            system_prompt: What the model is told when the mode becomes active.
            tools: The tools that it allows, such as `Bash` or `shell.bash`; all of them if left out.

        Raises:
            ValueError: The id is malformed, or a tool is of no known module.
        """
        if not _MODULE.fullmatch(mode_id):
            raise ValueError(f"malformed mode id {mode_id!r}")
        mode: dict[str, Any] = {"system_prompt": _text("system prompt", system_prompt)}
        if label is not None:
            mode["label"] = _text("label", label)
        if tools is not None:
            mode["tool_grants"] = [self._grant(one) for one in tools]
        document = self._opened()
        child(child(document, "runtime", "runtime"), "modes", "runtime.modes")[mode_id] = mode
        return self._with(document=document)

    def _grant(self, tool: str) -> dict[str, Any]:
        action = self._action(_tool_id(tool))
        if action is None:
            raise ValueError(f"tool {tool!r} is of no module that a mode could name")
        return {"module": action.module, "actions": [action.name]}

    def with_greeting(self, text: str) -> Self:
        """Sets the text that opens a session.

        Args:
            text: The greeting.
        """
        document = self._opened("greeting")
        child(document, "ui", "ui")["greeting"] = _text("greeting", text)
        return self._with(document=document)

    # --- tools

    def with_module(self, module_id: str, config: Mapping[str, object] | None = None) -> Self:
        """Adds a module of the daemon with all its tools.

        Args:
            module_id: Id of the module, such as `shell`.
            config: Its configuration; unchanged if left out.

        Raises:
            TypeError: The configuration contains something that JSON cannot express.
            ValueError: The id is malformed.
        """
        if not _MODULE.fullmatch(module_id):
            raise ValueError(f"malformed module id {module_id!r}")
        document = self._opened()
        block = module_block(document, module_id)
        constraints = block.get("constraints")
        if isinstance(constraints, dict):
            cast("dict[str, Any]", constraints).pop("allowed_actions", None)
        if config is not None:
            block["config"] = json_object(config)
        return self._with(document=document)

    def with_tools(self, *tools: str | ToolDefinition, requires_approval: bool = False) -> Self:
        """Offers tools to the model and allows it to call them, whatever the default policy.

        Args:
            tools: Names of tools, such as `Bash` or `shell.bash`. If the app does not use the module yet,
                only these tools of it become available. Names without a module, and a `ToolDefinition` with
                more than a name, work in the embedded daemon only.
            requires_approval: Whether the user has to approve each call.

        Raises:
            ValueError: A name is malformed or given twice, or the app hides or denies its whole module.
        """
        builder = self
        for tool in tools:
            builder = builder._with_offered(tool, requires_approval=requires_approval)
        return builder

    def with_tool(
        self,
        handler: ToolHandler,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        requires_approval: bool = False,
        risk_level: RiskLevel = "medium",
    ) -> Self:
        """Offers a tool that is implemented by a Python function, in the embedded daemon.

        The function is called when the model's script calls the tool without giving a result. Its arguments
        are validated against its annotations; a parameter annotated with `ToolContext` gets the session and
        the id of the call instead. It returns a mapping, a string, a pydantic model or None. An exception
        makes the call fail; `ToolFailed` and `ToolDenied` say what events and the model are told. An
        `async def` runs in the daemon's event loop, and an abort cancels it; any other function runs on its
        own thread, which cannot be interrupted.

        Args:
            handler: The function; every parameter needs a name, and without `parameters` an annotation.
            name: Name of the tool; that of the function if left out.
            description: What it does, for the model; the function's docstring if left out.
            parameters: JSON Schema of its arguments, for the model; made from the annotations if left out.
            requires_approval: Whether the user has to approve each call.
            risk_level: The risk level in its approval requests.

        Raises:
            TypeError: It is not a function that takes JSON values by name.
            ValueError: The name is malformed or given twice, or the risk level is unknown.
        """
        if not callable(handler):
            raise TypeError(f"expected a function, got {handler!r}")
        found = name if name is not None else getattr(handler, "__name__", None)
        if found is None:
            raise ValueError(f"{handler!r} has no name of its own; pass name=")
        tool = python_tool(
            handler,
            name=_tool_id(found),
            description=None if description is None else _text("description", description),
            parameters=parameters,
            requires_approval=requires_approval,
            risk_level=_one_of("risk_level", risk_level, RISK_LEVELS),
        )
        return self._with_own(tool.name, tool)

    def without_tools(self, *tools: str) -> Self:
        """Excludes tools: the model is not offered them, and calling them fails.

        Args:
            tools: Names of tools, such as `Bash` or `shell.bash`.

        Raises:
            ValueError: A name is malformed.
        """
        builder = self
        for tool in tools:
            builder = builder._with_excluded(_tool_id(tool))
        return builder

    def with_default_policy(self, policy: Policy) -> Self:
        """Sets what happens to calls of tools that are not granted individually.

        Args:
            policy: `auto` runs them, `approve` asks the user, `block` refuses them.

        Raises:
            ValueError: The policy is unknown.
        """
        document = self._opened()
        capabilities(document)["default_policy"] = _one_of("default policy", policy, POLICIES)
        return self._with(document=document)

    def with_max_risk_level(self, level: RiskLevel) -> Self:
        """Sets the highest risk of the tools that the daemon offers; `Bash` has the risk `high`.

        Args:
            level: The level.

        Raises:
            ValueError: The level is unknown.
        """
        document = self._opened()
        capabilities(document)["max_risk_level"] = _one_of("risk level", level, RISK_LEVELS)
        return self._with(document=document)

    def with_questions(self) -> Self:
        """Allows the agent to ask the user questions."""
        document = self._opened()
        enlist(document, ASK_USER, "grant")
        return self._with(document=document)

    def with_background_runs(self, *tools: str) -> Self:
        """Allows the agent to run tools in the background.

        Args:
            tools: The tools that it may run so, such as `Bash`; they are offered as by `with_tools`.

        Raises:
            ValueError: A name is malformed or given twice.
        """
        document = self._opened()
        enlist(document, BACKGROUND_RUN, "grant")
        return self._with(document=document).with_tools(*tools)

    # --- the result

    def to_yaml(self) -> str:
        """The definition as YAML, for any daemon.

        Raises:
            AppNotPortable: It has tools that only the embedded daemon can run.
        """
        source = self._source
        reasons = {
            name: "is a Python function"
            if isinstance(tool, PythonTool)
            else "has a definition of its own"
            if tool.description or tool.parameters or tool.risk_level
            else "is of no known module"
            for name, tool in source.own_tools.items()
        }
        reasons |= dict.fromkeys(source.own_exclusions, "is excluded and of no known module")
        if reasons:
            raise AppNotPortable(self.app_id, reasons)
        return write_yaml(source.document)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.app_id!r}>"

    # --- steps

    def _with(self, **changes: Any) -> Self:
        made = copy.copy(self)
        made._source = replace(self._source, **changes)
        return made

    def _opened(self, key: str = "") -> dict[str, Any]:
        """A copy of the document to change, without the flat form of a key, which would take precedence."""
        document = copy.deepcopy(self._source.document)
        if key:
            document.pop(key, None)
            app = document.get("app")
            if isinstance(app, dict):
                cast("dict[str, Any]", app).pop(key, None)
        return document

    def _opened_agent(self) -> tuple[dict[str, Any], dict[str, Any]]:
        flat = mapping(self._source.document.get("app")).get(
            "system_prompt", self._source.document.get("system_prompt")
        )
        document = self._opened("system_prompt")
        if not document.get("agents"):
            document["agents"] = [{"id": "main"}]
        agent = entry_agent(document)
        if agent is None:
            raise ValueError("agents: expected a list of mappings")
        if flat is not None:
            agent["system_prompt"] = flat
        return document, agent

    def _with_offered(self, tool: str | ToolDefinition, *, requires_approval: bool) -> Self:
        definition = tool if isinstance(tool, ToolDefinition) else ToolDefinition(tool)
        name = _tool_id(definition.name)
        action = self._action(name)
        needs_approval = requires_approval or definition.requires_approval
        if definition.description or definition.parameters or definition.risk_level or action is None:
            return self._with_own(name, replace(definition, requires_approval=needs_approval))
        document = self._opened()
        offer(document, action, requires_approval=needs_approval)
        return self._with(document=document, mentioned=self._mentioning(action.tool))

    def _with_own(self, name: str, tool: ToolDefinition | PythonTool) -> Self:
        document = self._opened()
        action = self._action(name)
        if action is not None:
            check_single(document, action, ("hidden_actions", "deny"))
            delist(document, action, ("hidden_actions", "deny"))
        return self._with(
            document=document,
            own_tools={**self._source.own_tools, name: tool},
            own_exclusions=tuple(one for one in self._source.own_exclusions if one != name),
            mentioned=self._mentioning(name),
        )

    def _mentioning(self, name: str) -> tuple[str, ...]:
        source = self._source
        action = self._action(name)
        is_excluded = name in source.own_exclusions or (
            action is not None and is_listed(source.document, action, "hidden_actions")
        )
        if name in source.mentioned and not is_excluded:
            raise ValueError(f"tool {name!r} is there twice")
        return (*(one for one in source.mentioned if one != name), name)

    def _with_excluded(self, name: str) -> Self:
        source = self._source
        own = {key: tool for key, tool in source.own_tools.items() if key != name}
        action = self._action(name)
        known = name if action is None or name in source.own_tools else action.tool
        mentioned = (*(one for one in source.mentioned if one != known), known)
        if action is None:
            exclusions = (*(one for one in source.own_exclusions if one != name), name)
            return self._with(own_tools=own, own_exclusions=exclusions, mentioned=mentioned)
        own.pop(action.tool, None)
        document = self._opened()
        delist(document, action, ("grant", "approve"))
        for rules in ("hidden_actions", "deny"):
            enlist(document, action, rules)
        return self._with(document=document, own_tools=own, mentioned=mentioned)

    def _action(self, name: str) -> Action | None:
        """The action behind a tool; None for one that the language cannot express."""
        modules = mapping(mapping(self._source.document.get("tools")).get("modules"))
        for module, block in modules.items():
            for action in strings(mapping(mapping(block).get("constraints")).get("allowed_actions")):
                if Action(str(module), action).tool == name:
                    return Action(str(module), action)
        if name in self._source.own_tools and "." in name:
            return None
        return action_of(name)


# --- checks


def _check_id(app_id: str) -> None:
    if not is_valid_id(app_id):
        raise ValueError(f"malformed app id {app_id!r} (contract: rest, section 1.4)")


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what}: expected text, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what}: not valid text: {error}") from error
    return value


def _optional_text(what: str, value: str | None) -> str | None:
    if value == "":
        raise ValueError(f"{what} must not be empty")
    return None if value is None else _text(what, value)


def _tool_id(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a tool, got {name!r}")
    if not _TOOL.fullmatch(name) or name.endswith("."):
        raise ValueError(f"malformed tool name {name!r}")
    return name


def _one_of(what: str, value: _V, known: tuple[_V, ...]) -> _V:
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}; known are {', '.join(map(str, known))}")
    return value


def _temperature(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise ValueError(f"temperature must be 0 or more, not {value}")
    return value


def _positive(what: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ValueError(f"{what} must be positive, not {value}")
    return value


def _secret(name: str | None) -> str | None:
    if name is None:
        return None
    if not _SECRET.fullmatch(name):
        # The name is not shown, because it may be the key itself, passed by mistake.
        raise ValueError("api_key_secret is the name of a secret, such as PROVIDER_KEY, not a key")
    return f"{{{{secret.{name}}}}}"


# --- reading


def _read_yaml(source: str | Path) -> dict[str, Any]:
    with needing("daemon", "AppBuilder.from_yaml"):
        import yaml
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
    try:
        document: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error
    if not isinstance(document, dict):
        hint = "" if isinstance(source, Path) else "; a path goes as a pathlib.Path"
        raise ValueError(
            f"not the definition of an app: expected a mapping, got {type(document).__name__}{hint}"
        )
    definition = cast("dict[str, Any]", document)
    _check_plain(definition, ())
    return definition


def _check_plain(value: object, inside: tuple[int, ...]) -> None:
    """Refuses values that could not be written back."""
    if id(value) in inside:
        raise ValueError("not the definition of an app: it contains itself")
    if isinstance(value, dict):
        found = cast("dict[object, object]", value)
        for one in (*found, *found.values()):
            _check_plain(one, (*inside, id(found)))
    elif isinstance(value, list):
        for one in cast("list[object]", value):
            _check_plain(one, (*inside, id(cast("list[object]", value))))
    elif not isinstance(value, str | int | float | date | None):
        raise ValueError(f"not the definition of an app: it holds a {type(value).__name__}")
