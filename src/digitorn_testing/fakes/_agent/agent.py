"""The agent: turns a model's answers into the events of a turn."""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from digitorn_testing._approvals.policies import Decision
from digitorn_testing._apps.language import reads_only, risk_of, tool_name
from digitorn_testing._apps.tools import result_object
from digitorn_testing._events import choreography
from digitorn_testing._events.choreography import CallEvents, Speech, denial, said_of_result
from digitorn_testing._events.conventions import Op
from digitorn_testing._events.failures import INTERNAL_ERROR
from digitorn_testing._generated._runtime import EventPayload, NotGiven
from digitorn_testing._generated.events import QUESTION_TOOLS, ApprovalProgress, Hook, StreamDone
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.model import ModelMessage, ModelRequest, ModelToolCall
from digitorn_testing.fakes._model.script import Failure, Reply, ScriptedToolCall, Silence, Usage
from digitorn_testing.fakes._store.context import context_snapshot, usage_of
from digitorn_testing.fakes._store.sessions import Parked, Turn

from .approvals import Approvals, OpenApproval
from .bus import LOCAL_USER, EventBus
from .rows import LogRows
from .tool_runs import ToolRuns

_OVERFLOW: Final = "context_overflow"
_WRONG_LOOP: Final = "<asyncio.locks.Event [unset]> is bound to a different event loop"

_Call: TypeAlias = tuple[ModelToolCall, ScriptedToolCall]
"""A call, and what the tool does."""


@dataclass(frozen=True, slots=True)
class _ToolOutcome:
    """What came of a tool call; `said` is what the model is told."""

    result: dict[str, Any] | None
    error: str
    said: str


