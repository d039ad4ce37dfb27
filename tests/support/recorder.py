"""A raw Socket.IO client that keeps what it is sent, and what it must find in it."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import socketio  # pyright: ignore[reportMissingTypeStubs] - the package has none
from pydantic import ValidationError

from contract.event_schemas import schema_faults
from digitorn_testing._generated.events import EVENT_NAMESPACE, EVENTS, EventEnvelope, EventPayload
from digitorn_testing.fakes import FakeDaemon, FakeModel, ModelRequest, User

from .sessions import add_session

SECONDS = 15.0
"""How long anything may take to arrive."""

APP = "my-app"

SocketRefused = cast("type[Exception]", cast("Any", socketio).exceptions.ConnectionError)
"""What a client raises whose connection is refused."""

Frame = dict[str, Any]


class Recorder:
    """One socket, everything it was sent in order of arrival, and a check of each frame."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.faults: list[str] = []
        self.lost = asyncio.Event()
        self._arrived = asyncio.Condition()
        self.sio: Any = socketio.AsyncClient(reconnection=False)
        self.sio.on("event", self._keep, namespace=EVENT_NAMESPACE)
        self.sio.on("disconnect", self._disconnected, namespace=EVENT_NAMESPACE)

    async def _disconnected(self, *_: object) -> None:
        self.lost.set()

    async def _keep(self, frame: Frame) -> None:
        self.faults.extend(faults_of(frame))
        # Before anything is awaited, so that an acknowledgement never overtakes what came before it.
        self.frames.append(frame)
        async with self._arrived:
            self._arrived.notify_all()

    async def until(self, is_enough: Callable[[list[Frame]], bool]) -> None:
        """Waits until what has arrived is enough."""
        async with asyncio.timeout(SECONDS):
            async with self._arrived:
                try:
                    await self._arrived.wait_for(lambda: is_enough(self.frames))
                except TimeoutError as error:
                    raise AssertionError(f"arrived: {self.types()}") from error

    async def wait_for(self, wire: str, count: int = 1) -> Frame:
        """The count-th frame of a type."""
        await self.until(lambda frames: sum(one["type"] == wire for one in frames) >= count)
        return self.of(wire)[count - 1]

    async def wait_for_turn(self, wire: str, correlation_id: str) -> Frame:
        """The first frame of a type in a turn."""

        def is_it(frame: Frame) -> bool:
            return frame["type"] == wire and frame.get("correlation_id") == correlation_id

        await self.until(lambda frames: any(map(is_it, frames)))
        return next(filter(is_it, self.frames))

    async def call(self, name: str, request: object, namespace: str = EVENT_NAMESPACE) -> Any:
        """The acknowledgement of a command."""
        return await self.sio.call(name, request, namespace=namespace, timeout=SECONDS)

    async def join(self, session_id: str, **more: object) -> Any:
        """Joins a session of the usual app."""
        return await self.call("join_session", {"app_id": APP, "session_id": session_id, **more})

    def of(self, wire: str) -> list[Frame]:
        """The frames of a type."""
        return [one for one in self.frames if one["type"] == wire]

    def types(self, start: int = 0) -> list[str]:
        """The types in order of arrival."""
        return [one["type"] for one in self.frames[start:]]

    def turn(self, correlation_id: str) -> list[str]:
        """The types of one turn in order of arrival; see `folded`."""
        return folded([one["type"] for one in self.frames if one.get("correlation_id") == correlation_id])


_ASIDES = frozenset({"in_token", "out_token", "turn:heartbeat", "hook", "terminal_output"})
"""What may stand anywhere in a turn, or repeats what another event tells."""


def folded(types: list[str]) -> list[str]:
    """Types with runs of the same one written once, without those that say nothing of the order."""
    return [key for key, _ in itertools.groupby(one for one in types if one not in _ASIDES)]


def faults_of(frame: Frame) -> list[str]:
    """What in a frame breaks the contract: its JSON Schemas, or the classes that are generated from them."""
    return schema_faults(frame) + _class_faults(frame)


def _class_faults(frame: Frame) -> list[str]:
    try:
        envelope = EventEnvelope.from_wire(frame)
    except ValidationError as error:
        return [f"envelope: {error}"]
    model: type[EventPayload] | None = EVENTS.payload_class(envelope.type, envelope.payload)
    if model is None:
        return [f"{envelope.type}: not in the contract"]
    try:
        payload = model.from_wire(envelope.payload)
    except ValidationError as error:
        return [f"{envelope.type}: {error}"]
    # Live frames carry nothing that the contract does not name; copies repeat the operation's ids.
    if "event_id" in frame and "event_id" not in envelope.payload and payload.model_extra:
        return [f"{envelope.type}: also has {sorted(payload.model_extra)}"]
    return []


def calls_without_result(request: ModelRequest) -> list[str]:
    """The calls in a request to the model that are not answered right behind it; a model refuses these."""
    found: list[str] = []
    for place, message in enumerate(request.messages):
        behind = itertools.takewhile(lambda one: one.role == "tool", request.messages[place + 1 :])
        answered = {one.tool_call_id for one in behind}
        found += [call.id for call in message.tool_calls if call.id not in answered]
    return found


