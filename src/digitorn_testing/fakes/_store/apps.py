"""Apps of the embedded daemon: how they are defined, deployed and switched off."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import yaml

from digitorn_testing._apps.builder import AppSource
from digitorn_testing._apps.language import (
    POLICIES,
    Action,
    ModelSettings,
    Policy,
    RiskLevel,
    entry_agent,
    is_valid_id,
    known_actions,
    mapping,
    risk_of,
    tool_name,
)
from digitorn_testing._apps.tools import PythonTool, ToolDefinition
from digitorn_testing._generated.events import DISPATCHER_TOOLS
from digitorn_testing._generated.models import TriggerInfo
from digitorn_testing.fakes._model.model import FakeModel
from digitorn_testing.fakes._model.script import ASK_USER

RuntimeStatus: TypeAlias = Literal["running", "disabled", "broken", "not_deployed"]

_ALWAYS_OFFERED: Final = (ASK_USER, *DISPATCHER_TOOLS)
"""What agents have without a module."""

MODEL_NAME: Final = "fake-model"
"""Name of the model of an app that names none."""

_T = TypeVar("_T")
_N = TypeVar("_N", int, float)


class DefinitionInvalid(ValueError):
    """An app definition does not compile.

    Attributes:
        errors: What is wrong with it.
    """

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.errors,), vars(self)


@dataclass(frozen=True, slots=True)
class ActionRule:
    """An entry of a list of the capabilities.

    Attributes:
        module: Id of the module.
        actions: Names of its actions; empty for all of them.
    """

    module: str
    actions: tuple[str, ...] = ()

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the tools that it is about, as far as they are known."""
        named = tuple(Action(self.module, one) for one in self.actions)
        return tuple(one.tool for one in named or known_actions(self.module))


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What becomes of calls. The risk of a tool is not known here, so that it does not count.

    Attributes:
        default_policy: Of tools that are on no list.
        grant: What runs.
        approve: What the user is asked for.
        deny: What is refused.
    """

    default_policy: Policy = "auto"
    grant: tuple[ActionRule, ...] = ()
    approve: tuple[ActionRule, ...] = ()
    deny: tuple[ActionRule, ...] = ()

    def policy_of(self, tool: str) -> Policy:
        """What becomes of a call. What is refused outweighs what is asked for, and that what runs."""
        if tool == ASK_USER:
            # Agents have it without a module, and no policy is about it.
            return "auto"
        lists: tuple[tuple[Policy, tuple[ActionRule, ...]], ...] = (
            ("block", self.deny),
            ("approve", self.approve),
            ("auto", self.grant),
        )
        for policy, rules in lists:
            if any(tool in rule.tools for rule in rules):
                return policy
        return self.default_policy


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts an app in the background.

    Attributes:
        info: It as the contract shows it.
        message: What the app is told; empty for a text that names the trigger.
        routing: How its background sessions are chosen.
    """

    info: TriggerInfo
    message: str
    routing: str


@dataclass(frozen=True, slots=True)
class CredentialProvider:
    """Whom an app needs a credential for.

    Attributes:
        name: The provider.
        type: Kind of credential.
        scope: Who may use it.
    """

    name: str
    type: str
    scope: str


