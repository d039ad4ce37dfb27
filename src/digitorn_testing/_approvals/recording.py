"""A scripted approval policy for tests that records the requests."""

import inspect
import threading
from collections import deque
from collections.abc import Awaitable
from typing import Self

from digitorn_testing._errors import UnexpectedApproval
from digitorn_testing._generated.models import PendingApproval

from .policies import ApprovalPolicy, ApproveAll, Decision, DenyAll, Verdict


class RecordingApprovals:
    """An approval policy that records requests, and approves every tool call unless told otherwise.

        approvals = RecordingApprovals().will_decide(True, Decision(False, "not twice"))
        with daemon.client(approvals=approvals) as client:
            client.chat("my-app", "go")
        assert [one.tool_name for one in approvals.requests] == ["shell.bash", "shell.bash"]

    Decisions of `will_decide` are used first, in order. After them the last call of `approve_all`,
    `reject_all` or `decide_by` applies. It may be used from several threads.

    Args:
        policy: Decides about requests, as with `decide_by`.
    """

    def __init__(self, policy: ApprovalPolicy | None = None) -> None:
        self._lock = threading.Lock()
        self._given: deque[Verdict] = deque()
        self._otherwise: ApprovalPolicy | None = policy if policy is not None else ApproveAll()
        self._asked: list[_Asked] = []

    # --- what to decide

    def approve_all(self) -> Self:
        """Approves every tool call; questions to the user stay open."""
        return self.decide_by(ApproveAll())

    def reject_all(self, reason: str = "") -> Self:
        """Denies every tool call and declines every question.

        Args:
            reason: The reason that the model is given.
        """
        return self.decide_by(DenyAll(reason))

    def decide_by(self, policy: ApprovalPolicy) -> Self:
        """Leaves the decisions to another policy.

        Args:
            policy: A policy, or a function or coroutine function of yours.
        """
        with self._lock:
            self._otherwise = policy
        return self

    def will_decide(self, *decisions: Verdict) -> Self:
        """Uses these decisions, in order, for the next requests.

        A request after the last one raises `UnexpectedApproval`, which the turn reports. To prevent that,
        call `approve_all`, `reject_all` or `decide_by` afterwards.

        Args:
            decisions: Decisions. True and False are decisions without a message; None leaves a request open.

        Raises:
            TypeError: An argument is not a decision.
        """
        for one in decisions:
            _check(one)
        with self._lock:
            self._given.extend(decisions)
            self._otherwise = None
        return self

    # --- requests so far

    @property
    def requests(self) -> list[PendingApproval]:
        """The requests so far, in order."""
        with self._lock:
            return [one.request for one in self._asked]

    @property
    def decisions(self) -> list[Decision | None]:
        """The decision on each request; None if it was left open or is not decided yet."""
        with self._lock:
            return [one.decision for one in self._asked]

    @property
    def last_request(self) -> PendingApproval | None:
        """The latest request."""
        return self.requests[-1] if self._asked else None

    @property
    def request_count(self) -> int:
        """How many requests there were."""
        return len(self._asked)

    def reset(self) -> None:
        """Forgets requests and decisions, and approves every tool call again."""
        with self._lock:
            self._given.clear()
            self._otherwise = ApproveAll()
            self._asked = []

    # --- deciding

    def __call__(self, request: PendingApproval) -> Verdict | Awaitable[Verdict]:
        asked = _Asked(request)
        with self._lock:
            self._asked.append(asked)
            policy, given = self._otherwise, bool(self._given)
            said: Verdict | Awaitable[Verdict] = self._given.popleft() if given else None
            count = len(self._asked)
        if not given:
            if policy is None:
                raise UnexpectedApproval(
                    f"approval {count} was not expected: {request.tool_name} {request.tool_params}; "
                    "give will_decide() one more decision, or say what counts behind them"
                )
            said = policy(request)
        if inspect.isawaitable(said):
            return self._noted(asked, said)
        return asked.note(said)

    async def _noted(self, asked: "_Asked", said: Awaitable[Verdict]) -> Verdict:
        return asked.note(await said)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, asked {self.request_count} times>"


def _check(verdict: object) -> None:
    if verdict is not None and not isinstance(verdict, bool | Decision):
        raise TypeError(f"expected a Decision, True, False or None, got {verdict!r}")


class _Asked:
    """A request and its decision."""

    __slots__ = ("decision", "request")

    def __init__(self, request: PendingApproval) -> None:
        self.request = request
        self.decision: Decision | None = None

    def note(self, verdict: Verdict) -> Verdict:
        self.decision = Decision(verdict) if isinstance(verdict, bool) else verdict
        return verdict