def results_without_call(request: ModelRequest) -> list[str | None]:
    """The results in a request to the model whose calls it does not show."""
    asked = {call.id for message in request.messages for call in message.tool_calls}
    return [
        one.tool_call_id for one in request.messages if one.role == "tool" and one.tool_call_id not in asked
    ]


@asynccontextmanager
async def recording(daemon: FakeDaemon, user: User | None = None) -> AsyncGenerator[Recorder, None]:
    """A connected recorder; at the end every frame must have kept to the contract."""
    recorder = Recorder()
    token = daemon.token(user)
    await recorder.sio.connect(
        daemon.url,
        auth={"token": token},
        namespaces=[EVENT_NAMESPACE, "/"],
        transports=["websocket"],
        wait_timeout=SECONDS,
    )
    try:
        yield recorder
        assert recorder.faults == []
    finally:
        await recorder.sio.disconnect()


@asynccontextmanager
async def http(daemon: FakeDaemon, user: User | None = None) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A signed-in HTTP client."""
    headers = {"Authorization": f"Bearer {daemon.token(user)}"}
    # Without TLS, whose certificates take longer to load than a test runs.
    async with httpx.AsyncClient(
        base_url=daemon.url, headers=headers, timeout=SECONDS, verify=False
    ) as client:
        yield client


class Talk:
    """One session with a recorder in it."""

    def __init__(self, daemon: FakeDaemon, client: httpx.AsyncClient, recorder: Recorder, session_id: str):
        self.daemon = daemon
        self.client = client
        self.recorder = recorder
        self.session_id = session_id
        self.path = f"/api/apps/{APP}/sessions/{session_id}"

    async def post(self, message: str, **more: object) -> httpx.Response:
        """Sends a message over HTTP."""
        return await self.client.post(f"{self.path}/messages", json={"message": message, **more})

    async def send(self, message: str, **more: object) -> Frame:
        """Sends a message over HTTP; gives what the daemon took it for."""
        response = await self.post(message, **more)
        assert response.status_code == 200, response.text
        assert response.json()["success"], response.text
        return cast("Frame", response.json()["data"])

    async def run(self, message: str) -> list[str]:
        """Sends a message and waits for its end; gives the folded types of its turn."""
        accepted = await self.send(message)
        await self.end(accepted["correlation_id"])
        return self.recorder.turn(accepted["correlation_id"])

    async def end(self, correlation_id: str) -> str:
        """Waits for the last event of a turn; gives the status that it tells."""
        terminal = await self.recorder.wait_for_turn("turn_terminal", correlation_id)
        return str(terminal["payload"]["status"])

    async def resume(self) -> list[str]:
        """Resumes the interrupted turn; gives the folded types of its events, which name no turn."""
        mark = len(self.recorder.frames)
        assert await self.act("/resume") == {"resumed": True, "session_id": self.session_id}
        await self.recorder.until(lambda frames: any(one["type"] == "result" for one in frames[mark:]))
        return folded(self.recorder.types(mark))

    async def resolve(self, request_id: str, *, approved: bool, **more: object) -> httpx.Response:
        """Decides an approval."""
        body = {"request_id": request_id, "approved": approved, **more}
        return await self.client.post(f"/api/apps/{APP}/approve", json=body)

    async def deny(self, reason: str) -> None:
        """Denies the call that the session asks for first, both times that it is asked for."""
        for count in (1, 2):
            asked = await self.recorder.wait_for("approval_request", count)
            await self.resolve(asked["payload"]["request_id"], approved=False, message=reason)

    async def get(self, path: str = "", **params: Any) -> Frame:
        """What a GET of something of the session answers."""
        response = await self.client.get(f"{self.path}{path}", params=params)
        assert response.status_code == 200, response.text
        return cast("Frame", response.json()["data"])

    async def act(self, path: str) -> Frame:
        """What a POST without a body to something of the session answers."""
        response = await self.client.post(f"{self.path}{path}")
        assert response.status_code == 200, response.text
        return cast("Frame", response.json()["data"])

    async def log(self) -> list[Frame]:
        """The rows of the log, without the noisy ones."""
        return cast("list[Frame]", (await self.get("/events", limit=5000))["events"])

    async def gap(self, since: int) -> list[Frame]:
        """All rows after a number, up to as many as one answer holds."""
        return cast("list[Frame]", (await self.get("/state", since_seq=since))["gap_events"])


@asynccontextmanager
async def talking(
    model: FakeModel, *, tools: Sequence[str] = (), **options: Any
) -> AsyncGenerator[Talk, None]:
    """A joined session of an app with a model, on a daemon of its own; without tools it takes any call."""
    with FakeDaemon(**options) as daemon:
        daemon.add_app(APP, model=model, tools=list(tools), system_prompt="You help.")
        async with another(daemon) as talk:
            yield talk


@asynccontextmanager
async def another(
    daemon: FakeDaemon, user: User | None = None, session_id: str | None = None
) -> AsyncGenerator[Talk, None]:
    """One more joined session on a daemon that runs: a new one, or one that is there."""
    async with http(daemon, user) as client, recording(daemon, user) as recorder:
        if session_id is None:
            session_id = add_session(daemon, user).session_id
        assert (await recorder.join(session_id))["ok"]
        await recorder.wait_for("session:snapshot")
        yield Talk(daemon, client, recorder, session_id)
