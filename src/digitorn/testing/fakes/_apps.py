"""Apps of the embedded daemon: how they are defined, deployed and switched off."""

import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

import yaml

from ._model import FakeModel, ToolDefinition

RuntimeStatus: TypeAlias = Literal["running", "disabled", "broken", "not_deployed"]

_ID: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")


def is_valid_id(value: str) -> bool:
    """Whether a text has the form of an app or session id (contract: rest, Conventions)."""
    return _ID.fullmatch(value) is not None and ".." not in value and not value.endswith(".")


class DefinitionInvalid(Exception):
    """An app definition does not compile.

    Attributes:
        errors: What is wrong with it.
    """

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


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
        modules: Ids of the modules that it uses.
        agents: Ids of its agents.
        setup_steps: Number of setup steps.
        constrained_modules: Ids of the modules whose use is constrained.
        security_policy: Default policy for tool calls.
        max_risk_level: Highest risk level that a tool may have.
        skills: Number of skills.
    """

    app_id: str
    name: str
    version: str = "1.0.0"
    description: str = ""
    system_prompt: str = ""
    greeting: str = ""
    tools: tuple[ToolDefinition, ...] = ()
    modules: tuple[str, ...] = ()
    agents: tuple[str, ...] = ("main",)
    setup_steps: int = 0
    constrained_modules: tuple[str, ...] = ()
    security_policy: str | None = None
    max_risk_level: str | None = None
    skills: int = 0


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
        """An app, in whatever state; None if there is none."""
        with self._lock:
            return self._installed.get(app_id)

    def deployed(self, app_id: str) -> App | None:
        """An app that can be used; None if there is none."""
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


def tool_definitions(tools: Iterable[str | ToolDefinition]) -> tuple[ToolDefinition, ...]:
    """Tools, of which a name alone stands for one without description or parameters."""
    return tuple(ToolDefinition(one) if isinstance(one, str) else one for one in tools)


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
        self._app = _mapping(document.get("app"))
        self._tool_block = _mapping(self._value("tools"))
        self._security = _mapping(document.get("security")) or _mapping(self._tool_block.get("capabilities"))
        self._errors: list[str] = []

    @property
    def app_id(self) -> object:
        return self._app.get("app_id", self._document.get("app_id"))

    def definition(self) -> AppDefinition:
        app_id = self._valid_id()
        agents = [_mapping(one) for one in self._list("agents")]
        first_prompt = agents[0].get("system_prompt", "") if agents else ""
        definition = AppDefinition(
            app_id=app_id,
            name=self._text("name", app_id),
            version=self._text("version", "1.0.0"),
            description=self._text("description"),
            system_prompt=self._text("system_prompt", str(first_prompt)),
            greeting=self._text("greeting"),
            tools=self._tools(),
            modules=tuple(_mapping(self._tool_block.get("modules"))) or self._names("modules"),
            agents=tuple(str(one.get("id", f"agent-{n}")) for n, one in enumerate(agents, 1)) or ("main",),
            setup_steps=len(self._list("setup")),
            constrained_modules=self._names("constraints"),
            security_policy=_text_or_none(self._security.get("default_policy")),
            max_risk_level=_text_or_none(self._security.get("max_risk_level")),
            skills=len(self._list("skills")),
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

    def _tools(self) -> tuple[ToolDefinition, ...]:
        if self._tool_block:
            return ()
        tools: list[ToolDefinition] = []
        for place, one in enumerate(self._list("tools")):
            tool = _mapping(one)
            if isinstance(one, str):
                tools.append(ToolDefinition(one))
            elif isinstance(tool.get("name"), str):
                parameters = _mapping(tool.get("parameters"))
                tools.append(ToolDefinition(tool["name"], str(tool.get("description", "")), parameters))
            else:
                self._errors.append(f"tools.{place}: expected a name or a mapping with a name")
        return tuple(tools)


def _items(value: Any) -> list[Any]:
    return list(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
