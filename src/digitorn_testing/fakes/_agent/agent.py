"""The agent: turns a model's answers into the events of a turn."""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn, TypeAlias

from digitorn_testing._approvals.policies import Decision
from digitorn_testing._apps.language import reads_only, tool_name
from digitorn_testing._apps.tools import ToolContext, result_object
from digitorn_testing._events import choreography
from digitorn_testing._events.choreography import CallEvents, Speech, denial, said_of_result
from digitorn_testing._events.conventions import Op
from digitorn_testing._events.failures import INTERNAL_ERROR
from digitorn_testing._generated._runtime import EventPayload, NotGiven
from digitorn_testing._generated.events import (
    QUESTION_TOOLS,
    AgentEvent,
    ApprovalProgress,
    Hook,
    StreamDone,
    SystemMessage,
)
from digitorn_testing._generated.models import PendingApproval
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._model.requests import ModelMessage, ModelRequest, ModelToolCall
from digitorn_testing.fakes._model.script import (
    Failure,
    ModelAnswer,
    Reply,
    ScriptedToolCall,
    Silence,
    Usage,
)
from digitorn_testing.fakes._store.context import context_snapshot, usage_of
from digitorn_testing.fakes._store.sessions import Parked, Turn

from .approvals import Approvals, OpenApproval
from .bus import LOCAL_USER, EventBus
from .given import blocked_by_mode, request_of
from .rows import LogRows
from .sub_agents import AGENT_TOOL, MODULE, SubAgent, SubAgents
from .tool_runs import ToolRuns

_NO_SUB_SUB_AGENTS: Final = (
    "Sub-agents cannot spawn sub-agents. Only the coordinator agent may launch workers via the Agent tool."
)
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
        self.sub_agents = SubAgents(self._work)

    async def run(self, turn: Turn, told: Iterable[SystemMessage] = ()) -> str:
        """Asks the model until it answers without a call.

        Args:
            turn: The turn, whose message is in the conversation.
            told: What the daemon tells the model beside it.

        Returns:
            The text.

        Raises:
            TurnFailed: The model gave no answer.
        """
        if self._is_on_wrong_loop():
            raise TurnFailed(INTERNAL_ERROR, _WRONG_LOOP)
        if turn.parked is not None:
            await self._go_on(turn, turn.parked)
        for directive in told:
            await self._bus.publish(turn.session, directive)
        while True:
            request = request_of(turn)
            turn.touch("requesting")
            await self._publish(turn, _context_status(turn))
            turn.has_asked = True
            match await _answer(turn, request):
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
                    await _forever()

    # --- what the model says

    async def _say(self, turn: Turn, request: ModelRequest, reply: Reply) -> None:
        turn.model_calls += 1
        calls: list[_Call] = []
        if reply.thinking:
            await self._think(turn, reply.thinking)
        for said in reply.blocks:
            if not isinstance(said, ScriptedToolCall):
                await self._stream(turn, said, reply.delay)
                continue
            # To the daemon, the text ends with the first call, whatever is written behind it.
            if not calls:
                await self._publish(turn, StreamDone())
            calls.append(_new_call(said))
            await self._write_call(turn, calls[-1][0])
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
        speech = Speech(follows_text=turn.has_spoken, is_paced=delay > 0)
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
        outcome = await self._outcome(turn, call, scripted, turn.app.definition.agents[0])
        await self._end_call(turn, call, outcome)
        return outcome

    async def _go_on(self, turn: Turn, parked: Parked) -> None:
        """Ends the call that a seeded turn is parked at."""
        outcome = await self._outcome(
            turn, parked.call, parked.scripted, turn.app.definition.agents[0], parked.request
        )
        await self._end_call(turn, parked.call, outcome)
        self._remember_result(turn, parked.call, outcome)

    async def _outcome(
        self,
        turn: Turn,
        call: ModelToolCall,
        scripted: ScriptedToolCall,
        agent_id: str,
        asked: PendingApproval | None = None,
    ) -> _ToolOutcome:
        definition = turn.app.definition
        refusal = (
            blocked_by_mode(turn, tool_name(call.name)) or definition.refusal(call.name) or scripted.denied
        )
        if refusal and asked is None:
            return _refused(refusal)
        if asked or scripted.requires_approval or definition.requires_approval(call.name):
            decision = await self._decision(turn, scripted, agent_id, asked)
            if call.name in QUESTION_TOOLS:
                return _succeeded(
                    choreography.answer(call.params, approved=decision.approved, said=decision.message)
                )
            if not decision.approved:
                return _refused(denial(tool_name(call.name), decision.message))
        if scripted.delay:
            await asyncio.sleep(scripted.delay)
        if isinstance(scripted.result, NotGiven):
            return await self._done(turn, call, scripted, agent_id)
        result = result_object(scripted.result)
        return _failed(scripted.error, result) if scripted.error else _succeeded(result)

    async def _done(
        self, turn: Turn, call: ModelToolCall, scripted: ScriptedToolCall, agent_id: str
    ) -> _ToolOutcome:
        """What a tool does of itself: the app's function, or the start of a sub-agent."""
        tool = turn.app.definition.python_tools.get(call.name)
        if scripted.error:
            return _failed(scripted.error)
        if tool is not None:
            run = await self._tool_runs.run(tool, call.params, _context(turn, call, agent_id))
        elif call.name == AGENT_TOOL and MODULE in turn.app.definition.modules:
            run = await self.sub_agents.use(turn, call.params)
        else:
            return _ToolOutcome(None, "", "")
        if run.is_denied:
            return _refused(run.error)
        return _failed(run.error, run.result) if run.error else _succeeded(run.result)

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
        if call.name == AGENT_TOOL and MODULE in turn.app.definition.modules:
            await self._publish(turn, _agent_event(outcome.result or {}))

    # --- sub-agents

    async def _work(self, agent: SubAgent) -> str:
        """Lets a sub-agent work until the model answers it without a call; no event tells of its calls."""
        turn = agent.turn
        messages = [ModelMessage("user", agent.task)]
        while True:
            match await _answer(turn, _request_of_sub_agent(agent, messages)):
                case Failure() as failure:
                    raise TurnFailed(failure.code, failure.message)
                case Silence():
                    await _forever()
                case Reply() as reply:
                    if reply.is_endless:
                        await _forever()
                    await asyncio.sleep(reply.delay * max(0, len(reply.chunks) - 1))
                    agent.rounds += 1
                    if not reply.calls:
                        return reply.text
                    calls = [_new_call(one) for one in reply.calls]
                    messages.append(ModelMessage("assistant", reply.text, tuple(call for call, _ in calls)))
                    for call, scripted in calls:
                        messages.append(await self._used(agent, call, scripted))

    async def _used(self, agent: SubAgent, call: ModelToolCall, scripted: ScriptedToolCall) -> ModelMessage:
        if call.name == AGENT_TOOL:
            outcome = _failed(_NO_SUB_SUB_AGENTS)
        else:
            outcome = await self._outcome(agent.turn, call, scripted, agent.id)
        agent.calls.append({"name": call.name, "params": dict(call.params), "success": not outcome.error})
        return ModelMessage("tool", outcome.said, tool_call_id=call.id)

    # --- approvals

    async def _decision(
        self, turn: Turn, scripted: ScriptedToolCall, agent_id: str, asked: PendingApproval | None
    ) -> Decision:
        """Parks the turn until somebody decides; a denied call is asked for once more.

        Args:
            turn: The turn.
            scripted: The call.
            agent_id: The agent that calls.
            asked: The request, if it is out already.
        """
        risk_level = scripted.risk_level or turn.app.definition.risk_of(scripted.name)
        call = replace(scripted, risk_level=risk_level)
        if asked is None:
            approval = self._approvals.open(turn.session, agent_id, call)
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


