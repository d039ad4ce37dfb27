"""The scripted language model."""

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias

from digitorn.testing._app_language import ModelSettings
from digitorn.testing._generated._runtime import NOT_GIVEN, NotGiven
from digitorn.testing._tools import ToolDefinition, json_object, result_object

from ._failures import FAILURES, INTERNAL_ERROR, TurnFailed

ASK_USER = "ask_user"
"""Name of the tool by which an agent puts a question to the user."""

ToolResult: TypeAlias = Mapping[str, Any] | str | None
"""What a scripted tool returns; a text stands for `{"output": text}`."""


# --- what the model is asked


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
class ModelMessage:
    """One message of the conversation as the model sees it.

    Attributes:
        role: Who speaks.
        content: The text; of a tool, its result.
        tool_calls: Calls that the assistant asked for.
        tool_call_id: Call that a tool message answers.
    """

    role: Literal["user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ModelToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to the model.

    Attributes:
        system_prompt: The app's system prompt.
        messages: The conversation so far, oldest first.
        tools: What the model may call.
        app_id: App that asks.
        session_id: Session that asks.
        excluded_tools: Names of the tools that the app keeps from the model.
        model_settings: What the app says about its model.
    """

    system_prompt: str
    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolDefinition, ...]
    app_id: str
    session_id: str
    excluded_tools: tuple[str, ...] = ()
    model_settings: ModelSettings = field(default_factory=ModelSettings)

    @property
    def last_text(self) -> str:
        """Text of the last message; empty if there is none."""
        return self.messages[-1].content if self.messages else ""


# --- what the model answers


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answer costs, in tokens.

    Attributes:
        input_tokens: Tokens that were read.
        output_tokens: Tokens that were written.
    """

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """A text, in the pieces in which it is streamed; `delay` seconds lie between two of them."""

    chunks: tuple[str, ...]
    delay: float = 0.0
    thinking: str | None = None
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.chunks)


@dataclass(frozen=True, slots=True)
class ToolCallAnswer:
    """A tool call, with what the tool does: it runs `delay` seconds and gives `result` or `error`.

    Without a result the app's own handler runs, if it has one. Without a risk level the tool's counts.
    """

    name: str
    params: Mapping[str, Any]
    result: Mapping[str, Any] | NotGiven | None
    error: str
    requires_approval: bool
    risk_level: str | None
    description: str
    text: str
    delay: float


@dataclass(frozen=True, slots=True)
class FailureAnswer:
    """No answer: the request fails."""

    code: str
    message: str | None


ModelAnswer: TypeAlias = TextAnswer | ToolCallAnswer | FailureAnswer


@dataclass(frozen=True, slots=True)
class Scripted:
    """The next answer of a script.

    Attributes:
        answer: The answer.
        wait: Seconds that the model takes before it begins.
    """

    answer: ModelAnswer
    wait: float


@dataclass(slots=True)
class _Line:
    scripted: Scripted
    left: int | None


