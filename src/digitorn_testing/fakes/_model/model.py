"""The scripted language model."""

import asyncio
import inspect
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final, Self

from digitorn_testing._base_error import PUBLISHED
from digitorn_testing._concurrency.threads import on_thread
from digitorn_testing._errors import DigitornError
from digitorn_testing._events.failures import INTERNAL_ERROR

from .failures import TurnFailed
from .requests import ModelRequest
from .rules import Condition, ModelRule
from .script import (
    Computed,
    ModelAnswer,
    Script,
    Scripted,
    ScriptLine,
    answer_of,
    check_text,
    check_times,
    shown,
)

_MOST_MESSAGES: Final = 6
_MOST_RULES: Final = 3
_LONGEST_MESSAGE: Final = 200


class ScriptMismatch(DigitornError, AssertionError):
    """A model was asked what its script does not answer, or its script holds more than was asked.

    Attributes:
        unscripted: Requests without an answer.
        leftover: Answers that nobody asked for, in words.
    """

    __module__ = f"{PUBLISHED}.fakes"

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

    __module__ = f"{PUBLISHED}.fakes"

    def __init__(self, message: str, requests: tuple[ModelRequest, ...] = ()) -> None:
        super().__init__(message)
        self.requests = requests


@dataclass(frozen=True, slots=True)
class _Unscripted:
    number: int
    request: ModelRequest
    reason: str
    tried: tuple[str, ...] = ()


