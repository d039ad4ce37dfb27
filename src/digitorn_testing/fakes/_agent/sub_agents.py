"""Sub-agents: what the `Agent` tool of the module `agent_spawn` starts, waits for and cancels.

No event tells how one ends; the session's list of agents does (contract: events, section 5.4).
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from digitorn_testing._generated import models
from digitorn_testing.fakes._model.failures import TurnFailed
from digitorn_testing.fakes._store.sessions import Turn

from .tool_runs import ToolRun

AGENT_TOOL: Final = "Agent"
"""Name of the tool."""

MODULE: Final = "agent_spawn"
"""Id of its module."""

GENERIC: Final = "generic"
"""Name of a sub-agent that the app does not define."""

_RULES: Final = (
    "You are a background sub-agent. Your output goes to a coordinator, not a human. Follow these rules "
    "strictly:\n\n"
)
_ANONYMOUS: Final = "You are a helpful assistant."
_MAX_WORKERS: Final = 20
_SECONDS: Final = 3600.0
_METRICS: Final = {"tokens_in": 0, "tokens_out": 0, "tool_calls": 0, "turns": 0}
"""What an agent used: the daemon counts nothing for agents whose starter is no coordinator."""

_NOTHING_ASKED: Final = (
    "Must provide either:\n"
    "  - prompt (to spawn an agent)\n"
    "  - agent_id (to check/wait/cancel)\n"
    "  - agent_ids (to wait for multiple)\n"
    "  - list=true (to list all agents)"
)

Status: TypeAlias = Literal["running", "completed", "failed", "cancelled", "timeout"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class SubAgent:
    """One sub-agent.

    Attributes:
        turn: The turn that started it.
        task: What it was asked to do.
        specialist: Agent of the app that it is; None for none in particular.
        own_prompt: System prompt that it was started with.
        description: What it does, for people.
        seconds: How long it may take.
        id: Its id.
        status: Where it stands.
        content: Its answer.
        error: Why it failed.
        rounds: How often the model has answered it.
        calls: Its tool calls.
        work: The task that does the work.
    """

    turn: Turn
    task: str
    specialist: str | None
    own_prompt: str
    description: str
    seconds: float
    id: str = field(default_factory=lambda: f"agent_{uuid.uuid4().hex[:8]}")
    status: Status = "running"
    content: str = ""
    error: str = ""
    rounds: int = 0
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    work: "asyncio.Task[None] | None" = None
    _begun_at: float = field(default_factory=time.monotonic)
    _ended_at: float | None = None

    @property
    def name(self) -> str:
        """Name of the agent, as the app defines it."""
        return self.specialist or GENERIC

    @property
    def system_prompt(self) -> str:
        """Its system prompt."""
        found = self.turn.app.definition.specialists.get(self.specialist or "")
        return _RULES + (found.system_prompt if found is not None else self.own_prompt or _ANONYMOUS)

    @property
    def duration(self) -> float:
        """Seconds that it has run."""
        return (self._ended_at or time.monotonic()) - self._begun_at

    def end(self, status: Status, *, content: str = "", error: str = "") -> None:
        """Notes how it ended."""
        self.status, self.content, self.error = status, content, error
        self._ended_at = time.monotonic()

    def result(self) -> dict[str, Any]:
        """It as the tool tells of it."""
        named = {"agent_id": self.id, "status": self.status, "task": self.task, "specialist": self.specialist}
        if self.status == "running":
            return {**named, "elapsed_seconds": round(self.duration, 1), "metrics": _METRICS}
        return {
            **named,
            "content": self.content,
            "turns_used": self.rounds,
            "duration_seconds": round(self.duration, 1),
            "memory": {},
            "errors": [self.error] if self.error else [],
            "tool_calls": self.calls,
            "description": self.description,
            "metrics": _METRICS,
        }

    def view(self) -> models.SessionAgent:
        """It as the session's list shows it."""
        summary = next((line.strip() for line in self.content.splitlines() if line.strip()), "")
        return models.SessionAgent(
            agent_id=self.id,
            status=self.status,
            specialist=self.specialist or "",
            task=self.task[:200],
            description=self.description,
            duration_seconds=self.duration,
            tool_calls_count=len(self.calls),
            preview=self.content[:200],
            result_summary=summary[:120],
            error=self.error or None,
            metrics=models.AgentMetrics.from_wire(_METRICS),
        )


