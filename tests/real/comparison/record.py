"""A raw recorder: keeps what a daemon sends, in order of arrival. Nothing of this library is in between.

A recording is a list of lines like those in `tests/data`: HTTP answers, Socket.IO events, acknowledgements.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NotRequired, Self, TypeAlias, TypedDict, cast

import httpx
import socketio  # pyright: ignore[reportMissingTypeStubs] - the package has none

JSON: TypeAlias = Any
"""Something that a daemon sent. Its shape is what the comparison finds out."""

_NAMESPACE: Final = "/events"
_DEADLINE: Final = 45.0
# Background events follow the end of a turn.
_QUIET_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.2
_PULSE: Final = "heartbeat"


class Line(TypedDict):
    """One thing that a daemon sent.

    Attributes:
        what: `http`, `event`, `push`, or `ack`.
        label: What was asked or who received it: the call, the command, or the name of the socket.
        status: The HTTP status.
        data: The answer, the envelope, the data of a push, or the acknowledgement.
        name: The Socket.IO name of a push.
    """

    what: str
    label: str
    data: JSON
    status: NotRequired[int]
    name: NotRequired[str]


class Tape:
    """The lines of one scenario, and what waits for more of them."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._more = asyncio.Condition()

    async def add(self, line: Line) -> None:
        """Appends a line.

        Args:
            line: The line.
        """
        async with self._more:
            self.lines.append(line)
            self._more.notify_all()

    async def event(self, socket: str, fits: Callable[[dict[str, JSON]], bool]) -> JSON:
        """The first event on a socket that fits, whether it is there or has still to come.

        Args:
            socket: Name of the socket.
            fits: Whether an envelope is the one.

        Raises:
            TimeoutError: It does not come. The error names the events that did.
        """

        def found() -> JSON:
            return next((one for one in self.events(socket) if fits(one)), None)

        try:
            async with asyncio.timeout(_DEADLINE), self._more:
                await self._more.wait_for(lambda: found() is not None)
        except TimeoutError:
            came = [str(one["type"]) for one in self.events(socket)]
            raise TimeoutError(f"the event did not come within {_DEADLINE:g} s; there were {came}") from None
        return found()

    async def quiet(self) -> None:
        """Returns when nothing but heartbeats came for a while."""
        async with asyncio.timeout(_DEADLINE):
            while True:
                before = self._count()
                try:
                    async with asyncio.timeout(_QUIET_SECONDS), self._more:
                        await self._more.wait_for(lambda: self._count() != before)  # noqa: B023 - awaited here
                except TimeoutError:
                    return

    def events(self, socket: str) -> list[JSON]:
        """The envelopes that a socket received.

        Args:
            socket: Its name.
        """
        return [one["data"] for one in self.lines if one["what"] == "event" and one["label"] == socket]

    @property
    def user_id(self) -> str:
        """Whose connections these are."""
        return str(next(one["data"]["user_id"] for one in self.lines if one["what"] == "event"))

    def _count(self) -> int:
        return sum(1 for one in self.lines if one["what"] != "event" or one["data"]["type"] != _PULSE)


class Listener:
    """A socket of the recorder."""

    def __init__(self, tape: Tape, name: str, client: Any) -> None:
        self._tape = tape
        self._name = name
        self._client = client

    async def command(self, command: str, request: JSON) -> JSON:
        """Sends a command and records its acknowledgement.

        Args:
            command: The command.
            request: Its argument.

        Returns:
            The acknowledgement.
        """
        ack = await self._client.call(command, request, namespace=_NAMESPACE, timeout=_DEADLINE)
        await self._tape.add(Line(what="ack", label=command, data=ack))
        return ack

    async def event(self, kind: str, turn: str | None = None, **payload: JSON) -> JSON:
        """The first event of a type, whether it is there or has still to come.

        Args:
            kind: The type.
            turn: Correlation id of its turn; of any if left out.
            payload: Members of the payload that it has to have.
        """

        def fits(one: dict[str, JSON]) -> bool:
            if one["type"] != kind or turn not in (None, one.get("correlation_id")):
                return False
            return all(one["payload"].get(key) == value for key, value in payload.items())

        return await self._tape.event(self._name, fits)

    async def ended(self, correlation_id: str) -> None:
        """Waits for the end of a turn and for what follows it.

        Args:
            correlation_id: The turn.
        """
        await self.event("turn_terminal", correlation_id=correlation_id)
        await self._tape.quiet()


