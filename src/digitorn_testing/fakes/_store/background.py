"""Background sessions, the activations of apps by triggers, and what happened in them."""

import mimetypes
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final

from digitorn_testing._generated import models

PAYLOAD: Final = "_payload"
"""The parameter of a background session that holds its payload."""

_LONGEST_MESSAGE: Final = 10_000
_LARGEST_FILE: Final = 10 * 1024 * 1024


def now() -> datetime:
    """The present time as the daemon stores it: UTC, without an offset."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(slots=True, eq=False)
class BackgroundSession:
    """A session that triggers wake.

    Attributes:
        app_id: The app.
        user_id: Its owner.
        name: Its name.
        params: Its parameters, its payload among them.
        routing_keys: Values by which triggers find it.
        workspace: Directory that it works in.
        files: The contents of the files of its payload, by name.
        id: Its id.
        status: `active` or `paused`.
        created_at: When it was created.
        last_active_at: When it was last activated.
        activations: How often it was activated.
    """

    app_id: str
    user_id: str
    name: str = ""
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    routing_keys: dict[str, str] = field(default_factory=dict[str, str])
    workspace: str = ""
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: str = "active"
    created_at: datetime = field(default_factory=now)
    last_active_at: datetime | None = None
    activations: int = 0

    def view(self) -> models.BackgroundSession:
        """It as the contract shows it."""
        return models.BackgroundSession(
            id=self.id,
            app_id=self.app_id,
            user_id=self.user_id,
            name=self.name,
            status=self.status,
            params=self.params,
            routing_keys=self.routing_keys,
            workspace=self.workspace,
            created_at=str(self.created_at),
            last_active_at=str(self.last_active_at) if self.last_active_at is not None else None,
            activation_count=self.activations,
        )

    def touch(self) -> None:
        """Notes that it was activated."""
        self.last_active_at = now()
        self.activations += 1

    # --- its payload

    @property
    def payload(self) -> models.SessionPayload:
        """What it was given."""
        empty: dict[str, Any] = {"prompt": "", "metadata": {}, "files": []}
        return models.SessionPayload.from_wire({**empty, **self.params.get(PAYLOAD, {})})

    def change_payload(self, **members: object) -> models.SessionPayload:
        """Replaces members of its payload, and returns those that there are."""
        self.params[PAYLOAD] = {"files": [], **self.params.get(PAYLOAD, {}), **members}
        return models.SessionPayload.from_wire(self.params[PAYLOAD])

    def attach(self, name: str, content: bytes, mime_type: str) -> models.SessionPayload:
        """Adds a file to its payload; one of the same name is replaced.

        Raises:
            ValueError: The name cannot be used.
        """
        safe = PurePath(name).name
        if not safe or safe.startswith("."):
            raise ValueError(f"invalid filename: {name!r}")
        file = models.PayloadFile(
            name=safe,
            path=f"/nowhere/{self.app_id}/sessions/{self.id}/payload/{safe}",
            mime_type=mime_type,
            size_bytes=len(content),
        )
        self.files[safe] = content
        others = [one.to_wire() for one in self.payload.files if one.name != safe]
        self.change_payload(files=[*others, file.to_wire()])
        return self.payload

    def detach(self, name: str) -> bool:
        """Takes a file out of its payload.

        Returns:
            Whether there was one.
        """
        if self.files.pop(PurePath(name).name, None) is None:
            return False
        left = [one.to_wire() for one in self.payload.files if one.name in self.files]
        self.change_payload(files=left)
        return True

    def clear_payload(self) -> None:
        """Removes its payload."""
        self.files.clear()
        self.params.pop(PAYLOAD, None)

    def told(self, message: str) -> str:
        """What the agent is told when a trigger activates it: with its parameters and its payload."""
        params = {name: value for name, value in self.params.items() if name != PAYLOAD}
        if params:
            lines = "\n".join(f"[{name}]: {value}" for name, value in params.items())
            message = f"{message}\n\nSession context:\n{lines}"
        given = self.payload
        prompt, metadata = str(given.prompt).strip(), dict(given.to_wire()["metadata"])
        if not prompt and not metadata and not given.files:
            return message
        parts = [message.rstrip(), "", "---"]
        if prompt:
            parts += ["User request:", prompt, ""]
        if metadata:
            parts += ["User preferences:", *(f"[{name}]: {value}" for name, value in metadata.items()), ""]
        parts += self._told_files(given.files)
        return "\n".join(parts).rstrip() + "\n"

    def _told_files(self, files: list[models.PayloadFile]) -> list[str]:
        texts: list[str] = []
        notes: list[str] = []
        kinds = {"image(s)": 0, "PDF(s)": 0}
        for one in files:
            content = self.files[one.name]
            kind = "image(s)" if one.mime_type.startswith("image/") else "PDF(s)"
            if len(content) > _LARGEST_FILE:
                notes.append(f"- {one.name}: too large ({len(content)} bytes, cap {_LARGEST_FILE})")
            elif one.mime_type == "application/pdf" or kind == "image(s)":
                kinds[kind] += 1
            else:
                try:
                    texts += [f"--- {one.name} ---", content.decode(), f"--- end {one.name} ---"]
                except UnicodeDecodeError:
                    told = f"binary ({one.mime_type or 'unknown'}, {len(content)} bytes) not inlined"
                    notes.append(f"- {one.name}: {told}")
        parts = ["Attached files:", *texts, ""] if texts else []
        if any(kinds.values()):
            counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
            parts += [f"Attached (below this message): {counts}", ""]
        return [*parts, "Notes:", *notes, ""] if notes else parts


@dataclass(slots=True, eq=False)
class Activation:
    """One run of an app that a trigger began.

    Attributes:
        app_id: The app.
        trigger: The trigger.
        message: What the agent was told.
        events: What happened, in order.
        artifacts: The contents of the files that it wrote, by the id of the event; None if not known.
        id: Its id.
        started_at: When it began.
        completed_at: When it ended.
        response: What the agent answered.
        tool_calls: Number of tool calls.
        turns: How often the model answered.
        tokens: Tokens that the model read and wrote.
        error: Why it failed.
    """

    app_id: str
    trigger: models.TriggerInfo
    message: str
    events: list[models.ActivationEvent] = field(default_factory=list[models.ActivationEvent])
    artifacts: dict[str, bytes | None] = field(default_factory=dict[str, "bytes | None"])
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: datetime = field(default_factory=now)
    completed_at: datetime | None = None
    response: str = ""
    tool_calls: int = 0
    turns: int = 0
    tokens: tuple[int, int] = (0, 0)
    error: str | None = None

    @property
    def status(self) -> str:
        """Where it stands."""
        if self.completed_at is None:
            return "running"
        return "failed" if self.error else "completed"

    @property
    def milliseconds(self) -> float:
        """How long it took; 0 while it runs."""
        if self.completed_at is None:
            return 0.0
        return round((self.completed_at - self.started_at).total_seconds() * 1000, 1)

    def note(self, event_type: str, **data: object) -> models.ActivationEvent:
        """Notes something that happened."""
        event = models.ActivationEvent(
            id=uuid.uuid4().hex,
            sequence=len(self.events) + 1,
            timestamp=now().isoformat(),
            event_type=event_type,
            data=data,
        )
        self.events.append(event)
        return event

    def view(self) -> models.Activation:
        """It as the contract shows it."""
        return models.Activation(
            id=self.id,
            app_id=self.app_id,
            trigger_id=self.trigger.id,
            trigger_type=self.trigger.type,
            status=self.status,
            message=self.message[:_LONGEST_MESSAGE],
            trigger_payload={"manual": True},
            started_at=str(self.started_at),
            completed_at=str(self.completed_at) if self.completed_at is not None else None,
            duration_ms=self.milliseconds,
            response=self.response,
            tool_calls_count=self.tool_calls,
            turns_used=self.turns,
            error=self.error,
            prompt_tokens=self.tokens[0],
            completion_tokens=self.tokens[1],
        )


class Background:
    """The background sessions and the activations of one daemon, by their ids, the oldest first."""

    def __init__(self) -> None:
        self.sessions: dict[str, BackgroundSession] = {}
        self.activations: dict[str, Activation] = {}

    def sessions_of(self, app_id: str, user_id: str | None = None) -> list[BackgroundSession]:
        """The sessions of an app, the newest first; those of one user if given."""
        found = reversed(self.sessions.values())
        return [one for one in found if one.app_id == app_id and user_id in (None, one.user_id)]

    def targets(self, app_id: str, routing: str) -> list[BackgroundSession]:
        """The sessions that a trigger activates when it is fired by hand, which names nobody.

        A trigger that looks for a user then finds everybody who has a routing key, as on the released daemon.
        """
        active = [one for one in reversed(self.sessions_of(app_id)) if one.status == "active"]
        match routing:
            case "broadcast" | "user":
                return active
            case _:
                return [one for one in active if "" in one.routing_keys.values()][:1]

    def activations_of(self, app_id: str) -> list[Activation]:
        """The activations of an app, the newest first."""
        return [one for one in reversed(self.activations.values()) if one.app_id == app_id]

    def artifact(self, app_id: str, event_id: str) -> "tuple[models.ActivationEvent, bytes | None] | None":
        """An event that tells of a file, and what that holds; None if there is no such event."""
        for one in self.activations_of(app_id):
            if event_id in one.artifacts:
                event = next(event for event in one.events if event.id == event_id)
                return event, one.artifacts[event_id]
        return None


def media_type(path: str) -> str:
    """The media type of a file, by its name."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
