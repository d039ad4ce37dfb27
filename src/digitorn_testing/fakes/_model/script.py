"""What a scripted model answers, and in which order."""

import itertools
import json
import math
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self, TypeAlias, cast

from digitorn_testing._apps.tools import json_object, result_object
from digitorn_testing._events.choreography import written_by_call
from digitorn_testing._events.failures import FAILURES, FailureCode
from digitorn_testing._generated._runtime import NOT_GIVEN, NotGiven
from digitorn_testing._generated.events import QUESTION_TOOLS

from .requests import ModelRequest

ASK_USER: Final = QUESTION_TOOLS[0]
"""Name of the tool by which an agent puts a question to the user."""

ToolResult: TypeAlias = Mapping[str, Any] | str | None
"""What a scripted tool returns; a text stands for `{"output": text}`."""


# --- answers


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answer costs, in tokens.

    Attributes:
        input_tokens: Tokens that were read.
        output_tokens: Tokens that were written.

    Raises:
        TypeError: A count is no integer.
        ValueError: A count is negative.
    """

    input_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        _check_count("input_tokens", self.input_tokens)
        _check_count("output_tokens", self.output_tokens)


@dataclass(frozen=True, slots=True)
class ScriptedToolCall:
    """A call of a tool, and what the tool does.

    Its behaviour applies only in the embedded daemon. Over HTTP the calling daemon runs its own tools.

    Attributes:
        name: Name of the tool.
        params: Arguments.
        result: What the tool returns. Left out, it comes from the app's Python function, and is None if
            there is none.
        error: Why the tool fails; empty means that it succeeds.
        denied: Why the daemon refuses the call, so that the tool does not run; empty means that it runs.
        requires_approval: Whether the user has to approve the call first, even if the app does not ask for
            it. A denied call fails, and the model is told so.
        risk_level: Risk that the approval names; the tool's if left out.
        description: What the call would do, for the approval.
        delay: Seconds that the tool runs.
        read_only: Whether it runs beside its read-only neighbours of the same answer (contract: events,
            section 6.2); left out, that is known of the tools that read files or the web, and other tools
            run alone.

    Raises:
        ValueError: `delay` is negative, or the name is empty.
        TypeError: `params` or `result` holds what JSON cannot, or a text is not a string.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    result: ToolResult | NotGiven = NOT_GIVEN
    error: str = ""
    requires_approval: bool = False
    risk_level: str | None = None
    description: str = ""
    delay: float = 0.0
    read_only: bool | None = None
    denied: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "error", "denied", "description"):
            check_text(name, getattr(self, name))
        if not self.name:
            raise ValueError("the name of the tool is empty")
        # Copies: a script does not change with what it was made of.
        object.__setattr__(self, "params", json_object(self.params))
        if not isinstance(self.result, NotGiven):
            object.__setattr__(self, "result", result_object(self.result))
        _check_seconds("delay", self.delay)

    def __str__(self) -> str:
        return f"{self.name}({shown(json.dumps(dict(self.params), ensure_ascii=False))})"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says: reasoning, then texts and calls in any order.

    Attributes:
        parts: Pieces of text, as they are streamed, and calls. Without a call, the turn ends.
        delay: Seconds between two pieces.
        thinking: Reasoning.
        usage: What it costs; estimated if left out.
        is_endless: Whether the pieces come again and again.

    Raises:
        TypeError: A text, a call or the usage has the wrong type.
    """

    parts: tuple[str | ScriptedToolCall, ...] = ()
    delay: float = 0.0
    thinking: str | None = None
    usage: Usage | None = None
    is_endless: bool = False

    def __post_init__(self) -> None:
        for part in self.parts:
            if not isinstance(part, ScriptedToolCall):
                check_text("text", part)
        if self.thinking is not None:
            check_text("thinking", self.thinking)
        if self.usage is not None:
            _check_type("usage", self.usage, Usage)

    @property
    def chunks(self) -> tuple[str, ...]:
        """The pieces of text."""
        return tuple(one for one in self.parts if isinstance(one, str))

    @property
    def calls(self) -> tuple[ScriptedToolCall, ...]:
        """The calls."""
        return tuple(one for one in self.parts if not isinstance(one, str))

    @property
    def text(self) -> str:
        """The whole text; of an endless reply its pieces once."""
        return "".join(self.chunks)

    @property
    def pieces(self) -> Iterator[str]:
        """The pieces of text as they are streamed."""
        return itertools.cycle(self.chunks) if self.is_endless else iter(self.chunks)

    @property
    def blocks(self) -> Iterator[Iterable[str] | ScriptedToolCall]:
        """What is said, in order: runs of pieces of text, and calls."""
        if self.is_endless:
            yield self.pieces
            return
        for is_text, group in itertools.groupby(self.parts, key=lambda one: isinstance(one, str)):
            if is_text:
                yield [one for one in group if isinstance(one, str)]
            else:
                yield from (one for one in group if isinstance(one, ScriptedToolCall))

    @property
    def written(self) -> str:
        """Everything that the model writes, to count it."""
        calls = (written_by_call(call.name, call.params) for call in self.calls)
        return "".join((self.thinking or "", self.text, *calls))

    def __str__(self) -> str:
        if self.is_endless:
            return f"text {shown(repr(self.text))} for ever"
        told = (
            f"call of {one}" if isinstance(one, ScriptedToolCall) else f"text {shown(repr(''.join(one)))}"
            for one in self.blocks
        )
        return " and ".join(told) or "text ''"


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer, or the beginning of one: the request fails.

    Attributes:
        code: How the failure is classified.
        message: Text for people; None for one that fits the code.
        after: What was streamed before it.
        status: HTTP status; None for the one that fits the code.
        retry_after: Seconds after which a client may try again; None for nothing said.

    Raises:
        TypeError: A text is not a string.
    """

    code: FailureCode
    message: str | None = None
    after: tuple[str, ...] = ()
    status: int | None = None
    retry_after: float | None = None

    def __post_init__(self) -> None:
        for chunk in self.after:
            check_text("after", chunk)
        if self.message is not None:
            check_text("message", self.message)

    def __str__(self) -> str:
        return f"failure {self.code}" + (f" after {shown(repr(''.join(self.after)))}" if self.after else "")


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer ever."""

    def __str__(self) -> str:
        return "silence"


ModelAnswer: TypeAlias = Reply | Failure | Silence

Answer: TypeAlias = ModelAnswer | str | ScriptedToolCall | Sequence[str | ScriptedToolCall]
"""An answer in short: a text, a call, or texts and calls one after another."""

AnswerFunction: TypeAlias = Callable[[ModelRequest], Answer | Awaitable[Answer]]
"""A function, sync or async, that makes the answer to a request."""


def answer_of(value: object) -> ModelAnswer:
    """An answer written out.

    Raises:
        TypeError: It is no answer.
    """
    if isinstance(value, Reply | Failure | Silence):
        return value
    if isinstance(value, str | ScriptedToolCall):
        return Reply((value,))
    if isinstance(value, list | tuple):
        return Reply(tuple(cast("Sequence[str | ScriptedToolCall]", value)))
    raise TypeError(
        "an answer is a text, a ScriptedToolCall, a list of these, or a Reply, Failure or Silence, "
        f"not {value!r}"
    )


@dataclass(frozen=True, slots=True)
class Computed:
    """An answer that a function makes.

    Attributes:
        function: The function.
    """

    function: AnswerFunction

    def __str__(self) -> str:
        return f"answer of {getattr(self.function, '__qualname__', repr(self.function))}"


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
class ScriptLine:
    """A line of a script.

    Attributes:
        answer: The answer.
        wait: Seconds that the model takes before it begins.
        times: How many requests get it; None means every further one.
        is_bounded: Whether the script says how many.
        given: How many have got it.
    """

    answer: ModelAnswer | Computed
    wait: float
    times: int | None
    is_bounded: bool
    given: int = 0

    @property
    def is_used_up(self) -> bool:
        """Whether no further request gets it."""
        return self.times is not None and self.given >= self.times

    def __str__(self) -> str:
        of = "" if self.times is None else f" of {self.times}"
        return f"{self.answer} (given {self.given}{of})"


# --- scripts


class Script:
    """Answers that are given one after another. The methods that add one return the script: they chain."""

    _repeats_last: ClassVar[bool] = False
    """Whether the last answer is given again and again, unless it says how often."""

    def __init__(self, lock: "threading.RLock | None" = None) -> None:
        self._lock = lock if lock is not None else threading.RLock()
        self._lines: list[ScriptLine] = []
        self._at = 0
        self._wait = 0.0

    def will_answer(
        self, answer: Answer | AnswerFunction, *, times: int | None | NotGiven = NOT_GIVEN
    ) -> Self:
        """Answers with what a function makes of the request, or with texts and calls in any order.

            model.will_answer(lambda request: request.last_text.upper())
            model.will_answer(["Let me look.", ScriptedToolCall("Read", {"path": "a"}), "One moment."])

        Args:
            answer: The answer: a text, a `ScriptedToolCall`, a list of these, or a `Reply`, `Failure` or
                `Silence`. Or a function that takes the `ModelRequest` and returns one. An async function
                runs in the daemon's event loop, any other on a thread of its own, so that it may wait. If
                it raises, the request has no answer.
            times: How many requests get this answer, one if left out; None means every further one.

        Raises:
            ValueError: `times` is not positive, or the answer before this one never ends.
            TypeError: It is no answer.
        """
        return self._add(Computed(answer) if callable(answer) else answer_of(answer), times)

    def will_respond_with_text(
        self,
        text: str,
        *,
        thinking: str | None = None,
        usage: Usage | None = None,
        times: int | None | NotGiven = NOT_GIVEN,
    ) -> Self:
        """Answers with a text in one piece.

        Args:
            text: The text.
            thinking: Reasoning that is streamed before the text.
            usage: What the answer costs; estimated from the text if left out.
            times: How many requests get this answer, one if left out; None means every further one.

        Raises:
            ValueError: `times` is not positive, or the answer before this one never ends.
            TypeError: A text is not a string.
        """
        return self._add(Reply((text,), thinking=thinking, usage=usage), times)

    def will_stream_text(
        self,
        chunks: Iterable[str],
        *,
        delay: float = 0.0,
        thinking: str | None = None,
        usage: Usage | None = None,
        times: int | None | NotGiven = NOT_GIVEN,
    ) -> Self:
        """Answers with a text that is streamed piece by piece, one `token` event each.

        Args:
            chunks: The pieces.
            delay: Seconds between two pieces.
            thinking: Reasoning that is streamed before the text.
            usage: What the answer costs; estimated from the text if left out.
            times: How many requests get this answer, one if left out; None means every further one.

        Raises:
            ValueError: `delay` is negative, `times` is not positive, or the answer before this one never
                ends.
            TypeError: A text is not a string.
        """
        _check_seconds("delay", delay)
        reply = Reply(_pieces("chunks", chunks), delay, thinking=thinking, usage=usage)
        return self._add(reply, times)

    def will_stream_forever(
        self,
        chunks: Iterable[str] = ("and so on ",),
        *,
        delay: float = 0.01,
        times: int | None | NotGiven = NOT_GIVEN,
    ) -> Self:
        """Streams pieces of text again and again, until the request is cut off.

        Over HTTP, a client that did not ask for a stream gets nothing.

        Args:
            chunks: The pieces, at least one.
            delay: Seconds between two pieces, more than 0.
            times: How many requests get this answer, one if left out; None means every further one.

        Raises:
            ValueError: There are no pieces, `delay` is not positive, `times` is not positive, or the answer
                before this one never ends.
            TypeError: A piece is no text.
        """
        pieces = _pieces("chunks", chunks)
        if not any(pieces):
            raise ValueError("chunks has no text")
        _check_seconds("delay", delay)
        if not delay:
            raise ValueError("delay must be positive: an endless stream without pauses would stop all else")
        return self._add(Reply(pieces, delay, is_endless=True), times)

    def will_never_answer(self, *, times: int | None | NotGiven = NOT_GIVEN) -> Self:
        """Takes the request and says nothing, until it is cut off.

        Args:
            times: How many requests get no answer, one if left out; None means every further one.

        Raises:
            ValueError: `times` is not positive, or the answer before this one never ends.
        """
        return self._add(Silence(), times)

    def will_call_tool(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        result: ToolResult | NotGiven = NOT_GIVEN,
        error: str = "",
        denied: str = "",
        requires_approval: bool = False,
        risk_level: str | None = None,
        description: str = "",
        text: str = "",
        delay: float = 0.0,
        thinking: str | None = None,
        usage: Usage | None = None,
        times: int | None | NotGiven = NOT_GIVEN,
    ) -> Self:
        """Calls a tool. Its result goes into the next request.

        What the tool does is scripted too, unless the app has a Python function for it: that runs when the
        script says neither `result` nor `error`. Over HTTP the daemon that asks runs its own tools.

        Args:
            name: Name of the tool.
            params: Arguments.
            result: What the tool returns. Left out, it comes from the app's function, and is None if there
                is none.
            error: Why the tool fails; empty means that it succeeds.
            denied: Why the daemon refuses the call, so that the tool does not run; empty means that it runs.
            requires_approval: Whether the user has to approve the call first, even if the app does not ask
                for it. A denied call fails, and the model is told so.
            risk_level: Risk that the approval names; the tool's if left out.
            description: What the call would do, for the approval.
            text: What the model says before the call.
            delay: Seconds that the tool runs.
            thinking: Reasoning that is streamed before all else.
            usage: What the answer costs; estimated if left out.
            times: How many requests get this answer, one if left out; None means every further one.

        Raises:
            ValueError: `delay` is negative, `times` is not positive, or the answer before this one never
                ends.
            TypeError: `params` or `result` holds what JSON cannot, or a text is not a string.
        """
        call = ScriptedToolCall(
            name,
            params or {},
            result,
            error,
            requires_approval,
            risk_level,
            description,
            delay,
            denied=denied,
        )
        return self.will_call_tools([call], text=text, thinking=thinking, usage=usage, times=times)

    def will_call_tools(
        self,
        calls: Iterable[ScriptedToolCall],
        *,
        text: str = "",
        thinking: str | None = None,
        usage: Usage | None = None,
        times: int | None | NotGiven = NOT_GIVEN,
    ) -> Self:
        """Calls several tools in one answer. The next request has their results, in the order of the calls.

        Neighbours that only read run in parallel, so that their ends may come in any order; every other
        call waits for those before it (contract: events, section 6.2).

        Args:
            calls: The calls, and what the tools do.
            text: What the model says before the calls.
            thinking: Reasoning that is streamed before all else.
            usage: What the answer costs; estimated if left out.
            times: How many requests get this answer, one if left out; None means every further one.

        Raises:
            ValueError: There are no calls, `times` is not positive, or the answer before this one never
                ends.
            TypeError: A call or a text has the wrong type.
        """
        found = tuple(calls)
        if not found:
            raise ValueError("calls is empty; will_respond_with_text() answers without any")
        for call in found:
            _check_type("calls", call, ScriptedToolCall)
        said = (text,) if text else ()
        return self._add(Reply((*said, *found), thinking=thinking, usage=usage), times)

    def will_ask_user(
        self, question: str, *, choices: Sequence[str] = (), times: int | None | NotGiven = NOT_GIVEN
    ) -> Self:
        """Asks the user: an approval of the tool `ask_user`, whose message becomes the tool's result.

        Args:
            question: The question.
            choices: Answers to choose from; empty for free text.
            times: How many requests get this answer, one if left out; None means every further one.

        Raises:
            ValueError: `times` is not positive, or the answer before this one never ends.
            TypeError: The question is no text, or a choice is nothing that JSON can hold.
        """
        check_text("question", question)
        if isinstance(choices, str):
            raise ValueError("choices is one text; pass the choices, for example a list")
        return self.will_call_tool(
            ASK_USER,
            {"question": question, "choices": list(choices)},
            requires_approval=True,
            risk_level="low",
            times=times,
        )

    def will_fail(
        self,
        code: FailureCode = "provider_error",
        message: str | None = None,
        *,
        after: Iterable[str] = (),
        status: int | None = None,
        retry_after: float | None = None,
        times: int | None | NotGiven = NOT_GIVEN,
    ) -> Self:
        """Fails as a provider does, and with it the turn (contract: events, section 7).

        Args:
            code: How the failure is classified; decides `category` and `retry` of the `error` event, and
                over HTTP the status and the error body. A `network_error` drops the connection there.
            message: Text for people; one that fits the code if left out.
            after: Pieces of text that are streamed before it.
            status: HTTP status from 400 to 599; the usual one of the code if left out. Only over HTTP.
            retry_after: Seconds in the header `Retry-After`; left out, there is one only when the code is
                `rate_limited`. Only over HTTP.
            times: How many requests fail, one if left out; None means every further one.

        Raises:
            ValueError: The code is unknown, the status is not an error status, `retry_after` is negative,
                `times` is not positive, or the answer before this one never ends.
            TypeError: A text is not a string.
        """
        if code not in FAILURES:
            raise ValueError(f"unknown error code {code!r}; known are {', '.join(sorted(FAILURES))}")
        if status is not None and not 400 <= status <= 599:
            raise ValueError(f"status must be from 400 to 599, not {status}")
        if retry_after is not None:
            _check_seconds("retry_after", retry_after)
        return self._add(Failure(code, message, _pieces("after", after), status, retry_after), times)

    def will_wait(self, seconds: float) -> Self:
        """Takes its time before it begins with the next answer.

        Args:
            seconds: How long; adds up over several calls.

        Raises:
            ValueError: The time is negative.
        """
        _check_seconds("seconds", seconds)
        with self._lock:
            self._wait += seconds
        return self

    # --- what becomes of it

    def _add(self, answer: ModelAnswer | Computed, times: int | None | NotGiven) -> Self:
        is_bounded = isinstance(times, int)
        count = 1 if isinstance(times, NotGiven) else times
        check_times(count)
        with self._lock:
            if self._lines and self._lines[-1].times is None:
                raise ValueError("the answer before this one is for every further request; reset() first")
            self._lines.append(ScriptLine(answer, self._wait, count, is_bounded))
            self._wait = 0.0
        return self

    def _next(self) -> ScriptLine | None:
        """The next answer; None if the script is used up. The lock is held, as in all that follows."""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line.is_used_up:
                line.given += 1
                return line
            self._at += 1
        if not self._lines or not self._repeats_last or self._lines[-1].is_bounded:
            return None
        self._lines[-1].given += 1
        return self._lines[-1]

    def _leftover(self) -> list[str]:
        """What has yet to be given, in words; an answer for every further request may go unused."""
        return [str(one) for one in self._lines if one.times is not None and not one.is_used_up]

    def _shown(self) -> list[str]:
        """The answers in words."""
        return [str(one) for one in self._lines]

    def _clear(self) -> None:
        self._lines.clear()
        self._at = 0
        self._wait = 0.0


def check_times(times: int | None) -> None:
    """Refuses a number of requests below one.

    Raises:
        ValueError: It is not positive.
    """
    if times is not None and times < 1:
        raise ValueError(f"times must be positive or None, not {times}")


def shown(text: str, length: int = 60) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= length else text[: length - 3] + "..."


def _check_seconds(name: str, value: float) -> None:
    if value < 0 or math.isnan(value):
        raise ValueError(f"{name} must not be negative, not {value}")


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, not {value}")


def check_text(name: str, value: object) -> None:
    """Refuses a value that is not a string.

    Raises:
        TypeError: It is not a string.
    """
    _check_type(name, value, str)


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {kind.__name__}, got {value!r}")


def _pieces(name: str, chunks: Iterable[str]) -> tuple[str, ...]:
    if isinstance(chunks, str):
        raise ValueError(f"{name} is one text; pass the pieces, for example a list")
    return tuple(chunks)
