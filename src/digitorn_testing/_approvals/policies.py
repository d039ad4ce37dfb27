"""Approval policies, and which of them applies to a request."""

import asyncio
import concurrent.futures
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from digitorn_testing._concurrency.latest import Latest
from digitorn_testing._events.daemon import MEANING
from digitorn_testing._events.tool_names import is_named
from digitorn_testing._generated.events import QUESTION_TOOLS
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing._texts import check_sendable


@dataclass(frozen=True, slots=True)
class Decision:
    """A policy's decision about a request.

    Attributes:
        approved: Whether the tool may run; for a question, whether it is answered.
        message: Reason or answer that the model is given.
    """

    approved: bool
    message: str = ""


Verdict: TypeAlias = Decision | bool | None
"""A decision. True and False are decisions without a message; None leaves the request open."""

ApprovalPolicy: TypeAlias = Callable[[PendingApproval], Verdict | Awaitable[Verdict]]
"""Decides about requests: one of the classes here, or a function or coroutine function of yours."""


def is_question(request: PendingApproval) -> bool:
    """Whether a request is a question to the user rather than a tool call."""
    return request.tool_name in QUESTION_TOOLS


def is_for_tool(request: PendingApproval, name: str) -> bool:
    """Whether a request is for a tool, whichever of its names is given.

    Args:
        request: The request, which names the tool in the daemon's way, such as `shell.bash`.
        name: That name, or the one that the model is offered, such as `Bash`.
    """
    return is_named(name, MEANING.tool_names(request.tool_name, request.tool_params))


@dataclass(frozen=True, slots=True)
class ApproveAll:
    """Approves every tool call; questions to the user stay open."""

    def __call__(self, request: PendingApproval) -> Decision | None:
        return None if is_question(request) else Decision(True)


@dataclass(frozen=True, slots=True)
class LeaveOpen:
    """Leaves every request open for the test to decide, with `resolve_approval`."""

    def __call__(self, request: PendingApproval) -> None:
        return None


@dataclass(frozen=True, slots=True)
class DenyAll:
    """Denies every tool call and declines every question.

    Attributes:
        reason: The reason that the model is given.
    """

    reason: str = ""

    def __call__(self, request: PendingApproval) -> Decision:
        return Decision(False, self.reason)


@dataclass(frozen=True, slots=True)
class ApproveWhen:
    """Approves tool calls that satisfy a predicate and denies the others; questions stay open.

    Attributes:
        predicate: Returns whether the tool may run.
        reason: The reason that the model is given when it may not.
    """

    predicate: Callable[[PendingApproval], bool]
    reason: str = ""

    def __call__(self, request: PendingApproval) -> Decision | None:
        if is_question(request):
            return None
        holds: object = self.predicate(request)
        if inspect.isawaitable(holds):
            if inspect.iscoroutine(holds):
                holds.close()
            raise TypeError("ApproveWhen takes a plain function; a coroutine function is a policy by itself")
        return Decision(True) if holds else Decision(False, self.reason)


@dataclass(frozen=True, slots=True)
class AnswerWith:
    """Answers questions to the user, and leaves tool calls to another policy.

    Attributes:
        answer: The answer to every question; or a mapping from a part of the question's text to its answer;
            or a function that returns the answer. A question without an answer stays open.
        otherwise: Decides about tool calls.
    """

    answer: str | Mapping[str, str] | Callable[[PendingApproval], str | None]
    otherwise: ApprovalPolicy = ApproveAll()

    def __call__(self, request: PendingApproval) -> Verdict | Awaitable[Verdict]:
        if not is_question(request):
            return self.otherwise(request)
        answer = self._answer(request)
        return None if answer is None else Decision(True, answer)

    def _answer(self, request: PendingApproval) -> str | None:
        if isinstance(self.answer, str):
            return self.answer
        if callable(self.answer):
            return self.answer(request)
        asked = [request.description, *(one for one in request.tool_params.values() if isinstance(one, str))]
        return next(
            (answer for part, answer in self.answer.items() if any(part in text for text in asked)), None
        )


_logger = logging.getLogger("digitorn.testing")

_OWN_CODE: Final = (ApproveAll, DenyAll, LeaveOpen)

_MOST: Final = 4096
"""How many requests, and how many turns that have not ended, a client remembers."""