class Agent:
    """Runs turns (contract: events, sections 6.1 to 6.3).

    Args:
        bus: Where events are published.
        approvals: Where calls wait for a decision.
        rows: What the log holds of messages beside their events.
        tool_runs: Where the Python functions of tools run.
        approval_timeout: Seconds until an approval counts as denied.
        approval_heartbeat: Seconds between two reminders of an open approval.
        is_on_wrong_loop: Whether a turn fails as the released daemon sometimes lets it.
    """

    def __init__(
        self,
        bus: EventBus,
        approvals: Approvals,
        rows: LogRows,
        tool_runs: ToolRuns,
        *,
        approval_timeout: float,
        approval_heartbeat: float,
        is_on_wrong_loop: Callable[[], bool],
    ) -> None:
        self._bus = bus
        self._approvals = approvals
        self._rows = rows
        self._tool_runs = tool_runs
        self._approval_timeout = approval_timeout
        self._approval_heartbeat = approval_heartbeat
        self._is_on_wrong_loop = is_on_wrong_loop

    async def run(self, turn: Turn) -> str:
        """Asks the model until it answers with a text.

        Returns:
            The text.

        Raises:
            TurnFailed: The model gave no answer.
        """
        if self._is_on_wrong_loop():
            raise TurnFailed(INTERNAL_ERROR, _WRONG_LOOP)
        if turn.parked is not None:
            await self._go_on(turn, turn.parked)
        while True:
            request = _request(turn)
            turn.touch("requesting")
            await self._publish(turn, _context_status(turn))
            scripted = turn.app.model.take(request)
            if scripted.wait:
                await asyncio.sleep(scripted.wait)
            match scripted.answer:
                case Reply() as reply:
                    await self._say(turn, request, reply)
                    if not reply.calls:
                        return reply.text
                case Failure() as failure:
                    await self._stream(turn, failure.after)
                    if failure.code == _OVERFLOW:
                        await self._compact(turn)
                    raise TurnFailed(failure.code, failure.message)
                case Silence():
                    await asyncio.get_running_loop().create_future()

    # --- what the model says

    async def _say(self, turn: Turn, request: ModelRequest, reply: Reply) -> None:
        turn.model_calls += 1
        calls = [_new_call(one) for one in reply.calls]
        if reply.thinking:
            await self._think(turn, reply.thinking)
        await self._stream(turn, reply.pieces, reply.delay)
        # The stream of an answer ends with its text: before the first call, if there is one.
        if calls:
            await self._publish(turn, StreamDone())
        for call, _ in calls:
            await self._write_call(turn, call)
        await self._count(turn, usage_of(request, reply))
        if not calls:
            await self._publish(turn, StreamDone())
        if turn.model_calls == 1:
            self._rows.said(turn, ModelMessage("user", turn.message.text))
        message = ModelMessage("assistant", reply.text, tuple(call for call, _ in calls))
        turn.session.remember(message, reply.thinking)
        self._rows.said(turn, message)
        turn.session.partial = None
        await self._use_tools(turn, calls)

    async def _compact(self, turn: Turn) -> None:
        """Tells of the attempt to make the conversation shorter, which saves nothing here."""
        context = context_snapshot(turn.app.definition, turn.session.conversation)
        op = Op(f"op-compact-{uuid.uuid4().hex[:12]}", "compact", "running")
        started, done = choreography.overflow_compaction(context, messages=turn.session.message_count)
        await self._bus.publish(turn.session, started, op=op)
        await self._bus.publish(turn.session, done, op=replace(op, state="completed"))

    async def _stream(self, turn: Turn, chunks: Iterable[str], delay: float = 0.0) -> None:
        speech = Speech(follows_text=turn.has_spoken)
        for place, chunk in enumerate(chunks):
            if place and delay:
                await asyncio.sleep(delay)
            turn.touch("generating")
            tokens = list(speech.piece(chunk))
            turn.has_spoken = speech.has_spoken
            turn.session.partial = (turn.session.partial or "") + chunk
            await self._publish(turn, *tokens)
            self._rows.streamed(turn)

    async def _think(self, turn: Turn, text: str) -> None:
        turn.touch("thinking")
        await self._publish(turn, *choreography.thinking(text))

    async def _count(self, turn: Turn, usage: Usage) -> None:
        turn.tokens_in += usage.input_tokens
        turn.tokens_out += usage.output_tokens
        turn.session.tokens.prompt += usage.input_tokens
        turn.session.tokens.completion += usage.output_tokens
        await self._publish(turn, *choreography.counted(usage.input_tokens, usage.output_tokens))

    # --- tools

    async def _write_call(self, turn: Turn, call: ModelToolCall) -> None:
        turn.touch("generating")
        await self._publish(turn, *_events_of(turn, call).streamed())

    async def _use_tools(self, turn: Turn, calls: Sequence[_Call]) -> None:
        """Runs the calls of one answer: neighbours that only read in parallel, the others one by one."""
        for reads, neighbours in itertools.groupby(calls, key=lambda one: _only_reads(one[1])):
            group = list(neighbours)
            if reads and len(group) > 1:
                await self._use_in_parallel(turn, group)
            else:
                for call, scripted in group:
                    outcome = await self._use_tool(turn, call, scripted)
                    self._remember_result(turn, call, outcome)

    async def _use_in_parallel(self, turn: Turn, calls: Sequence[_Call]) -> None:
        ended: dict[str, _ToolOutcome] = {}

        async def use(call: ModelToolCall, scripted: ScriptedToolCall) -> None:
            ended[call.id] = await self._use_tool(turn, call, scripted)

        try:
            async with asyncio.TaskGroup() as group:
                for call, scripted in calls:
                    group.create_task(use(call, scripted), name=f"call {call.id} of {call.name}")
        finally:
            # In the order of the calls, whatever order they ended in, and even if the others are cut off.
            for call, _ in calls:
                if call.id in ended:
                    self._remember_result(turn, call, ended[call.id])

    async def _use_tool(self, turn: Turn, call: ModelToolCall, scripted: ScriptedToolCall) -> _ToolOutcome:
        turn.touch("tool_use")
        turn.tool_calls += 1
        await self._publish(turn, _events_of(turn, call).started())
        outcome = await self._outcome(turn, scripted)
        await self._end_call(turn, call, outcome)
        return outcome

    async def _go_on(self, turn: Turn, parked: Parked) -> None:
        """Ends the call that a seeded turn is parked at."""
        outcome = await self._outcome(turn, parked.scripted, parked.request)
        await self._end_call(turn, parked.call, outcome)
        self._remember_result(turn, parked.call, outcome)

    async def _outcome(
        self, turn: Turn, scripted: ScriptedToolCall, asked: PendingApproval | None = None
    ) -> _ToolOutcome:
        definition = turn.app.definition
        refusal = definition.refusal(scripted.name) if asked is None else ""
        if refusal:
            return _refused(refusal)
        if asked or scripted.requires_approval or definition.requires_approval(scripted.name):
            decision = await self._decision(turn, scripted, asked)
            if scripted.name in QUESTION_TOOLS:
                return _succeeded(
                    choreography.answer(scripted.params, approved=decision.approved, said=decision.message)
                )
            if not decision.approved:
                return _refused(denial(tool_name(scripted.name), decision.message))
        if scripted.delay:
            await asyncio.sleep(scripted.delay)
        return await self._done(turn, scripted)

    async def _done(self, turn: Turn, scripted: ScriptedToolCall) -> _ToolOutcome:
        """What the tool did: as the script has it, else as the app's function does it."""
        if isinstance(scripted.result, NotGiven):
            tool = turn.app.definition.python_tools.get(scripted.name)
            if tool is None or scripted.error:
                return _failed(scripted.error) if scripted.error else _ToolOutcome(None, "", "")
            run = await self._tool_runs.run(tool, scripted.params)
            return _failed(run.error) if run.error else _succeeded(run.result)
        result = result_object(scripted.result)
        if scripted.error:
            return _ToolOutcome(result, scripted.error, scripted.error)
        return _succeeded(result)

    async def _end_call(self, turn: Turn, call: ModelToolCall, outcome: _ToolOutcome) -> None:
        if outcome.error:
            turn.session.tools_failed += 1
        else:
            turn.session.tools_succeeded += 1
        turn.touch("tool_use")
        events = _events_of(turn, call)
        await self._publish(turn, events.ended(outcome.result, outcome.error))
        if outcome.error:
            return
        if (relayed := choreography.relayed(call.name, outcome.result)) is not None:
            turn.session.memory.take(outcome.result or {})
            op = Op(f"op-legacy-{uuid.uuid4().hex[:12]}", "system", "running")
            await self._bus.publish(turn.session, relayed, op=op, user_id=LOCAL_USER)
        await self._publish(turn, *events.derived(outcome.result))

    # --- approvals

    async def _decision(
        self, turn: Turn, scripted: ScriptedToolCall, asked: PendingApproval | None
    ) -> Decision:
        """Parks the turn until somebody decides; a denied call is asked for once more.

        Args:
            turn: The turn.
            scripted: The call.
            asked: The request, if it is out already.
        """
        definition = turn.app.definition
        tool = definition.python_tools.get(scripted.name)
        usual = tool.risk_level if tool is not None else risk_of(scripted.name)
        risk_level = scripted.risk_level or usual
        call = replace(scripted, risk_level=risk_level)
        if asked is None:
            approval = self._approvals.open(turn.session, definition.agents[0], call)
        else:
            approval = self._approvals.adopt(asked, turn.session)
        decision = await self._ask(turn, approval, is_told=asked is not None)
        if not decision.approved and call.name not in QUESTION_TOOLS:
            again = self._approvals.reopen(approval, tool_name(call.name), decision.message)
            decision = await self._ask(turn, again)
        return decision

    async def _ask(self, turn: Turn, approval: OpenApproval, *, is_told: bool = False) -> Decision:
        try:
            if not is_told:
                await self._bus.publish(turn.session, choreography.approval_request(approval.request))
            decision = await self._await_decision(turn, approval)
        finally:
            self._approvals.close(approval)
        resolved = choreography.approval_resolved(
            approval.request, approved=decision.approved, reason=decision.message
        )
        await self._bus.publish(turn.session, resolved)
        return decision

    async def _await_decision(self, turn: Turn, approval: OpenApproval) -> Decision:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._approval_timeout
        while (left := deadline - loop.time()) > 0:
            await asyncio.wait({approval.decision}, timeout=min(left, self._approval_heartbeat))
            if approval.decision.done():
                return approval.decision.result()
            if (left := deadline - loop.time()) > 0:
                await self._remind(turn, approval, left)
        return Decision(
            approved=False,
            message=f"Approval timed out after {self._approval_timeout:g}s (no response from user).",
        )

    async def _remind(self, turn: Turn, approval: OpenApproval, left: float) -> None:
        reminder = ApprovalProgress.from_wire(
            {
                **choreography.approval_members(approval.request),
                "approved": False,
                "reason": "pending_heartbeat",
                "description": f"(still waiting - {left:.0f}s left) {approval.request.description}",
            }
        )
        await self._bus.publish(turn.session, reminder)

    # --- both

    async def _publish(self, turn: Turn, *payloads: EventPayload) -> None:
        for payload in payloads:
            await self._bus.publish(turn.session, payload, correlation_id=turn.told_id)

    def _remember_result(self, turn: Turn, call: ModelToolCall, outcome: _ToolOutcome) -> None:
        message = ModelMessage("tool", outcome.said, tool_call_id=call.id)
        turn.session.remember(message)
        self._rows.said(turn, message)


