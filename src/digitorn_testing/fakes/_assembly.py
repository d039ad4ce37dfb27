"""Everything that one embedded daemon is made of, without its server."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ._agent.agent import Agent
from ._agent.approvals import Approvals
from ._agent.bus import EventBus
from ._agent.connections import Connections
from ._agent.dispatcher import Dispatcher
from ._agent.rooms import Rooms
from ._agent.rows import LogRows
from ._agent.tool_runs import ToolRuns
from ._faults.rules import Rules
from ._model.model import FakeModel
from ._store.apps import App, Apps
from ._store.sessions import Session, SessionRepository, Sessions
from ._store.users import Users
from ._wire.socketio import Sockets

_DEPLOY_SECONDS: Final = 0.02
"""How long a deployment is under way; long enough to be seen, short enough not to be felt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a daemon behaves; times are in seconds.

    Attributes:
        heartbeat: Between two signs of life of a joined session.
        approval_timeout: Until an approval counts as denied.
        approval_heartbeat: Between two reminders of an open approval.
        turn_heartbeat: Between two signs of life of a turn.
        warm_up: After a restart, until calls under an app are answered.
        log_delay: Until an event can be read back.
        queue_depth: Most messages that wait in one session.
        access_token_lifetime: How long an access token is valid.
    """

    heartbeat: float
    approval_timeout: float
    approval_heartbeat: float
    turn_heartbeat: float
    warm_up: float
    log_delay: float
    queue_depth: int
    access_token_lifetime: float


class DaemonState:
    """The parts of a daemon, put together. Apart from `users` and `apps` it belongs to the daemon's thread.

    Args:
        settings: How it behaves.
        model: Who answers for apps that are deployed over REST.
        sockets: Where events go.
        rules: The faults of the daemon.
    """

    def __init__(self, settings: Settings, model: FakeModel, sockets: Sockets, rules: Rules) -> None:
        self.settings = settings
        self.model = model
        self.rules = rules
        self.ready_at = 0.0
        self.users = Users(access_token_lifetime=settings.access_token_lifetime)
        self.apps = Apps()
        self.sessions = Sessions(SessionRepository(), log_delay=settings.log_delay)
        self.bus = EventBus(sockets)
        self.rooms = Rooms(sockets)
        self.approvals = Approvals()
        self.connections = Connections(self.bus, self.approvals, self.rooms, heartbeat=settings.heartbeat)
        self.log_rows = LogRows(self.bus)
        self.tool_runs = ToolRuns()
        agent = Agent(
            self.bus,
            self.approvals,
            self.log_rows,
            self.tool_runs,
            approval_timeout=settings.approval_timeout,
            approval_heartbeat=settings.approval_heartbeat,
            is_on_wrong_loop=partial(rules.strikes, "wrong_event_loop"),
        )
        self.dispatcher = Dispatcher(
            self.bus,
            agent,
            self.log_rows,
            self.approvals,
            queue_depth=settings.queue_depth,
            turn_heartbeat=settings.turn_heartbeat,
        )
        self._deployments: set[asyncio.Task[None]] = set()

    def take_over(self, before: "DaemonState") -> None:
        """Takes over what a dead process left on its disk: users, apps, and the sessions' logs."""
        self.users, self.apps, self.sessions = before.users, before.apps, before.sessions
        for session in self.sessions.all():
            session.log.crash()
        self.ready_at = time.monotonic() + self.settings.warm_up

    @property
    def is_warming_up(self) -> bool:
        """Whether the apps of the process before are still to be loaded."""
        return time.monotonic() < self.ready_at

    def begin_deployment(self, app: App) -> None:
        """Deploys an app a moment later; one of the same id serves until then."""
        task = asyncio.get_running_loop().create_task(self._deploy(app), name=f"deploy {app.app_id}")
        self._deployments.add(task)
        task.add_done_callback(self._deployments.discard)

    async def _deploy(self, app: App) -> None:
        await asyncio.sleep(_DEPLOY_SECONDS)
        app.deploy()
        self.apps.put(app)

    async def delete_session(self, session: Session) -> None:
        """Forgets a session, cuts off what it runs, and then empties its room."""
        # First, so that nothing new begins in it.
        self.sessions.remove(session)
        await self.dispatcher.discard(session)
        await self.bus.close(session)

    async def drain(self) -> None:
        """Waits until nothing runs and nothing waits."""
        while open_work := self._open_work():
            await asyncio.wait(open_work, return_when=asyncio.FIRST_COMPLETED)
            # What is done is taken off by callbacks, which run on the next round of the loop.
            await asyncio.sleep(0)

    def _open_work(self) -> "set[asyncio.Future[Any]]":
        waiting = {one.message.ended for session in self.sessions.all() for one in session.waiting}
        return {*self._deployments, *self.dispatcher.tasks, *self.tool_runs.threads, *waiting}

    def unfinished(self) -> list[str]:
        """What runs or waits, in words. May be called from another thread."""
        found = [one.get_name() for one in list(self._deployments)]
        for session in self.sessions.all():
            if session.turn is not None:
                found.append(f"turn {session.turn.correlation_id} of session {session.id}")
            if waiting := session.waiting:
                found.append(f"{len(waiting)} waiting in session {session.id}")
        found += [one.get_name() for one in self.dispatcher.sub_agents.tasks]
        return [*found, *(f"the function of tool {name}" for name in self.tool_runs.unfinished)]

    async def stop(self) -> None:
        """Cuts off everything that runs."""
        for task in self._deployments:
            task.cancel()
        # Those who wait for a message that never got its turn are told.
        for session in self.sessions.all():
            session.remove_waiting()
        await self.connections.stop()
        await self.dispatcher.stop()
        await self.tool_runs.stop()
