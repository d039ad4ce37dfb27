"""What a turn is given: its message with all that goes with it, and the request that the model gets of it."""

from collections.abc import Iterator
from typing import Final

from digitorn_testing._generated.events import SystemMessage
from digitorn_testing.fakes._model.requests import ModelMessage, ModelRequest, framed_addendum
from digitorn_testing.fakes._store.apps import Mode
from digitorn_testing.fakes._store.attachments import asked, replayed
from digitorn_testing.fakes._store.sessions import Session, Turn

_ALL_ALLOWED: Final = "All tools are available in this mode."
_SOME_BLOCKED: Final = (
    "If you need a blocked tool, ask the user to switch to a mode that allows it. "
    "Do not retry a blocked tool."
)


def open_turn(turn: Turn) -> list[SystemMessage]:
    """Puts a turn's message into the conversation, with its files and with what the daemon tells the model.

    Args:
        turn: The turn.

    Returns:
        The events that tell what the model is told.
    """
    if turn.begins_at is not None:
        # It began elsewhere, and its message is there.
        turn.has_asked = True
        return []
    session, message = turn.session, turn.message
    told = list(_told(turn))
    turn.begins_at = len(session.conversation.entries)
    files, session.new_files = tuple(session.new_files), []
    directives = tuple(one.content for one in told)
    session.remember(
        ModelMessage("user", message.text, images=message.images, files=files, directives=directives)
    )
    return told


def _told(turn: Turn) -> Iterator[SystemMessage]:
    if turn.message.addendum:
        # The daemon looks at the mode only if the user spoke last, which is not so then.
        content = framed_addendum(turn.message.addendum)
        yield SystemMessage(content=content, source="template_addendum", metadata={"scope": "turn"})
        return
    modes, session = turn.app.definition.modes, turn.session
    # The queue keeps no mode.
    wanted = (turn.message.mode if turn.queued is None else None) or turn.app.definition.default_mode
    active = wanted if wanted in modes else None
    mode = modes.get(active) if active is not None else None
    names = [one.name for one in turn.app.definition.tools]
    turn.allowed_tools = mode.allowed(names) if mode is not None else None
    if active == session.mode:
        return
    session.mode = active
    allowed = sorted(names) if turn.allowed_tools is None else turn.allowed_tools
    blocked = sorted({*names} - {*allowed})
    yield SystemMessage(
        content=_switch(mode, allowed, blocked),
        source="mode_switch",
        turn=0,
        metadata={
            "mode_id": active or "",
            "mode_label": mode.label if mode is not None else "",
            "allowed": list(allowed),
            "blocked": blocked,
        },
    )


def _switch(mode: Mode | None, allowed: "list[str] | tuple[str, ...]", blocked: list[str]) -> str:
    parts = ["[Mode]"] if mode is None else [f"[Mode: {mode.label}]", mode.system_prompt.strip()]
    if blocked:
        parts += [
            f"Tools available in this mode: {', '.join(allowed) or '(none)'}",
            f"Tools blocked in this mode: {', '.join(blocked)}",
            _SOME_BLOCKED,
        ]
    else:
        parts.append(_ALL_ALLOWED)
    return "\n\n".join(filter(None, parts))


def blocked_by_mode(turn: Turn, tool: str) -> str:
    """Why the active mode blocks a tool; empty if it does not."""
    if turn.allowed_tools is None or tool in turn.allowed_tools:
        return ""
    mode = turn.app.definition.modes.get(turn.session.mode or "")
    return (
        f"Tool '{tool}' is blocked in mode '{mode.label if mode is not None else 'current'}'. "
        f"Allowed tools: {', '.join(turn.allowed_tools) or '(none)'}. "
        "Ask the user to switch to a mode that allows this tool. Do not retry this call."
    )


def request_of(turn: Turn) -> ModelRequest:
    """What the model is asked in a turn now."""
    definition, session = turn.app.definition, turn.session
    messages = tuple(_seen(session))
    directives = (text for one in messages for text in one.directives)
    return ModelRequest(
        system_prompt="\n\n".join(filter(None, (definition.system_prompt, *directives))),
        messages=messages,
        tools=tuple(
            one for one in definition.tools if turn.allowed_tools is None or one.name in turn.allowed_tools
        ),
        app_id=definition.app_id,
        session_id=session.id,
        excluded_tools=definition.excluded_tools,
        model_settings=definition.model_settings,
        agent=definition.agents[0],
        agent_id=definition.agents[0],
        mode=session.mode,
    )


def _seen(session: Session) -> Iterator[ModelMessage]:
    said = session.conversation.for_model()
    last = max((place for place, one in enumerate(said) if one.role == "user"), default=-1)
    for place, message in enumerate(said):
        yield asked(message) if place == last else replayed(message) if message.role == "user" else message