class ClientApprovals:
    """The policies of one client and of its turns. It may be used from several threads.

    Args:
        default: Decides if neither the turn nor the stream has a policy.
    """

    def __init__(self, default: ApprovalPolicy) -> None:
        self.default = default
        self._by_turn: Latest[str, ApprovalPolicy | None] = Latest(_MOST)
        self._posting: dict[concurrent.futures.Future[None], str] = {}
        self._resolved: Latest[str, None] = Latest(_MOST)
        # The policies themselves: the id of one that is gone may be that of another.
        self._asked: Latest[str, tuple[ApprovalPolicy, ...]] = Latest(_MOST)

    def of_stream(self, own: ApprovalPolicy | None = None, *, turns_only: bool = False) -> "StreamApprovals":
        """The policies that apply on one stream.

        Args:
            own: The stream's policy for turns without one; the client's if left out.
            turns_only: Decide only about turns that this client started.
        """
        return StreamApprovals(self, own, turns_only=turns_only)

    @contextmanager
    def posting(self, session_id: str) -> Generator[None]:
        """Delays decisions in the session while a message is posted, because nobody follows its turn yet."""
        posted: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._posting[posted] = session_id
        try:
            yield
        finally:
            # It is gone in a child that was forked meanwhile.
            self._posting.pop(posted, None)
            posted.set_result(None)

    def after_fork(self) -> None:
        """Forgets the messages that only the parent is posting, in a forked child."""
        self._posting.clear()

    def begin(self, correlation_id: str, policy: ApprovalPolicy | None = None) -> None:
        """Registers a turn of this client with its policy; an earlier policy of the turn stays."""
        if policy is not None or correlation_id not in self._by_turn:
            self._by_turn[correlation_id] = policy

    def end(self, correlation_id: str) -> None:
        """Forgets a turn and its policy."""
        self._by_turn.pop(correlation_id, None)

    async def posted(self, session_id: str) -> None:
        """Waits until no message to a session is being posted."""
        while posting := [one for one, session in list(self._posting.items()) if session == session_id]:
            await asyncio.wait(set(map(asyncio.wrap_future, posting)))

    def claim(self, request_id: str) -> bool:
        """Whether a request is still unresolved; from then on it counts as resolved."""
        if request_id in self._resolved:
            return False
        self._resolved[request_id] = None
        return True

    def unclaim(self, request_id: str) -> None:
        """Withdraws a claim, because the request could not be resolved."""
        self._resolved.pop(request_id, None)

    def ask_once(self, request_id: str, policy: ApprovalPolicy) -> bool:
        """Whether a policy has not been asked about a request before; two streams may see it."""
        asked = self._asked.get(request_id, ())
        if any(one is policy for one in asked):
            return False
        self._asked[request_id] = (*asked, policy)
        return True

    def of_turn(self, correlation_id: str | None) -> tuple[bool, ApprovalPolicy | None]:
        """Whether a turn belongs to this client, and its policy."""
        if correlation_id is None or correlation_id not in self._by_turn:
            return False, None
        return True, self._by_turn[correlation_id]


class StreamApprovals:
    """The policies that apply on one stream.

    Args:
        client: The policies of the stream's client.
        own: The stream's policy for turns without one; the client's if left out.
        turns_only: Decide only about turns that the client started.
    """

    def __init__(self, client: ClientApprovals, own: ApprovalPolicy | None, *, turns_only: bool) -> None:
        self.client = client
        self.own = own
        """The stream's policy; may be changed."""
        self.on_thread = False
        """Whether the user's code is called on a thread of its own, where it may block."""
        self._turns_only = turns_only

    async def policy(self, session_id: str, correlation_id: str | None) -> ApprovalPolicy | None:
        """The policy that decides about a request; None if this stream does not decide.

        Args:
            session_id: The session.
            correlation_id: The turn of the request; None if it is unknown.
        """
        await self.client.posted(session_id)
        is_ours, of_turn = self.client.of_turn(correlation_id)
        if is_ours:
            return of_turn or self.client.default
        return None if self._turns_only else self.own or self.client.default


def stream_approvals(
    approvals: ApprovalPolicy | StreamApprovals | None, *, auto_approve: bool
) -> StreamApprovals:
    """The policies of a stream, from the arguments that it was made with."""
    if isinstance(approvals, StreamApprovals):
        return approvals
    return ClientApprovals(approvals or short_form(auto_approve)).of_stream()


def short_form(auto_approve: bool) -> ApprovalPolicy:
    """The policy that `auto_approve` means.

    Raises:
        TypeError: It is neither True nor False.
    """
    if not isinstance(cast("object", auto_approve), bool):
        # `DevClient(url, 60.0)` gave a timeout once.
        raise TypeError(f"auto_approve is True or False, not {auto_approve!r}; a timeout is timeout=…")
    return ApproveAll() if auto_approve else LeaveOpen()


async def ask(policy: ApprovalPolicy, request: PendingApproval, *, on_thread: bool) -> Decision | None:
    """Asks a policy for its decision.

    Args:
        policy: The policy.
        request: The request.
        on_thread: Call the user's code on a thread of its own, where it may block.

    Raises:
        TypeError: The policy returned something other than a decision.
    """
    if on_thread and not isinstance(policy, _OWN_CODE):
        said = await _on_thread(policy, request)
    else:
        said = policy(request)
    # Users need not run a type checker, so the policy may return anything.
    verdict = cast("object", await said if inspect.isawaitable(said) else said)
    if isinstance(verdict, bool):
        return Decision(verdict)
    if isinstance(verdict, Decision):
        _check(verdict)
        return verdict
    if verdict is None:
        return None
    raise TypeError(
        f"an approval policy gives a Decision, a bool or None; {policy!r} gave {type(verdict).__name__}"
    )


def _check(decision: Decision) -> None:
    approved, message = cast("object", decision.approved), cast("object", decision.message)
    if not isinstance(approved, bool) or not isinstance(message, str):
        raise TypeError(f"a Decision has a bool and a text, not {decision!r}")
    check_sendable(message, "the message of a Decision")


async def _on_thread(policy: ApprovalPolicy, request: PendingApproval) -> Verdict | Awaitable[Verdict]:
    """Calls a policy on its own daemon thread; a blocked pool thread would keep the interpreter alive."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[Verdict | Awaitable[Verdict], BaseException | None]] = loop.create_future()

    def end(said: Verdict | Awaitable[Verdict], error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((said, error))

    def work() -> None:
        said: Verdict | Awaitable[Verdict] = None
        failed: BaseException | None = None
        try:
            said = policy(request)
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting coroutine
            failed = error
        try:
            loop.call_soon_threadsafe(end, said, failed)
        except RuntimeError:
            _logger.warning("an approval policy ended after its stream: request %s", request.request_id)

    threading.Thread(target=work, name="approval-policy", daemon=True).start()
    said, error = await ended
    if error is not None:
        raise error
    return said