class FakeModel:
    """A model that answers by script: each request takes the next answer.

    The methods that add an answer return the model, so that they chain. It may be scripted from one
    thread while a daemon asks it from another. A request that finds the script used up fails.

        model = FakeModel()
        model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a.txt"})
        model.will_respond_with_text("There is one file.")
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[_Line] = deque()
        self._wait = 0.0
        self._requests: list[ModelRequest] = []

    # --- scripting

    def will_respond_with_text(self, text: str, *, usage: Usage | None = None, times: int | None = 1) -> Self:
        """Answers with a text in one piece.

        Args:
            text: The text.
            usage: What the answer costs; estimated from the text if left out.
            times: How many requests get this answer; None means every further one.

        Raises:
            ValueError: `times` is not positive, or the answer before this one never ends.
        """
        return self._add(TextAnswer((text,), usage=usage), times)

    def will_stream_text(
        self, chunks: Iterable[str], *, delay: float = 0.0, thinking: str | None = None, times: int | None = 1
    ) -> Self:
        """Answers with a text that is streamed piece by piece, one `token` event each.

        Args:
            chunks: The pieces.
            delay: Seconds between two pieces.
            thinking: Reasoning that is streamed before the text.
            times: How many requests get this answer; None means every further one.

        Raises:
            ValueError: `delay` is negative, `times` is not positive, or the answer before this one never
                ends.
        """
        if isinstance(chunks, str):
            raise ValueError("chunks is one text; pass the pieces, for example a list")
        return self._add(TextAnswer(tuple(chunks), _seconds("delay", delay), thinking), times)

    def will_call_tool(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        result: ToolResult | NotGiven = NOT_GIVEN,
        error: str = "",
        requires_approval: bool = False,
        risk_level: str | None = None,
        description: str = "",
        text: str = "",
        delay: float = 0.0,
    ) -> Self:
        """Calls a tool. Its result goes into the next request.

        What the tool does is scripted too, unless the app has a Python function for it: that runs when the
        script says neither `result` nor `error`.

        Args:
            name: Name of the tool.
            params: Arguments.
            result: What the tool returns. Left out, it comes from the app's function, and is None if there
                is none.
            error: Why the tool fails; empty means that it succeeds.
            requires_approval: Whether the user has to approve the call first, even if the app does not ask
                for it. A denied call fails, and the model is told so.
            risk_level: Risk that the approval names; the tool's if left out.
            description: What the call would do, for the approval.
            text: What the model says before the call.
            delay: Seconds that the tool runs.

        Raises:
            ValueError: `delay` is negative, or the answer before this one never ends.
            TypeError: `params` or `result` holds what JSON cannot.
        """
        answer = ToolCallAnswer(
            name=name,
            params=json_object(params or {}),
            result=result if isinstance(result, NotGiven) else result_object(result),
            error=error,
            requires_approval=requires_approval,
            risk_level=risk_level,
            description=description,
            text=text,
            delay=_seconds("delay", delay),
        )
        return self._add(answer, 1)

    def will_ask_user(self, question: str, *, choices: Sequence[str] = ()) -> Self:
        """Asks the user: an approval of the tool `ask_user`, whose message becomes the tool's result.

        Args:
            question: The question.
            choices: Answers to choose from; none means free text.

        Raises:
            ValueError: The answer before this one never ends.
        """
        if isinstance(choices, str):
            raise ValueError("choices is one text; pass the choices, for example a list")
        return self.will_call_tool(
            ASK_USER,
            {"question": question, "choices": list(choices)},
            requires_approval=True,
            risk_level="low",
            description=question,
        )

    def will_fail(self, code: str = "provider_error", message: str | None = None) -> Self:
        """Fails, and with it the turn (contract: events, section 7).

        Args:
            code: How the failure is classified; decides `category` and `retry` of the `error` event.
            message: Text for people; one that fits the code if left out.

        Raises:
            ValueError: The code is unknown, or the answer before this one never ends.
        """
        if code not in FAILURES:
            raise ValueError(f"unknown error code {code!r}; known are {', '.join(sorted(FAILURES))}")
        return self._add(FailureAnswer(code, message), 1)

    def will_wait(self, seconds: float) -> Self:
        """Takes its time before it begins with the next answer.

        Args:
            seconds: How long; adds up over several calls.

        Raises:
            ValueError: The time is negative.
        """
        with self._lock:
            self._wait += _seconds("seconds", seconds)
        return self

    def reset(self) -> None:
        """Forgets the script and the requests."""
        with self._lock:
            self._lines.clear()
            self._requests.clear()
            self._wait = 0.0

    # --- looking back

    @property
    def requests(self) -> list[ModelRequest]:
        """Every request so far, oldest first."""
        with self._lock:
            return list(self._requests)

    @property
    def last_request(self) -> ModelRequest | None:
        """The newest request; None before the first."""
        with self._lock:
            return self._requests[-1] if self._requests else None

    @property
    def request_count(self) -> int:
        """Number of requests so far."""
        with self._lock:
            return len(self._requests)

    # --- answering

    def take(self, request: ModelRequest) -> Scripted:
        """Logs a request and takes the next answer off the script.

        Args:
            request: What the model is asked.

        Raises:
            TurnFailed: The script is used up.
        """
        with self._lock:
            self._requests.append(request)
            if not self._lines:
                raise TurnFailed(INTERNAL_ERROR, _used_up(request, len(self._requests)))
            line = self._lines[0]
            if line.left is not None:
                line.left -= 1
                if not line.left:
                    self._lines.popleft()
            return line.scripted

    def _add(self, answer: ModelAnswer, times: int | None) -> Self:
        if times is not None and times < 1:
            raise ValueError(f"times must be positive or None, not {times}")
        with self._lock:
            if self._lines and self._lines[-1].left is None:
                raise ValueError("the answer before this one is for every further request; reset() first")
            self._lines.append(_Line(Scripted(answer, self._wait), times))
            self._wait = 0.0
        return self


def _seconds(name: str, value: float) -> float:
    if value < 0:
        raise ValueError(f"{name} must not be negative, not {value}")
    return value


def _used_up(request: ModelRequest, count: int) -> str:
    asked = request.last_text
    shown = asked if len(asked) <= 80 else asked[:77] + "..."
    return (
        f"the model's script is used up: request {count}, by session {request.session_id!r} of app "
        f"{request.app_id!r}, has no answer; it was asked {shown!r}"
    )