class SubAgents:
    """The sub-agents of one process of the daemon.

    Args:
        run: Lets one work, and returns its answer.
    """

    def __init__(self, run: Callable[[SubAgent], Awaitable[str]]) -> None:
        self._run = run
        self._by_session: dict[str, dict[str, SubAgent]] = {}

    @property
    def tasks(self) -> "frozenset[asyncio.Task[None]]":
        """The work that is not done yet."""
        found = (one.work for agents in self._by_session.values() for one in agents.values())
        return frozenset(one for one in found if one is not None and not one.done())

    async def use(self, turn: Turn, params: Mapping[str, Any]) -> ToolRun:
        """What a call of the tool does.

        Args:
            turn: The turn that calls.
            params: Arguments of the call.
        """
        agents = self._by_session.setdefault(turn.session.id, {})
        seconds = float(params.get("timeout") or _SECONDS)
        if params.get("list_agents") or params.get("list"):
            return _listed(agents)
        if params.get("agent_ids") is not None:
            return await _all_of(agents, list(params["agent_ids"]), seconds)
        agent_id = params.get("agent_id")
        if not agent_id:
            return await self._spawned(agents, turn, params, seconds)
        agent = agents.get(agent_id)
        if agent is None:
            return ToolRun(None, f"Agent '{agent_id}' not found.")
        if params.get("cancel"):
            return await _cancelled(agent)
        if params.get("reassign"):
            await _cancelled(agent)
            del agents[agent.id]
            task = {"prompt": params["reassign"], "specialist": agent.specialist}
            return await self._spawned(agents, turn, task, seconds)
        return await _waited(agents, agent, seconds) if params.get("wait") else ToolRun(agent.result())

    async def _spawned(
        self, agents: dict[str, SubAgent], turn: Turn, params: Mapping[str, Any], seconds: float
    ) -> ToolRun:
        if not params.get("prompt"):
            return ToolRun(None, _NOTHING_ASKED)
        agent = SubAgent(
            turn,
            str(params["prompt"]),
            params.get("specialist"),
            str(params.get("system_prompt") or ""),
            str(params.get("description") or ""),
            seconds,
        )
        agents[agent.id] = agent
        agent.work = asyncio.create_task(self._work(agent), name=f"sub-agent {agent.id} ({agent.name})")
        if params.get("wait"):
            return await _waited(agents, agent, seconds)
        return ToolRun(
            {
                "agent_id": agent.id,
                "specialist": agent.specialist,
                "description": agent.description,
                "task": agent.task,
                "status": agent.status,
                "running_agents": sum(one.status == "running" for one in agents.values()),
                "max_workers": _MAX_WORKERS,
            }
        )

    async def _work(self, agent: SubAgent) -> None:
        try:
            async with asyncio.timeout(agent.seconds):
                agent.end("completed", content=await self._run(agent))
        except asyncio.CancelledError:
            agent.end("cancelled")
            raise
        except TimeoutError:
            agent.end("timeout", error=f"Agent timed out after {agent.seconds}s")
        except TurnFailed as failure:
            agent.end("failed", error=failure.message)
        except Exception as error:
            logger.exception("sub-agent %s crashed", agent.id)
            agent.end("failed", error=f"{type(error).__name__}: {error}")

    # --- from outside

    def view(self, session_id: str) -> models.SessionAgents:
        """The sub-agents of a session as the contract shows them."""
        agents = [one.view() for one in self._by_session.get(session_id, {}).values()]
        running = sum(one.status == "running" for one in agents)
        return models.SessionAgents(agents=agents, total=len(agents), running=running)

    def cancel_by_user(self, session_id: str, agent_id: str) -> models.SessionAgentCancellation:
        """Cancels one on behalf of the user."""
        agent = self._by_session.get(session_id, {}).get(agent_id)
        if agent is None:
            return models.SessionAgentCancellation(agent_id=agent_id, status="not_found")
        if agent.status != "running":
            return models.SessionAgentCancellation(
                agent_id=agent_id, status="already_terminal", terminal_status=agent.status
            )
        _cut_off(agent)
        return models.SessionAgentCancellation(agent_id=agent_id, status="cancelling")

    def discard(self, session_id: str) -> bool:
        """Cuts off and forgets the sub-agents of a session.

        Returns:
            Whether any ran.
        """
        agents = self._by_session.pop(session_id, {}).values()
        return sum(map(_cut_off, agents)) > 0

    async def stop(self) -> None:
        """Cuts off all of them."""
        tasks = self.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cut_off(agent: SubAgent) -> bool:
    return agent.status == "running" and agent.work is not None and agent.work.cancel()


async def _cancelled(agent: SubAgent) -> ToolRun:
    if agent.work is None or not _cut_off(agent):
        return ToolRun(None, f"Agent '{agent.id}' is not running.")
    await asyncio.wait({agent.work})
    return ToolRun({"agent_id": agent.id, "status": "cancelled"})


async def _waited(agents: dict[str, SubAgent], agent: SubAgent, seconds: float) -> ToolRun:
    if agent.work is not None:
        await asyncio.wait({agent.work}, timeout=seconds)
    if agent.status == "running":
        later = f"Check later with Agent(agent_id='{agent.id}')."
        return ToolRun(None, f"Agent '{agent.id}' still running after {seconds}s. {later}")
    if agent.status == "completed":
        agents.pop(agent.id, None)
    return ToolRun(agent.result())


async def _all_of(agents: dict[str, SubAgent], wanted: list[str], seconds: float) -> ToolRun:
    ids = wanted or [one.id for one in agents.values() if one.status == "running"]
    if not ids:
        return ToolRun({"message": "No running agents to wait for.", "results": [], "completed": 0})
    found = [agents[one] for one in ids if one in agents]
    works = {one.work for one in found if one.work is not None}
    if works:
        await asyncio.wait(works, timeout=seconds)
    results = [
        {"agent_id": one, "status": "not_found"} if one not in agents else agents[one].result() for one in ids
    ]
    late = [one.id for one in found if one.status == "running"]
    completed = sum(one.status == "completed" for one in found)
    return ToolRun(
        {
            "results": results,
            "total": len(results),
            "completed": completed,
            "failed": sum(one.status in ("failed", "timeout") for one in found),
            "timed_out": late,
            "message": f"{completed}/{len(results)} agents completed"
            + (f", {len(late)} still running" if late else ""),
        }
    )


def _listed(agents: dict[str, SubAgent]) -> ToolRun:
    shown = [
        {
            "agent_id": one.id,
            "task": one.task[:80],
            "specialist": one.specialist,
            "description": one.description,
            "status": one.status,
            "metrics": _METRICS,
        }
        for one in agents.values()
    ]
    running = sum(one.status == "running" for one in agents.values())
    return ToolRun({"agents": shown, "total": len(shown), "running": running, "max_workers": _MAX_WORKERS})