def _request(turn: Turn) -> ModelRequest:
    definition = turn.app.definition
    return ModelRequest(
        system_prompt=definition.system_prompt,
        messages=tuple(turn.session.conversation.for_model()),
        tools=definition.tools,
        app_id=definition.app_id,
        session_id=turn.session.id,
        excluded_tools=definition.excluded_tools,
        model_settings=definition.model_settings,
    )


def _context_status(turn: Turn) -> Hook:
    context = context_snapshot(turn.app.definition, turn.session.conversation)
    return choreography.context_status(context, messages=turn.session.message_count)


def _new_call(scripted: ScriptedToolCall) -> _Call:
    # A copy: the same answer may be given again.
    copied = replace(scripted)
    return ModelToolCall(f"call_{uuid.uuid4().hex[:12]}", copied.name, copied.params), copied


def _only_reads(call: ScriptedToolCall) -> bool:
    return reads_only(call.name) if call.read_only is None else call.read_only


def _events_of(turn: Turn, call: ModelToolCall) -> CallEvents:
    return CallEvents(call.id, call.name, call.params, turn.correlation_id)


def _succeeded(result: dict[str, Any] | None) -> _ToolOutcome:
    return _ToolOutcome(result, "", said_of_result(result))


def _refused(error: str) -> _ToolOutcome:
    return _ToolOutcome(choreography.refused(error), error, error)


def _failed(error: str) -> _ToolOutcome:
    return _ToolOutcome(None, error, error)