async def _answer(turn: Turn, request: ModelRequest) -> ModelAnswer:
    scripted = await turn.app.model.take(request)
    await asyncio.sleep(scripted.wait)
    return scripted.answer


async def _forever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends this")


def _context(turn: Turn, call: ModelToolCall, agent_id: str) -> ToolContext:
    owner = turn.session.owner
    return ToolContext(owner.app_id, owner.session_id, owner.user_id, call.id, turn.correlation_id, agent_id)


def _request_of_sub_agent(agent: SubAgent, messages: Iterable[ModelMessage]) -> ModelRequest:
    definition = agent.turn.app.definition
    specialist = definition.specialists.get(agent.name)
    return ModelRequest(
        system_prompt=agent.system_prompt,
        messages=tuple(messages),
        tools=definition.tools,
        app_id=definition.app_id,
        session_id=agent.turn.session.id,
        excluded_tools=definition.excluded_tools,
        model_settings=definition.model_settings if specialist is None else specialist.model_settings,
        agent=agent.name,
        agent_id=agent.id,
    )


def _agent_event(result: Mapping[str, Any]) -> AgentEvent:
    """The event that is derived from what the `Agent` tool returned (contract: events, section 5.4)."""
    told: dict[str, Any] = {"action": "agent", "name": AGENT_TOOL}
    if "results" in result:
        told["action"] = "agent_wait_all"
        told["completed_agents"] = [
            {"agent_id": one["agent_id"], "status": one["status"]} for one in result["results"]
        ]
    told |= {key: result[key] for key in ("agent_id", "specialist", "status") if key in result}
    if "task" in result:
        told["task"] = result["task"][:200]
    op_id = told.get("agent_id") or f"op-agent-{uuid.uuid4().hex[:12]}"
    return AgentEvent.from_wire({**told, "result": result, "op_id": op_id})


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


def _failed(error: str, result: dict[str, Any] | None = None) -> _ToolOutcome:
    return _ToolOutcome(result, error, error)