@dataclass(frozen=True, slots=True)
class Specialist:
    """An agent that others may start.

    Attributes:
        system_prompt: Its system prompt.
        model_settings: What the app says about its model.
    """

    system_prompt: str
    model_settings: ModelSettings


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to talk that the user may choose.

    Attributes:
        label: Its name for people.
        system_prompt: What the model is told when it becomes active.
        grants: What the model may call; None for all.
    """

    label: str
    system_prompt: str = ""
    grants: tuple[ActionRule, ...] | None = None

    def allowed(self, tools: Iterable[str]) -> tuple[str, ...] | None:
        """The tools that it allows; None for all."""
        if self.grants is None:
            return None
        granted = {name for rule in self.grants for name in rule.tools}
        return tuple(sorted(name for name in tools if name in granted))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDefinition:
    """What an app is made of.

    Attributes:
        app_id: Id of the app.
        name: Name of the app.
        version: Version of the app.
        description: What it does.
        system_prompt: System prompt of its agent.
        greeting: Text that opens a session.
        tools: Tools that its agent may call.
        excluded_tools: Names of tools that its agent is not offered and may not call.
        python_tools: Tools that a Python function runs, by name.
        capabilities: What becomes of calls.
        model_settings: What it says about its model.
        modules: Ids of the modules that it uses.
        has_whole_modules: Whether it uses a module with all its actions, which are not all known here.
        agents: Ids of its agents.
        specialists: The agents that its agent may start, by id.
        modes: Its modes, by id.
        setup_steps: Number of setup steps.
        constrained_modules: Ids of the modules whose use is constrained.
        security_policy: Default policy for tool calls.
        max_risk_level: Highest risk level that a tool may have.
        skills: Number of skills.
        mode: How the app runs, such as `conversation` or `background`.
        triggers: What starts it in the background.
        has_many_sessions: Whether a user may have several background sessions.
        most_sessions: How many a user may have; 0 for any number.
        credential_providers: Whom it needs credentials for.
    """

    app_id: str
    name: str
    version: str = "1.0.0"
    description: str = ""
    system_prompt: str = ""
    greeting: str = ""
    tools: tuple[ToolDefinition, ...] = ()
    excluded_tools: tuple[str, ...] = ()
    python_tools: Mapping[str, PythonTool] = field(default_factory=dict[str, PythonTool])
    capabilities: Capabilities = Capabilities()
    model_settings: ModelSettings = field(default_factory=ModelSettings)
    modules: tuple[str, ...] = ()
    has_whole_modules: bool = False
    agents: tuple[str, ...] = ("main",)
    specialists: Mapping[str, Specialist] = field(default_factory=dict[str, Specialist])
    modes: Mapping[str, Mode] = field(default_factory=dict[str, Mode])
    setup_steps: int = 0
    constrained_modules: tuple[str, ...] = ()
    security_policy: str | None = None
    max_risk_level: str | None = None
    skills: int = 0
    mode: str = "conversation"
    triggers: tuple[Trigger, ...] = ()
    has_many_sessions: bool = False
    most_sessions: int = 10
    credential_providers: tuple[CredentialProvider, ...] = ()

    def trigger(self, trigger_id: str) -> Trigger | None:
        """The trigger of an id, or None."""
        return next((one for one in self.triggers if one.info.id == trigger_id), None)

    @property
    def model_name(self) -> str:
        """Name of its model."""
        return self.model_settings.model or MODEL_NAME

    @property
    def default_mode(self) -> str | None:
        """Id of the mode that is active if nobody chooses one."""
        return "auto" if "auto" in self.modes else next(iter(self.modes), None)

    def refusal(self, tool: str) -> str:
        """Why a tool may not be called; empty if it may."""
        name = tool if tool in self.python_tools else tool_name(tool)
        if tool in self.excluded_tools or name in self.excluded_tools:
            return f"The tool {tool!r} is excluded from app {self.app_id!r}"
        if tool not in self.python_tools and self.capabilities.policy_of(name) == "block":
            return f"The tool {tool!r} is blocked by the policy of app {self.app_id!r}"
        offered = [one.name for one in self.tools]
        if offered and not self.has_whole_modules and not {tool, name} & {*offered, *_ALWAYS_OFFERED}:
            return f"App {self.app_id!r} offers no tool {tool!r}; its tools are {', '.join(offered)}"
        return ""

    def requires_approval(self, tool: str) -> bool:
        """Whether the user has to approve a call of a tool."""
        own = self.tool(tool)
        if own is not None and (own.requires_approval or tool in self.python_tools):
            return own.requires_approval
        return self.capabilities.policy_of(tool_name(tool)) == "approve"

    def tool(self, name: str) -> ToolDefinition | None:
        """A tool that the app offers, or None."""
        return next((one for one in self.tools if one.name == name), None)

    def risk_of(self, tool: str) -> RiskLevel:
        """The risk level in approval requests for a tool."""
        own = self.tool(tool)
        return own.risk_level if own is not None and own.risk_level is not None else risk_of(tool)


@dataclass(slots=True)
class App:
    """An app that is installed.

    Attributes:
        definition: What it is made of.
        model: Who answers for its agent.
        status: Whether it can be used.
        installed_at: When it was installed, seconds since the Unix epoch.
        deployed_at: When it was last deployed, seconds since the Unix epoch.
    """

    definition: AppDefinition
    model: FakeModel
    status: RuntimeStatus = "not_deployed"
    installed_at: float = field(default_factory=time.time)
    deployed_at: float | None = None

    @property
    def app_id(self) -> str:
        """Id of the app."""
        return self.definition.app_id

    def deploy(self) -> None:
        """Makes it usable."""
        self.status = "running"
        self.deployed_at = time.time()


@dataclass(frozen=True, slots=True)
class DeployFailure:
    """Why the last deployment of an app failed.

    Attributes:
        error: The reason.
        failed_at: When it failed, seconds since the Unix epoch.
        yaml_path: File that failed; None for an upload.
    """

    error: str
    failed_at: float
    yaml_path: str | None


class Apps:
    """The apps of one daemon. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._installed: dict[str, App] = {}
        self._failures: dict[str, DeployFailure] = {}

    def put(self, app: App) -> None:
        """Installs an app; one of the same id is replaced."""
        with self._lock:
            self._installed[app.app_id] = app
            self._failures.pop(app.app_id, None)

    def remove(self, app_id: str) -> None:
        """Removes an app."""
        with self._lock:
            self._installed.pop(app_id, None)

    def installed(self, app_id: str) -> App | None:
        """An app in any state, or None."""
        with self._lock:
            return self._installed.get(app_id)

    def deployed(self, app_id: str) -> App | None:
        """An app that can be used, or None."""
        app = self.installed(app_id)
        return app if app is not None and app.status == "running" else None

    def all(self) -> list[App]:
        """Every app, in order of installation."""
        with self._lock:
            return list(self._installed.values())

    def record_failure(self, app_id: str, error: str, yaml_path: str | None) -> None:
        """Notes why a deployment failed."""
        with self._lock:
            self._failures[app_id] = DeployFailure(error, time.time(), yaml_path)

    def failure(self, app_id: str) -> DeployFailure | None:
        """Why the last deployment failed; None if it did not."""
        with self._lock:
            return self._failures.get(app_id)


