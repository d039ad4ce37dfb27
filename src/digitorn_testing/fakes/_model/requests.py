"""What the model is asked."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from digitorn_testing._apps.language import ModelSettings
from digitorn_testing._apps.tools import ToolDefinition

_ADDENDUM: Final = (
    "# Client-side context (one-turn)\n\nThe iframe surfaces this signal because it observed state "
    "the user can't easily restate. Honour it for THIS turn only - do not echo it back unless the user "
    "asks.\n\n---\n\n"
)
_SUB_AGENT: Final = "You are a background sub-agent."


def framed_addendum(text: str) -> str:
    """The system message by which the daemon tells the model what a client says beside a message."""
    return _ADDENDUM + text


def addendum_of(system_message: str) -> str:
    """What a client says beside a message; empty if the system message is about something else."""
    return system_message.removeprefix(_ADDENDUM) if system_message.startswith(_ADDENDUM) else ""


@dataclass(frozen=True, slots=True)
class ModelToolCall:
    """A tool call that the model asked for.

    Attributes:
        id: Id of the call.
        name: Name of the tool.
        params: Arguments.
    """

    id: str
    name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelAttachment:
    """An image or a file that came with a message.

    Attributes:
        id: Id by which the daemon keeps it; empty over HTTP, where nobody says so.
        name: Name of the file.
        mime: Media type.
        data: Content.
        url: Address of an image that the model is to fetch itself; then it has no media type and no content.
    """

    id: str
    name: str
    mime: str
    data: bytes = field(repr=False)
    url: str = ""


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One message of the conversation as the model sees it.

    Attributes:
        role: Who speaks.
        content: The text; of a tool, its result. The daemon puts the text of attached files and the names of
            attached images into it.
        tool_calls: Calls that the assistant asked for.
        tool_call_id: Call that a tool message answers.
        images: Images that the user attached.
        files: Files that the user attached.
        directives: System messages that the daemon put next to it. They are part of the system prompt too.
    """

    role: Literal["user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ModelToolCall, ...] = ()
    tool_call_id: str | None = None
    images: tuple[ModelAttachment, ...] = ()
    files: tuple[ModelAttachment, ...] = ()
    directives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to the model.

    Attributes:
        system_prompt: The agent's system prompt, and the directives of the messages.
        messages: The conversation so far, oldest first.
        tools: What the model may call.
        app_id: App that asks; empty over HTTP, where nobody says so.
        session_id: Session that asks; empty over HTTP.
        excluded_tools: Names of the tools that the app keeps from the model.
        model_settings: What the app says about its model: provider, name, temperature.
        agent: Name of the agent that asks, as the app defines it; `generic` of a sub-agent that it does not
            define, and empty over HTTP.
        agent_id: Id of the agent: its name, or of a sub-agent its own; empty over HTTP.
        mode: The app's mode that is active; None without one, and over HTTP.
    """

    system_prompt: str
    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolDefinition, ...]
    app_id: str
    session_id: str
    excluded_tools: tuple[str, ...] = ()
    model_settings: ModelSettings = field(default_factory=ModelSettings)
    agent: str = ""
    agent_id: str = ""
    mode: str | None = None

    @property
    def last_text(self) -> str:
        """Text of the last message; empty if there is none."""
        return self.messages[-1].content if self.messages else ""

    @property
    def last_user_message(self) -> ModelMessage | None:
        """What the user said last; None if the user has said nothing."""
        return next((one for one in reversed(self.messages) if one.role == "user"), None)

    @property
    def images(self) -> tuple[ModelAttachment, ...]:
        """Images of the user's last message."""
        return self.last_user_message.images if self.last_user_message else ()

    @property
    def files(self) -> tuple[ModelAttachment, ...]:
        """Files of the user's last message."""
        return self.last_user_message.files if self.last_user_message else ()

    @property
    def system_addendum(self) -> str:
        """What the client said beside the user's last message, for the model only; empty if nothing."""
        directives = self.last_user_message.directives if self.last_user_message else ()
        return next((found for one in directives if (found := addendum_of(one))), "")

    @property
    def is_sub_agent(self) -> bool:
        """Whether a sub-agent asks, which the daemon tells it in its system prompt."""
        return self.system_prompt.startswith(_SUB_AGENT)

    def tool_results_of(self, name: str) -> tuple[str, ...]:
        """What a tool has returned since the model last spoke, one text a call.

        Args:
            name: Name of the tool.
        """
        behind = tuple(itertools.takewhile(lambda one: one.role == "tool", reversed(self.messages)))
        names = {call.id: call.name for message in self.messages for call in message.tool_calls}
        return tuple(one.content for one in reversed(behind) if names.get(one.tool_call_id or "") == name)