class _RuleFailed(Exception):
    """The function of a rule failed."""


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
        self._listeners: set[Callable[[], object]] = set()
        self._unscripted: list[_Unscripted] = []

    # --- scripting

    def when(
        self,
        matching: Callable[[ModelRequest], bool] | None = None,
        *,
        contains: str | None = None,
        matches: str | re.Pattern[str] | None = None,
        tool_result_of: str | None = None,
        system_prompt: str | None = None,
        agent: str | None = None,
        times: int | None = None,
    ) -> ModelRule:
        """Answers of their own for requests that fit; what is given of the conditions must all hold.

        Rules go before the queue, in the order in which they were made. A rule gives its answers in order,
        and its last one again and again, unless that says itself how often: a rule whose answers are used up
        counts no more.

        Args:
            matching: Function that says whether a request fits. It must not wait.
            contains: What occurs in the user's message that the request ends with, or, with
                `tool_result_of`, in a result of that tool. Case counts.
            matches: Regular expression that finds something there.
            tool_result_of: Tool whose result the request ends with: the answer to what the tool returned.
            system_prompt: What occurs in the system prompt, for example of a sub-agent.
            agent: Name of the agent that asks; over HTTP nobody says it.
            times: How many requests it answers before it counts no more; None means all.

        Raises:
            ValueError: There is no condition or an empty one, `times` is not positive, or `matches` is no
                regular expression.
            TypeError: `matching` cannot be called, or another condition is no text.
        """
        check_times(times)
        if matching is not None and not callable(matching):
            raise TypeError(f"a function takes a request, got {matching!r}; a text goes to contains=")
        texts = {
            "contains": contains,
            "tool_result_of": tool_result_of,
            "system_prompt": system_prompt,
            "agent": agent,
        }
        for name, text in {**texts, "matches": matches}.items():
            if text == "":
                raise ValueError(f"{name} is empty, so that it says nothing of a request")
        for name, text in texts.items():
            if text is not None:
                check_text(name, text)
        condition = Condition(matching, contains, _compiled(matches), tool_result_of, system_prompt, agent)
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

        It blocks the calling thread; in a coroutine, await `wait_for_requests_async`.

        Args:
            count: Number of requests since the model was made or reset.
            timeout: Deadline in seconds.

        Returns:
            The first `count` requests, oldest first.

        Raises:
            ModelRequestTimeout: Fewer arrived in time; it lists them.
            ValueError: `count` is not positive.
        """
        _check_count(count)
        with self._asked:
            self._asked.wait_for(lambda: len(self._requests) >= count, min(timeout, threading.TIMEOUT_MAX))
            return self._first(count, timeout)

    async def wait_for_requests_async(self, count: int, *, timeout: float) -> list[ModelRequest]:
        """Waits until the model was asked so many times, without blocking the event loop.

        Args:
            count: Number of requests since the model was made or reset.
            timeout: Deadline in seconds.

        Returns:
            The first `count` requests, oldest first.

        Raises:
            ModelRequestTimeout: Fewer arrived in time; it lists them.
            ValueError: `count` is not positive.
        """
        _check_count(count)
        asked = asyncio.Event()
        listener = partial(asyncio.get_running_loop().call_soon_threadsafe, asked.set)
        with self._lock:
            self._listeners.add(listener)
        try:
            async with asyncio.timeout(timeout):
                while self.request_count < count:
                    await asked.wait()
                    asked.clear()
        except TimeoutError:
            pass  # The error that names the requests is better.
        finally:
            with self._lock:
                self._listeners.discard(listener)
        with self._lock:
            return self._first(count, timeout)

    def _first(self, count: int, timeout: float) -> list[ModelRequest]:
        found = tuple(self._requests)
        if len(found) >= count:
            return list(found[:count])
        lines = [f"{len(found)} of {count} requests arrived within {timeout:g} s", *map(_request_line, found)]
        raise ModelRequestTimeout("\n".join(lines), found)

    def single_request(self) -> ModelRequest:
        """The only request so far.

        Raises:
            ScriptMismatch: There were none or several; it lists them.
        """
        found = self.requests
        if len(found) == 1:
            return found[0]
        lines = [f"the model was asked {len(found)} times instead of once", *map(_request_line, found)]
        raise ScriptMismatch("\n".join(lines))

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

    def script_mismatch(self) -> str:
        """Which requests have no answer, and what was scripted; empty if each has one."""
        with self._lock:
            unscripted = tuple(self._unscripted)
            return _mismatch(unscripted, (), self._all_shown()) if unscripted else ""

    def __repr__(self) -> str:
        with self._lock:
            asked, unanswered = len(self._requests), len(self._unscripted)
            left = len(self._all_leftover())
        said = [f"asked {asked} times" if asked != 1 else "asked once"]
        if unanswered == asked == 1:
            said.append("not answered")
        elif unanswered:
            said.append(f"{unanswered} of them without an answer")
        if left:
            said.append(f"{left} answers not given yet" if left != 1 else "1 answer not given yet")
        return f"<{type(self).__name__}: {', '.join(said)}>"

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

    async def take(self, request: ModelRequest) -> Scripted:
        """Logs a request, takes the answer to it off the script, and lets a function make it.

        Args:
            request: What the model is asked.

        Raises:
            TurnFailed: There is none, or a function of the script failed.
        """
        with self._lock:
            self._requests.append(request)
            number = len(self._requests)
            self._asked.notify_all()
            for listener in self._listeners:
                # The loop that waited may be closed.
                with suppress(RuntimeError):
                    listener()
            line = self._pick(number, request)
        if not isinstance(line.answer, Computed):
            return Scripted(line.answer, line.wait)
        return Scripted(await self._computed(number, request, line.answer), line.wait)

    def pass_over(self, request: ModelRequest) -> None:
        """Takes the answer to a request that was never made off the script; there need not be any.

        So an answer stays with its message, whether a turn is cut off before or after it asks.

        Args:
            request: What the model would have been asked.
        """
        with self._lock:
            # A function of a rule that fails has nobody to tell.
            with suppress(_RuleFailed):
                self._script_for(request, [])._next()

    def _script_for(self, request: ModelRequest, tried: list[str]) -> Script:
        """Who answers a request. Why the rules before do not is added to `tried`. The lock is held.

        Raises:
            _RuleFailed: The function of a rule failed.
        """
        for rule in self._rules:
            try:
                misfit = rule.misfit(request)
            except Exception as error:
                raise _RuleFailed(f"the function of {rule!r} failed: {_told(error)}") from error
            if not misfit:
                return rule
            tried.append(f"{rule!r}: {misfit}")
        return self

    def _pick(self, number: int, request: ModelRequest) -> ScriptLine:
        tried: list[str] = []
        try:
            line = self._script_for(request, tried)._next()
        except _RuleFailed as failure:
            reason = f"{failure}: no answer to {_asked(request, ': ')}"
            raise self._note(_Unscripted(number, request, reason, tuple(tried))) from failure.__cause__
        if line is not None:
            return line
        if given := sum(one.given for one in self._lines):
            tried.append(f"the queue: used up (given {given})")
            reason = f"the model's script is used up: no answer to {_asked(request, ': ')}"
        else:
            tried.append("the queue: nothing was queued")
            reason = (
                f"no scripted answer matches {_asked(request, ' ')}: {self._unmatched()}nothing is queued"
            )
        raise self._note(_Unscripted(number, request, reason, tuple(tried)))

    def _unmatched(self) -> str:
        """That no rule answers, and which there are; the lock is held."""
        if len(self._rules) > _MOST_RULES:
            return f"none of {len(self._rules)} rules matched, and "
        said = [
            f"{rule!r} {'did not match' if rule.can_answer else 'has no answer left'}" for rule in self._rules
        ]
        return f"{', '.join(said)}, and " if said else ""

    async def _computed(self, number: int, request: ModelRequest, computed: Computed) -> ModelAnswer:
        function = computed.function
        try:
            if inspect.iscoroutinefunction(function):
                value: object = function(request)
            else:
                value = await on_thread(partial(function, request), "answer of the scripted model")
            return answer_of(await value if inspect.isawaitable(value) else value)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # Even pytest.fail() fails the request, not the daemon.
            reason = f"the {computed} failed: {_told(error)}: no answer to {_asked(request, ': ')}"
            with self._lock:
                raise self._note(_Unscripted(number, request, reason)) from error

    def _note(self, found: _Unscripted) -> TurnFailed:
        self._unscripted.append(found)
        told = f"{found.reason} ({_asker(found)})"
        return TurnFailed(INTERNAL_ERROR, "\n".join([told, *(f"  {one}" for one in found.tried)]))

    def _check(self, *, with_leftover: bool) -> None:
        with self._lock:
            unscripted = tuple(self._unscripted)
            leftover = self._all_leftover() if with_leftover else ()
            scripted = self._all_shown()
        if unscripted or leftover:
            message = _mismatch(unscripted, leftover, scripted)
            raise ScriptMismatch(message, tuple(one.request for one in unscripted), leftover)

    def _all_shown(self) -> list[str]:
        return [line for one in (*self._rules, self) for line in one._shown()]

    def _all_leftover(self) -> tuple[str, ...]:
        return tuple(line for one in (*self._rules, self) for line in one._leftover())


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"count must be positive, not {count}")


def _compiled(pattern: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ValueError(f"matches is no regular expression: {error}") from error


# --- messages for people


def _mismatch(unscripted: tuple[_Unscripted, ...], leftover: tuple[str, ...], scripted: list[str]) -> str:
    parts: list[str] = []
    if unscripted:
        first, count = unscripted[0], len(unscripted)
        many = f"{count} requests have no answer; the first: " if count > 1 else ""
        parts.append(f"{many}{first.reason}")
        parts += [line for one in unscripted for line in _request_lines(one)]
    if leftover:
        parts += ["never asked for:", *(f"  {one}" for one in leftover)]
    parts += ["scripted:", *(f"  {one}" for one in scripted or ["nothing"])]
    return "\n".join(parts)


def _request_lines(found: _Unscripted) -> list[str]:
    request = found.request
    lines = [f"  {_asker(found)}"]
    left_out = len(request.messages) - _MOST_MESSAGES
    if left_out > 0:
        lines.append(f"    ... {left_out} earlier messages")
    for message in request.messages[-_MOST_MESSAGES:]:
        said = [shown(repr(message.content), _LONGEST_MESSAGE)] if message.content else []
        called = [f"call of {one.name}({shown(str(dict(one.params)))})" for one in message.tool_calls]
        lines.append(f"    {message.role}: {', '.join([*said, *called])}")
    lines.append(f"    tools: {', '.join(one.name for one in request.tools) or 'none'}")
    return [*lines, *(f"    tried {one}" for one in found.tried)]


def _request_line(request: ModelRequest) -> str:
    asked_by = f", session {request.session_id!r}" if request.session_id else ""
    return f"  {_end_of(request)}{asked_by}"


def _end_of(request: ModelRequest) -> str:
    role = request.messages[-1].role if request.messages else "nobody"
    return f"{role}: {shown(repr(request.last_text), _LONGEST_MESSAGE)}"


def _asked(request: ModelRequest, between: str) -> str:
    role, _, text = shown(_end_of(request), 80).partition(": ")
    return f"{role}{between}{text}"


def _asker(found: _Unscripted) -> str:
    request = found.request
    if not request.session_id:
        return f"request {found.number}, over HTTP for model {request.model_settings.model!r}"
    return f"request {found.number}, by session {request.session_id!r} of app {request.app_id!r}"
