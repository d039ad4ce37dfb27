"""The app language: the structure of a definition, and the names of its tools.

The contract says only that a definition is YAML (contract: rest, section 3.3). The rest comes from the
daemon's published documentation and has not been verified against a daemon.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

Policy: TypeAlias = Literal["auto", "approve", "block"]
"""What happens to a call: it runs, waits for the user, or is refused.

The values are the contract's (contract: rest, section 7.3).
"""

RiskLevel: TypeAlias = Literal["low", "medium", "high"]
"""How much harm a call could do."""

Backend: TypeAlias = Literal["openai_compat", "anthropic"]
"""The protocol that a provider speaks."""

POLICIES: Final[tuple[Policy, ...]] = ("auto", "approve", "block")
RISK_LEVELS: Final[tuple[RiskLevel, ...]] = ("low", "medium", "high")
BACKENDS: Final[tuple[Backend, ...]] = ("openai_compat", "anthropic")

_ID: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")

_SHORT_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "filesystem": {
        "read": "Read",
        "write": "Write",
        "edit": "Edit",
        "grep": "Grep",
        "glob": "Glob",
        "ls": "Ls",
    },
    "shell": {"bash": "Bash"},
    "web": {"search": "WebSearch", "fetch": "WebFetch"},
    "memory": {"remember": "Remember", "task_create": "TaskCreate", "task_update": "TaskUpdate"},
    "agent_spawn": {"agent": "Agent"},
    "workspace": {
        "write": "WsWrite",
        "read": "WsRead",
        "edit": "WsEdit",
        "glob": "WsGlob",
        "grep": "WsGrep",
        "delete": "WsDelete",
    },
    "lsp": {"diagnostics": "LintCheck", "check": "LintFile"},
}
"""The actions whose tools have names of their own, by module."""

_RISKY: Final = frozenset({"shell.bash"})
"""The actions whose risk is known to be high."""

_READING: Final[Mapping[str, frozenset[str]]] = {
    "filesystem": frozenset({"read", "grep", "glob", "ls"}),
    "web": frozenset({"search", "fetch"}),
    "workspace": frozenset({"read", "glob", "grep"}),
    "lsp": frozenset({"diagnostics", "check"}),
}
"""The actions that change nothing, by module."""


def is_valid_id(value: str) -> bool:
    """Whether a text is a well-formed app or session id (contract: rest, section 1.4)."""
    return _ID.fullmatch(value) is not None and ".." not in value and not value.endswith(".")


# --- tools


@dataclass(frozen=True, slots=True)
class Action:
    """An action of a module, which its app offers to the model as a tool.

    Attributes:
        module: Id of the module.
        name: Name of the action.
    """

    module: str
    name: str

    @property
    def tool(self) -> str:
        """Name of the tool: its own, or module and action run together (`git.commit` is `GitCommit`)."""
        short = _SHORT_NAMES.get(self.module, {}).get(self.name)
        return short or _pascal(self.module) + _pascal(self.name)


ASK_USER: Final = Action("context_builder", "ask_user")
"""Asks the user. Its module is part of every app."""

BACKGROUND_RUN: Final = Action("context_builder", "background_run")
"""Runs a tool in the background."""


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


_BY_TOOL: Final = {
    short: Action(module, name) for module, names in _SHORT_NAMES.items() for name, short in names.items()
}


def action_of(tool: str) -> Action | None:
    """The action behind a tool named like `Bash` or `shell.bash`; None if the name does not say."""
    module, dot, name = tool.rpartition(".")
    return Action(module, name) if dot and module and name else _BY_TOOL.get(tool)


def tool_name(tool: str) -> str:
    """The model's name for a tool named like `Bash` or `shell.bash`."""
    action = action_of(tool)
    return tool if action is None else action.tool


def action_name(tool: str) -> str:
    """The daemon's name for a tool named like `Bash` or `shell.bash`: `shell.bash`."""
    action = action_of(tool)
    return tool if action is None else f"{action.module}.{action.name}"


def risk_of(tool: str) -> RiskLevel:
    """The risk level of a tool named like `Bash` or `shell.bash`."""
    return "high" if action_name(tool) in _RISKY else "medium"


def known_actions(module: str) -> tuple[Action, ...]:
    """The actions of a module that this library knows."""
    return tuple(Action(module, name) for name in _SHORT_NAMES.get(module, {}))


def reads_only(tool: str) -> bool:
    """Whether a tool named like `Read` or `filesystem.read` is known to change nothing."""
    action = action_of(tool)
    return action is not None and action.name in _READING.get(action.module, ())


# --- documents


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, otherwise an empty mapping."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def entry_agent(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The agent that users talk to: the one that `runtime.entry_agent` names, otherwise the first."""
    found = document.get("agents")
    agents = cast("list[object]", found) if isinstance(found, list) else []
    wanted = mapping(document.get("runtime")).get("entry_agent")
    chosen = next((one for one in agents if wanted and mapping(one).get("id") == wanted), None)
    agent = chosen if chosen is not None else next(iter(agents), None)
    return cast("dict[str, Any]", agent) if isinstance(agent, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The model settings of an app; None for what it does not set.

    Attributes:
        provider: Name of the provider.
        model: Name of the model.
        backend: Protocol that the provider speaks.
        base_url: Where the provider is.
        api_key: Its key as the app writes it, usually a template like `{{secret.NAME}}`.
        temperature: Sampling temperature.
        max_tokens: Maximum number of tokens of an answer.
    """

    provider: str | None = None
    model: str | None = None
    backend: str | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    temperature: float | None = None
    max_tokens: int | None = None