# --- compiling


def compile_source(source: AppSource) -> AppDefinition:
    """The app that a builder has put together.

    Raises:
        DefinitionInvalid: It does not define an app.
    """
    definition = _Compiler(source.document).definition()
    own = source.own_tools
    defined = (one.definition if isinstance(one, PythonTool) else one for one in own.values())
    tools = (*(one for one in definition.tools if one.name not in own), *defined)
    excluded = (*definition.excluded_tools, *source.own_exclusions)
    return replace(
        definition,
        tools=_in_order(tools, [one.name for one in tools], source.mentioned),
        excluded_tools=_in_order(excluded, excluded, source.mentioned),
        python_tools={name: one for name, one in own.items() if isinstance(one, PythonTool)},
    )


def _in_order(values: Sequence[_T], names: Sequence[str], order: Sequence[str]) -> tuple[_T, ...]:
    """Values in the order in which their names were mentioned, before them those that were not."""
    places = {name: place for place, name in enumerate(order)}
    by_name = sorted(zip(names, values, strict=True), key=lambda pair: places.get(pair[0], -1))
    return tuple(value for _, value in by_name)


def compile_definition(text: str) -> AppDefinition:
    """The app in a YAML text: its ids under `app` or at the top, its prompt there or at its first agent.

    `tools` is either a list of tools or, as in the app language, a block with `modules` and `capabilities`.

    Raises:
        DefinitionInvalid: The text does not define an app.
    """
    try:
        document: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DefinitionInvalid([f"not YAML: {error}"]) from error
    if not isinstance(document, dict):
        raise DefinitionInvalid([f"expected a mapping, got {type(document).__name__}"])
    return _Compiler(cast("dict[str, Any]", document)).definition()


def declared_id(text: str) -> str | None:
    """The app id in a YAML text that need not compile; None if it cannot be read."""
    try:
        document: object = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    if not isinstance(document, dict):
        return None
    found = _Compiler(cast("dict[str, Any]", document)).app_id
    return found if isinstance(found, str) and is_valid_id(found) else None


