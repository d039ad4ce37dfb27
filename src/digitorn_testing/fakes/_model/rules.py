"""Rules: answers of their own for the requests that fit a condition."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .requests import ModelRequest
from .script import Script, shown


@dataclass(frozen=True, slots=True)
class Condition:
    """What a request must be like; what is given must all hold.

    Attributes:
        matching: Whether a request fits.
        contains: What occurs in the text.
        pattern: What finds something in the text.
        tool_result_of: Tool whose result the request ends with, and whose result is the text then; else
            that is the user's message at the end.
        system_prompt: What occurs in the system prompt.
        agent: Name of the agent that asks.
    """

    matching: Callable[[ModelRequest], bool] | None = None
    contains: str | None = None
    pattern: re.Pattern[str] | None = None
    tool_result_of: str | None = None
    system_prompt: str | None = None
    agent: str | None = None

    def misfit(self, request: ModelRequest) -> str:
        """Why a request does not fit; empty if it does."""
        if self.agent is not None and self.agent != request.agent:
            return f"agent {request.agent!r} asks" if request.agent else "nobody says which agent asks"
        if self.system_prompt is not None and self.system_prompt not in request.system_prompt:
            return f"the system prompt is {shown(repr(request.system_prompt))}"
        if misfit := self._misfit_of_text(request):
            return misfit
        if self.matching is not None and not self.matching(request):
            return "the function says no"
        return ""

    def _misfit_of_text(self, request: ModelRequest) -> str:
        if self.tool_result_of is not None:
            texts = request.tool_results_of(self.tool_result_of)
            lacking = f"it does not end with a result of {self.tool_result_of}"
        elif self.contains is None and self.pattern is None:
            return ""
        else:
            texts = tuple(one.content for one in request.messages[-1:] if one.role == "user")
            lacking = "it does not end with a message of the user"
        if not texts:
            return lacking
        if any(map(self._finds, texts)):
            return ""
        return "the text is " + " and ".join(shown(repr(one), 80) for one in texts)

    def _finds(self, text: str) -> bool:
        return (self.contains is None or self.contains in text) and (
            self.pattern is None or self.pattern.search(text) is not None
        )

    def __str__(self) -> str:
        named = {
            "contains": self.contains,
            "matches": None if self.pattern is None else self.pattern.pattern,
            "tool_result_of": self.tool_result_of,
            "system_prompt": self.system_prompt,
            "agent": self.agent,
        }
        told = [f"{name}={value!r}" for name, value in named.items() if value is not None]
        if self.matching is not None:
            told.insert(0, getattr(self.matching, "__qualname__", repr(self.matching)))
        return ", ".join(told)


class ModelRule(Script):
    """Answers for the requests that fit a condition, one after another; the last one again and again,
    unless its `times` says how often.

    `FakeModel.when` makes one.
    """

    _repeats_last = True

    def __init__(self, condition: Condition, times: int | None, lock: "threading.RLock") -> None:
        super().__init__(lock)
        self._condition = condition
        self._times = times

    def __repr__(self) -> str:
        return f"when({self._condition})"

    def misfit(self, request: ModelRequest) -> str:
        """Why it does not answer a request now; empty if it does.

        Args:
            request: What the model is asked.
        """
        if not self._lines:
            return "it has no answer"
        if not self.can_answer:
            return f"it is used up (given {self._given})"
        return self._condition.misfit(request)

    @property
    def can_answer(self) -> bool:
        """Whether it has an answer for a further request that fits."""
        return bool(self._lines) and not self._is_over

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
        answers = ", then ".join(str(one.answer) for one in self._lines) or "no answer"
        return [f"{self!r}: {answers} (given {self._given}{of})"]
