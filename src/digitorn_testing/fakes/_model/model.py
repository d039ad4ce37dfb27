"""The scripted language model."""

import itertools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Self

from digitorn_testing._apps.language import ModelSettings
from digitorn_testing._apps.tools import ToolDefinition
from digitorn_testing._errors import DigitornError
from digitorn_testing._events.failures import INTERNAL_ERROR

from .failures import TurnFailed
from .script import Script, Scripted, check_text, check_times, shown

_MOST_MESSAGES: Final = 6
_LONGEST_MESSAGE: Final = 200


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
        content: The text; of a tool, its result.
        tool_calls: Calls that the assistant asked for.
        tool_call_id: Call that a tool message answers.
        images: Images that the user attached.
    """

    role: Literal["user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ModelToolCall, ...] = ()
    tool_call_id: str | None = None
    images: tuple[ModelAttachment, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to the model.

    Attributes:
        system_prompt: The app's system prompt.
        messages: The conversation so far, oldest first.
        tools: What the model may call.
        app_id: App that asks; empty over HTTP, where nobody says so.
        session_id: Session that asks; empty over HTTP.
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

    def tool_results_of(self, name: str) -> tuple[str, ...]:
        """What a tool has returned since the model last spoke, one text a call.

        Args:
            name: Name of the tool.
        """
        behind = tuple(itertools.takewhile(lambda one: one.role == "tool", reversed(self.messages)))
        names = {call.id: call.name for message in self.messages for call in message.tool_calls}
        return tuple(one.content for one in reversed(behind) if names.get(one.tool_call_id or "") == name)


# --- what it answers


@dataclass(frozen=True, slots=True)
class _Condition:
    predicate: Callable[[ModelRequest], bool] | None
    contains: str | None
    pattern: re.Pattern[str] | None
    tool_result_of: str | None

    def fits(self, request: ModelRequest) -> bool:
        is_about_text = self.contains is not None or self.pattern is not None
        if self.tool_result_of is not None:
            texts = request.tool_results_of(self.tool_result_of)
        else:
            texts = tuple(one.content for one in request.messages[-1:] if one.role == "user")
        if (self.tool_result_of is not None or is_about_text) and not any(map(self._finds, texts)):
            return False
        return self.predicate is None or self.predicate(request)

    def _finds(self, text: str) -> bool:
        return (self.contains is None or self.contains in text) and (
            self.pattern is None or self.pattern.search(text) is not None
        )

    def __str__(self) -> str:
        pattern = None if self.pattern is None else self.pattern.pattern
        conditions = {"contains": self.contains, "matches": pattern, "tool_result_of": self.tool_result_of}
        named = [f"{name}={value!r}" for name, value in conditions.items() if value is not None]
        if self.predicate is not None:
            named.insert(0, getattr(self.predicate, "__qualname__", repr(self.predicate)))
        return ", ".join(named)


class ModelRule(Script):
    """Answers for the requests that fit a condition, one after another; the last one again and again,
    unless its `times` says how often.

    `FakeModel.when` makes one.
    """

    _repeats_last = True

    def __init__(self, condition: _Condition, times: int | None, lock: "threading.RLock") -> None:
        super().__init__(lock)
        self._condition = condition
        self._times = times

    def __repr__(self) -> str:
        return f"when({self._condition})"

    def fits(self, request: ModelRequest) -> bool:
        """Whether it answers a request now.

        Args:
            request: What the model is asked.
        """
        return bool(self._lines) and not self._is_over and self._condition.fits(request)

    @property
    def _is_over(self) -> bool:
        return self._given == self._times or (self._is_bounded and all(one.is_used_up for one in self._lines))

    @property
    def _is_bounded(self) -> bool:
        """Whether the last answer is not given again and again."""
        return bool(self._lines) and self._lines[-1].is_bounded

    @property
    def _given(self) -> int:
        return sum(one.given for one in self._lines)

    def _leftover(self) -> list[str]:
        if not self._lines:
            return [f"{self!r}: no answer"]
        may_go_unused = self._times is None and not self._is_bounded
        return [] if may_go_unused or self._is_over else self._shown()

    def _shown(self) -> list[str]:
        of = "" if self._times is None else f" of {self._times}"
        answers = ", then ".join(str(one.scripted.answer) for one in self._lines) or "no answer"
        return [f"{self!r}: {answers} (given {self._given}{of})"]


class ScriptMismatch(DigitornError, AssertionError):
    """A model was asked what its script does not answer, or its script holds more than was asked.

    Attributes:
        unscripted: Requests without an answer.
        leftover: Answers that nobody asked for, in words.
    """

    def __init__(
        self, message: str, unscripted: tuple[ModelRequest, ...] = (), leftover: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.unscripted = unscripted
        self.leftover = leftover


class ModelRequestTimeout(DigitornError, TimeoutError):
    """A model was not asked as often as awaited, in time.

    Attributes:
        requests: The requests that did arrive, oldest first.
    """

    def __init__(self, message: str, requests: tuple[ModelRequest, ...] = ()) -> None:
        super().__init__(message)
        self.requests = requests


@dataclass(frozen=True, slots=True)
class _Unscripted:
    number: int
    request: ModelRequest
    reason: str


class FakeModel(Script):
    """A model that answers by script: by the first rule that fits a request, else by the next of its queue.

    The methods that add an answer return the model, so that they chain. It may be scripted from one
    thread while a daemon asks it from another. A request without an answer fails, and is remembered: leaving
    the model as a context manager raises `ScriptMismatch` then.

        with FakeModel() as model:
            model.when(contains="weather").will_respond_with_text("Sunny.")
            model.will_call_tool("Bash", {"command": "ls"}, result={"stdout": "a.txt"})
            model.will_respond_with_text("There is one file.")
            ...
    """

    def __init__(self) -> None:
        super().__init__()
        self._rules: list[ModelRule] = []
        self._requests: list[ModelRequest] = []
        self._asked = threading.Condition(self._lock)
        self._unscripted: list[_Unscripted] = []

    # --- scripting

    def when(
        self,
        predicate: Callable[[ModelRequest], bool] | None = None,
        *,
        contains: str | None = None,
        matches: str | re.Pattern[str] | None = None,
        tool_result_of: str | None = None,
        times: int | None = None,
    ) -> ModelRule:
        """Answers of their own for requests that fit; what is given of the conditions must all hold.

        Rules go before the queue, in the order in which they were made. A rule gives its answers in order,
        and its last one again and again, unless that says itself how often: a rule whose answers are used up
        counts no more.

        Args:
            predicate: Whether a request fits.
            contains: What occurs in the user's message that the request ends with, or, with
                `tool_result_of`, in a result of that tool. Case counts.
            matches: Regular expression that finds something there.
            tool_result_of: Tool whose result the request ends with: the answer to what the tool returned.
            times: How many requests it answers before it counts no more; None means all.

        Raises:
            ValueError: There is no condition or an empty one, `times` is not positive, or `matches` is no
                regular expression.
            TypeError: `predicate` cannot be called, or `contains` or `tool_result_of` is no text.
        """
        check_times(times)
        if predicate is not None and not callable(predicate):
            raise TypeError(f"a predicate takes a request, got {predicate!r}; a text goes to contains=")
        for name, text in {
            "contains": contains,
            "matches": matches,
            "tool_result_of": tool_result_of,
        }.items():
            if text == "":
                raise ValueError(f"{name} is empty, so that it says nothing of a request")
        for name, text in {"contains": contains, "tool_result_of": tool_result_of}.items():
            if text is not None:
                check_text(name, text)
        condition = _Condition(predicate, contains, _compiled(matches), tool_result_of)
        if not str(condition):
            raise ValueError("a rule needs a condition; answers for every request go to the model itself")
        rule = ModelRule(condition, times, self._lock)
        with self._lock:
            self._rules.append(rule)
        return rule

    def reset(self) -> None:
        """Forgets the script, its rules and the requests."""
        with self._lock:
            self._clear()
            self._rules.clear()
            self._requests.clear()
            self._unscripted.clear()

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

    def wait_for_requests(self, count: int, *, timeout: float) -> list[ModelRequest]:
        """Waits until the model was asked so many times.

        It blocks the calling thread; in a coroutine, await `asyncio.to_thread(model.wait_for_requests, …)`.

        Args:
            count: Number of requests since the model was made or reset.
            timeout: Deadline in seconds.

        Returns:
            The first `count` requests, oldest first.

        Raises:
            ModelRequestTimeout: Fewer arrived in time; it lists them.
            ValueError: `count` is not positive.
        """
        if count < 1:
            raise ValueError(f"count must be positive, not {count}")
        with self._asked:
            if self._asked.wait_for(lambda: len(self._requests) >= count, timeout):
                return self._requests[:count]
            found = tuple(self._requests)
        lines = [f"{len(found)} of {count} requests arrived within {timeout:g} s", *map(_request_line, found)]
        raise ModelRequestTimeout("\n".join(lines), found)

    @property
    def unscripted_requests(self) -> list[ModelRequest]:
        """The requests that had no answer, oldest first."""
        with self._lock:
            return [one.request for one in self._unscripted]

    def assert_exhausted(self) -> None:
        """Checks that every request had an answer, and that every answer of the script was asked for.

        Answers for every further request, and rules without any `times`, need not have been asked for.

        Raises:
            ScriptMismatch: That is not so; it says what was asked and what was scripted.
        """
        self._check(with_leftover=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Checks that every request had an answer. An error on its way out gets a note instead.

        Raises:
            ScriptMismatch: A request had none.
        """
        try:
            self._check(with_leftover=False)
        except ScriptMismatch as mismatch:
            if error is None:
                raise
            error.add_note(str(mismatch))

    # --- answering

    def take(self, request: ModelRequest) -> Scripted:
        """Logs a request and takes the answer to it off the script.

        Args:
            request: What the model is asked.

        Raises:
            TurnFailed: There is none, or a rule's predicate failed.
        """
        with self._lock:
            self._requests.append(request)
            self._asked.notify_all()
            try:
                rule = next((one for one in self._rules if one.fits(request)), None)
            except Exception as error:
                reason = f"a rule's predicate failed: {type(error).__name__}: {error}"
                raise self._note_unscripted(request, reason) from error
            script: Script = self if rule is None else rule
            found = script._next()
            if found is None:
                raise self._note_unscripted(request, "the model's script is used up")
            return found

    def _note_unscripted(self, request: ModelRequest, reason: str) -> TurnFailed:
        found = _Unscripted(len(self._requests), request, reason)
        self._unscripted.append(found)
        return TurnFailed(
            INTERNAL_ERROR,
            f"{reason}: {_asker(found)} has no answer; it was asked {shown(request.last_text, 80)!r}",
        )

    def _check(self, *, with_leftover: bool) -> None:
        with self._lock:
            unscripted = tuple(self._unscripted)
            leftover = self._all_leftover() if with_leftover else ()
            scripted = [line for one in (*self._rules, self) for line in one._shown()]
        if unscripted or leftover:
            message = _mismatch(unscripted, leftover, scripted)
            raise ScriptMismatch(message, tuple(one.request for one in unscripted), leftover)

    def _all_leftover(self) -> tuple[str, ...]:
        return tuple(line for one in (*self._rules, self) for line in one._leftover())