class Run:
    """One scenario on one daemon.

    Args:
        http: Calls the daemon.
        apps: Ids of the apps, by name.
        session_id: The scenario's session.

    Attributes:
        tape: What has been recorded.
        session_id: The scenario's session.
        app_id: The scenario's app.
    """

    def __init__(self, http: httpx.AsyncClient, apps: dict[str, str], session_id: str) -> None:
        self.tape = Tape()
        self.session_id = session_id
        self._http = http
        self._apps = apps
        self.app_id = ""
        self._sockets = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sockets.aclose()

    # --- calls

    async def call(self, method: str, path: str, body: JSON = None, **query: int | str) -> JSON:
        """Calls the app of the scenario and records the answer.

        Args:
            method: HTTP method.
            path: Path below the app, with `{session}` for the session's id.
            body: What is sent as JSON.
            query: Query parameters.

        Returns:
            The answer's `data`, or the whole answer if it is no object.
        """
        address = f"/api/apps/{self.app_id}{path.format(session=self.session_id)}"
        answer = await self._http.request(method, address, json=body, params=query)
        shown = answer.json() if answer.headers["content-type"].startswith("application/json") else None
        label = " ".join([method, path, *sorted(query)])
        await self.tape.add(Line(what="http", label=label, status=answer.status_code, data=shown))
        return cast("dict[str, JSON]", shown).get("data") if isinstance(shown, dict) else shown

    async def session_call(self, method: str, path: str = "", body: JSON = None, **query: int | str) -> JSON:
        """The same for a path below the session.

        Args:
            method: HTTP method.
            path: Path below the session.
            body: What is sent as JSON.
            query: Query parameters.
        """
        return await self.call(method, "/sessions/{session}" + path, body, **query)

    async def send(self, message: str, **members: JSON) -> str:
        """Sends a message.

        Args:
            message: Its text.
            members: Further members of the request.

        Returns:
            The correlation id of its turn.
        """
        sent = await self.session_call("POST", "/messages", {"message": message, **members})
        return str(sent["correlation_id"])

    async def resolve(self, request_id: str, message: str, *, approved: bool) -> None:
        """Decides an approval.

        Args:
            request_id: The approval.
            message: What is said with it.
            approved: Whether it is approved.
        """
        decision = {"request_id": request_id, "approved": approved, "message": message}
        await self.call("POST", "/approve", decision)

    # --- sockets

    async def socket(self, name: str = "main") -> Listener:
        """A new connection, which has joined nothing yet.

        Args:
            name: What the recording calls it.
        """
        client: Any = socketio.AsyncClient(reconnection=False)

        async def take(event: str, *data: JSON) -> None:
            if event in ("connect", "disconnect"):
                return
            line = Line(what="event", label=name, data=data[0])
            if event != "event":
                line["what"], line["name"] = "push", event
            await self.tape.add(line)

        client.on("*", take, namespace=_NAMESPACE)
        await client.connect(
            str(self._http.base_url),
            auth={"token": self._http.headers["Authorization"].removeprefix("Bearer ")},
            namespaces=[_NAMESPACE],
            transports=["websocket"],
            wait_timeout=10,
        )
        self._sockets.push_async_callback(client.disconnect)
        listener = Listener(self.tape, name, client)
        await listener.event("connected")
        return listener

    async def joined(self, name: str = "main") -> Listener:
        """A new connection that has joined the scenario's session.

        Args:
            name: What the recording calls it.
        """
        listener = await self.socket(name)
        await listener.command("join_session", {"app_id": self.app_id, "session_id": self.session_id})
        return listener

    async def begin(self, app: str = "auto") -> Listener:
        """Runs a first turn, without which there is no session, forgets it, and joins the session.

        Args:
            app: Name of the app.
        """
        self.app_id = self._apps[app]
        first = await self.send("Hello.")
        await self._until(lambda: self._has_ended(first))
        await self.saved(1)
        self.tape.lines.clear()
        return await self.joined()

    async def saved(self, messages: int, *, calls: bool = False) -> None:
        """Waits until the session is saved up to an answer. The released daemon saves in the background.

        Args:
            messages: How many messages of the user the session has.
            calls: Whether the answer is a call of a tool that runs or asks, and not the last one of its turn.
        """

        async def is_saved() -> bool:
            history = await self._read("/history")
            said = history["messages"]
            return (
                len([one for one in said if one["role"] == "user"]) == messages
                and said[-1]["role"] == "assistant"
                and bool(said[-1]["tool_calls"]) == calls
                and history.get("streaming_partials") == {}
            )

        await self._until(is_saved)

    async def partly_saved(self) -> None:
        """Waits until the first part of the text that is being written is saved, so that a join brings it."""

        async def is_saved() -> bool:
            # A daemon that is busy answers without that member.
            return bool((await self._read("/history")).get("streaming_partials"))

        await self._until(is_saved)

    async def _has_ended(self, correlation_id: str) -> bool:
        rows = (await self._read("/events"))["events"]
        return correlation_id in [one["correlation_id"] for one in rows if one["type"] == "turn_terminal"]

    async def _read(self, path: str) -> JSON:
        session = f"/api/apps/{self.app_id}/sessions/{self.session_id}"
        return (await self._http.get(session + path)).json()["data"]

    async def _until(self, is_it: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(_DEADLINE):
            while not await is_it():  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def caller(url: str, token: str) -> AsyncGenerator[httpx.AsyncClient]:
    """Something that calls a daemon.

    Args:
        url: Base URL of the daemon.
        token: Access token.
    """
    shown = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=shown, timeout=30, trust_env=False) as http:
        yield http


def without(names: dict[str, str], lines: list[Line]) -> list[Line]:
    """The lines with other names in place of those that differ between runs.

    Args:
        names: What takes the place of what.
        lines: The lines.
    """
    text = json.dumps(lines)
    for name, place in names.items():
        text = text.replace(name, place)
    made: list[Line] = json.loads(text)
    return made