class _Compiler:
    """Reads one document and collects everything that is wrong with it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._app = mapping(document.get("app"))
        self._tool_block = mapping(self._value("tools"))
        self._modules = mapping(self._tool_block.get("modules"))
        self._granted = mapping(self._tool_block.get("capabilities"))
        self._security = mapping(document.get("security")) or self._granted
        self._runtime = mapping(document.get("runtime"))
        self._errors: list[str] = []

    @property
    def app_id(self) -> object:
        return self._app.get("app_id", self._document.get("app_id"))

    def definition(self) -> AppDefinition:
        app_id = self._valid_id()
        agents = [mapping(one) for one in self._list("agents")]
        agent = entry_agent(self._document) or {}
        excluded = self._excluded()
        modules = tuple(str(one) for one in self._modules) or self._names("modules")
        definition = AppDefinition(
            app_id=app_id,
            name=self._text("name", app_id),
            version=self._text("version", "1.0.0"),
            description=self._text("description"),
            system_prompt=self._text("system_prompt", _as_text(agent.get("system_prompt"))),
            greeting=self._text("greeting", _as_text(mapping(self._document.get("ui")).get("greeting"))),
            tools=tuple(one for one in self._tools() if one.name not in excluded),
            excluded_tools=excluded,
            capabilities=self._capabilities(),
            model_settings=self._model_settings(mapping(agent.get("brain"))),
            modules=modules,
            has_whole_modules=any(not _allowed(self._modules.get(one)) for one in modules),
            agents=tuple(str(one.get("id", f"agent-{n}")) for n, one in enumerate(agents, 1)) or ("main",),
            specialists={
                str(one.get("id")): Specialist(
                    _as_text(one.get("system_prompt")), self._model_settings(mapping(one.get("brain")))
                )
                for one in agents
                if one is not agent
            },
            modes=self._modes(),
            setup_steps=len(self._list("setup")),
            constrained_modules=self._names("constraints"),
            security_policy=_text_or_none(self._security.get("default_policy")),
            max_risk_level=_text_or_none(self._security.get("max_risk_level")),
            skills=len(self._list("skills")),
            mode=str(self._runtime.get("mode", "conversation")),
            triggers=tuple(self._triggers()),
            has_many_sessions=self._runtime.get("session_mode") == "multi",
            most_sessions=int(self._runtime.get("max_sessions_per_user", 10)),
            credential_providers=tuple(self._credential_providers()),
        )
        if self._errors:
            raise DefinitionInvalid(self._errors)
        return definition

    def _value(self, key: str) -> object:
        return self._app.get(key, self._document.get(key))

    def _valid_id(self) -> str:
        found = self.app_id
        if isinstance(found, str) and is_valid_id(found):
            return found
        self._errors.append("app_id: missing" if found is None else f"app_id: malformed: {found!r}")
        return ""

    def _text(self, key: str, default: str = "") -> str:
        found = self._value(key)
        if found is None:
            return default
        if isinstance(found, str | int | float):
            return str(found)
        self._errors.append(f"{key}: expected text, got {type(found).__name__}")
        return default

    def _list(self, key: str) -> list[Any]:
        found = self._value(key)
        if found is None:
            return []
        if isinstance(found, list):
            return _items(found)
        self._errors.append(f"{key}: expected a list, got {type(found).__name__}")
        return []

    def _names(self, key: str) -> tuple[str, ...]:
        found = self._value(key)
        if isinstance(found, dict):
            return tuple(str(name) for name in _items(found))
        return tuple(str(name) for name in self._list(key))

    # --- what it does without a user

    def _triggers(self) -> Iterator[Trigger]:
        for place, one in enumerate(_sequence(self._runtime.get("triggers"))):
            block = mapping(one)
            if not isinstance(block.get("id"), str) or not isinstance(block.get("type"), str):
                self._errors.append(f"runtime.triggers.{place}: expected an id and a type")
                continue
            info = TriggerInfo(
                id=block["id"],
                type=block["type"],
                schedule=_as_text(block.get("schedule")),
                path=_as_text(block.get("path")),
                method=_as_text(block.get("method")) or "POST",
                paths=[str(path) for path in _sequence(block.get("paths"))],
            )
            routing = _as_text(block.get("routing")) or "broadcast"
            yield Trigger(info, _as_text(block.get("message")), routing)

    def _credential_providers(self) -> Iterator[CredentialProvider]:
        schema = mapping(mapping(self._document.get("security")).get("credentials_schema"))
        for one in _sequence(schema.get("providers")):
            block = mapping(one)
            yield CredentialProvider(
                str(block.get("name")), str(block.get("type", "api_key")), str(block.get("scope", "per_user"))
            )

    # --- tools

    def _tools(self) -> tuple[ToolDefinition, ...]:
        if self._tool_block:
            return tuple(
                ToolDefinition(one.tool)
                for module, block in self._modules.items()
                for one in _actions(module, block)
            )
        tools: list[ToolDefinition] = []
        for place, one in enumerate(self._list("tools")):
            tool = mapping(one)
            if isinstance(one, str):
                tools.append(ToolDefinition(one))
            elif isinstance(tool.get("name"), str):
                parameters = mapping(tool.get("parameters"))
                tools.append(ToolDefinition(tool["name"], str(tool.get("description", "")), parameters))
            else:
                self._errors.append(f"tools.{place}: expected a name or a mapping with a name")
        return tuple(tools)

    def _excluded(self) -> tuple[str, ...]:
        rules = [
            *self._rules("hidden_actions"),
            *(ActionRule(str(one)) for one in _sequence(self._granted.get("hidden_modules"))),
            *(
                ActionRule(str(module), (str(action),))
                for module, block in self._modules.items()
                for action in _sequence(_constraints(block).get("blocked_actions"))
            ),
        ]
        return tuple(dict.fromkeys(name for rule in rules for name in rule.tools))

    def _capabilities(self) -> Capabilities:
        if not self._granted:
            return Capabilities()
        # An app with capabilities that say nothing of it asks for approval.
        policy = self._granted.get("default_policy", "approve")
        if policy not in POLICIES:
            self._errors.append(f"tools.capabilities.default_policy: unknown policy {policy!r}")
            return Capabilities()
        return Capabilities(
            default_policy=policy,
            grant=self._rules("grant"),
            approve=self._rules("approve"),
            deny=self._rules("deny"),
        )

    def _rules(self, key: str) -> tuple[ActionRule, ...]:
        return self._rule_list(f"tools.capabilities.{key}", self._granted.get(key))

    def _rule_list(self, key: str, listed: object) -> tuple[ActionRule, ...]:
        rules: list[ActionRule] = []
        for place, one in enumerate(_sequence(listed)):
            rule = mapping(one)
            if isinstance(rule.get("module"), str):
                actions = tuple(str(action) for action in _sequence(rule.get("actions")))
                rules.append(ActionRule(rule["module"], actions))
            else:
                self._errors.append(f"{key}.{place}: expected a mapping with a module")
        return tuple(rules)

    def _modes(self) -> dict[str, Mode]:
        modes: dict[str, Mode] = {}
        for name, one in mapping(mapping(self._document.get("runtime")).get("modes")).items():
            mode = mapping(one)
            label = _as_text(mode.get("label")) or str(name).capitalize()
            grants = self._rule_list(f"runtime.modes.{name}.tool_grants", mode.get("tool_grants"))
            modes[str(name)] = Mode(label, _as_text(mode.get("system_prompt")), grants or None)
        return modes

    # --- model

    def _model_settings(self, brain: Mapping[str, Any]) -> ModelSettings:
        config = mapping(brain.get("config"))
        return ModelSettings(
            provider=_text_or_none(brain.get("provider")),
            model=_text_or_none(brain.get("model")),
            backend=_text_or_none(brain.get("backend")),
            base_url=_text_or_none(config.get("base_url")),
            api_key=_text_or_none(config.get("api_key")),
            temperature=self._number(brain, "temperature", float),
            max_tokens=self._number(brain, "max_tokens", int),
        )

    def _number(self, brain: Mapping[str, Any], key: str, kind: type[_N]) -> _N | None:
        found: object = brain.get(key)
        if found is None:
            return None
        if isinstance(found, int | float) and not isinstance(found, bool) and kind(found) == found:
            return kind(found)
        self._errors.append(f"agents.brain.{key}: expected a number, got {found!r}")
        return None


def _actions(module: object, block: object) -> tuple[Action, ...]:
    """What a module offers: what its constraints allow, else every action of it that is known."""
    return tuple(Action(str(module), one) for one in _allowed(block)) or known_actions(str(module))


def _allowed(block: object) -> list[str]:
    """The actions that the constraints of a module name; empty if they allow all."""
    return [str(one) for one in _sequence(_constraints(block).get("allowed_actions"))]


def _constraints(block: object) -> Mapping[str, Any]:
    return mapping(mapping(block).get("constraints"))


def _sequence(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _items(value: Any) -> list[Any]:
    return list(value)


def _as_text(value: object) -> str:
    return "" if value is None else str(value)


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