def _compiled(pattern: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ValueError(f"matches is no regular expression: {error}") from error


# --- messages for people


def _mismatch(unscripted: tuple[_Unscripted, ...], leftover: tuple[str, ...], scripted: list[str]) -> str:
    parts: list[str] = []
    if unscripted:
        count = len(unscripted)
        parts.append("1 request has no answer:" if count == 1 else f"{count} requests have no answer:")
        parts += [line for one in unscripted for line in _request_lines(one)]
    if leftover:
        parts += ["never asked for:", *(f"  {one}" for one in leftover)]
    parts += ["scripted:", *(f"  {one}" for one in scripted or ["nothing"])]
    return "\n".join(parts)


def _request_lines(found: _Unscripted) -> list[str]:
    request = found.request
    lines = [f"  {_asker(found)} ({found.reason})"]
    left_out = len(request.messages) - _MOST_MESSAGES
    if left_out > 0:
        lines.append(f"    ... {left_out} earlier messages")
    for message in request.messages[-_MOST_MESSAGES:]:
        said = [shown(repr(message.content), _LONGEST_MESSAGE)] if message.content else []
        called = [f"call of {one.name}({shown(str(dict(one.params)))})" for one in message.tool_calls]
        lines.append(f"    {message.role}: {', '.join([*said, *called])}")
    lines.append(f"    tools: {', '.join(one.name for one in request.tools) or 'none'}")
    return lines


def _request_line(request: ModelRequest) -> str:
    asked_by = f", session {request.session_id!r}" if request.session_id else ""
    role = request.messages[-1].role if request.messages else "nobody"
    return f"  {role}: {shown(repr(request.last_text), _LONGEST_MESSAGE)}{asked_by}"


def _asker(found: _Unscripted) -> str:
    request = found.request
    if not request.session_id:
        return f"request {found.number}, over HTTP for model {request.model_settings.model!r},"
    return f"request {found.number}, by session {request.session_id!r} of app {request.app_id!r},"
