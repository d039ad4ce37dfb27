"""Everything that one embedded daemon is made of, without its server."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from digitorn_testing._handles import SessionHandle
from digitorn_testing._stream.asynchronous import AsyncLiveEventStream

from ._agent.activations import Activations
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
from ._store.background import Background
from ._store.secrets import AppSecrets, Credentials
from ._store.sessions import Session, SessionRepository, Sessions
from ._store.users import Users
from ._wire.socketio import Sockets

Examples: TypeAlias = Literal["warn", "answer", "refuse"]
"""What operations without behaviour do: answer with an example and warn, answer without, or refuse."""

logger = logging.getLogger(__name__)

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
        examples: What operations without behaviour do.
    """

    heartbeat: float
    approval_timeout: float
    approval_heartbeat: float
    turn_heartbeat: float
    warm_up: float
    log_delay: float
    queue_depth: int
    access_token_lifetime: float
    examples: Examples


class DaemonState:
    """The parts of a daemon, put together. Apart from `users` and `apps` it belongs to the daemon's thread.

    Args:
        settings: How it behaves.
        model: Who answers for apps that are deployed over REST.
        sockets: Where events go.
        rules: The faults of the daemon.

    Attributes:
        loop: The event loop of the daemon's thread, once that runs.
        warned_of: Ids of the operations that have answered with an example and said so.
    """

    def __init__(self, settings: Settings, model: FakeModel, sockets: Sockets, rules: Rules) -> None:
        self.settings = settings
        self.model = model
        self.rules = rules
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ready_at = 0.0
        self.warned_of = set[str]()
        self.users = Users(access_token_lifetime=settings.access_token_lifetime)
        self.apps = Apps()
        self.sessions = Sessions(SessionRepository(), log_delay=settings.log_delay)
        self.bus = EventBus(sockets)
        self.rooms = Rooms(sockets)
        self.approvals = Approvals()
        self.connections = Connections(self.bus, self.approvals, self.rooms, heartbeat=settings.heartbeat)
        self.log_rows = LogRows(self.bus)
        self.tool_runs = ToolRuns()
        self.secrets = AppSecrets()
        self.credentials = Credentials()
        self.background = Background()
        self.activations = Activations(self.background, self._agent_on)
        self.dispatcher = Dispatcher(
            self.bus,
            self._agent_on(self.bus),
            self.log_rows,
            self.approvals,
            queue_depth=settings.queue_depth,
            turn_heartbeat=settings.turn_heartbeat,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._behind = ""

    def _agent_on(self, bus: EventBus) -> Agent:
        return Agent(
            bus,
            self.approvals,
            LogRows(bus),
            self.tool_runs,
            approval_timeout=self.settings.approval_timeout,
            approval_heartbeat=self.settings.approval_heartbeat,
            is_on_wrong_loop=partial(self.rules.strikes, "wrong_event_loop"),
        )

    def take_over(self, before: "DaemonState") -> None:
        """Takes over what a dead process left on its disk, such as users, apps, and the sessions' logs."""
        self.users, self.apps, self.sessions = before.users, before.apps, before.sessions
        self.secrets, self.credentials, self.background = (
            before.secrets,
            before.credentials,
            before.background,
        )
        self.activations = Activations(self.background, self._agent_on)
        for session in self.sessions.all():
            session.log.crash()
        self.ready_at = time.monotonic() + self.settings.warm_up

    @property
    def is_warming_up(self) -> bool:
        """Whether the apps of the process before are still to be loaded."""
        return time.monotonic() < self.ready_at

    def is_on_loop(self) -> bool:
        """Whether this is called on the daemon's event loop."""
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def session_for(self, session: SessionHandle | str, user: str) -> Session:
        """A session; one that does not exist yet is created if its handle says in which app.

        Args:
            session: Its handle or id.
            user: Name of the user to whom a new one belongs.

        Raises:
            ValueError: There is no such session, and none can be created.
        """
        session_id = session if isinstance(session, str) else session.session_id
        found = self.sessions.repository.get(session_id)
        if found is not None:
            return found
        if isinstance(session, str):
            raise ValueError(f"the embedded daemon has no session {session_id!r}; a handle would create it")
        app, owner = self.apps.deployed(session.app_id), self.users.find(user)
        if app is None or owner is None:
            raise ValueError(f"the embedded daemon has no app {session.app_id!r} for session {session_id!r}")
        return self.sessions.create(app, owner, session_id, workspace=session.workspace)

    def begin_deployment(self, app: App) -> None:
        """Deploys an app a moment later; one of the same id serves until then."""
        self.spawn(self._deploy(app), f"deploy {app.app_id}")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Runs something that `drain` waits for.

        Args:
            work: What to run.
            name: What it is, in words.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s crashed", task.get_name(), exc_info=error)

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

    async def drain(self, streams: Iterable[AsyncLiveEventStream], timeout: float) -> None:
        """Waits until nothing runs and nothing waits, and what was sent has arrived.

        Args:
            streams: The streams that it is to arrive in.
            timeout: Seconds that each of them may take.
        """
        while True:
            while open_work := self._open_work():
                await asyncio.wait(open_work, return_when=asyncio.FIRST_COMPLETED)
                # What is done is taken off by callbacks, which run on the next round of the loop.
                await asyncio.sleep(0)
            for stream in streams:
                home = stream.core.home
                # Nothing is on its way to a stream that is not in its session's room.
                if home is not None and home.is_running() and stream.connection.state == "joined":
                    self._behind = stream.session_id
                    arriving = asyncio.run_coroutine_threadsafe(stream.drain(timeout), home)
                    await asyncio.wrap_future(arriving)
            self._behind = ""
            # Whoever has got the last event may have sent another message since.
            if not self._open_work():
                return

    def _open_work(self) -> "set[asyncio.Future[Any]]":
        waiting = {one.message.ended for session in self.sessions.all() for one in session.waiting}
        return {*self._tasks, *self.dispatcher.tasks, *self.tool_runs.threads, *waiting}

    def unfinished(self) -> list[str]:
        """What runs or waits, in words. May be called from another thread."""
        found = [one.get_name() for one in list(self._tasks)]
        for session in self.sessions.all():
            if session.turn is not None:
                found.append(f"turn {session.turn.correlation_id} of session {session.id}")
            if waiting := session.waiting:
                found.append(f"{len(waiting)} waiting in session {session.id}")
        if self._behind:
            found.append(f"events on their way to the stream of session {self._behind}")
        found += [one.get_name() for one in self.dispatcher.sub_agents.tasks]
        return [*found, *(f"the function of tool {name}" for name in self.tool_runs.unfinished)]

    async def stop(self) -> None:
        """Cuts off everything that runs."""
        for task in self._tasks:
            task.cancel()
        # Those who wait for a message that never got its turn are told.
        for session in self.sessions.all():
            session.remove_waiting()
        await self.connections.stop()
        await self.dispatcher.stop()
        await self.tool_runs.stop()
