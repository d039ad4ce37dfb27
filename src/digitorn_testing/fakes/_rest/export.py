"""A conversation as a document for people."""

import json
import re
from collections.abc import Iterator
from typing import Final

from digitorn_testing._generated.models import SessionExport
from digitorn_testing.fakes._model.requests import ModelMessage, ModelToolCall
from digitorn_testing.fakes._store.sessions import Session

MARKDOWN: Final = "markdown"
"""The format that the daemon knows."""

_TITLES: Final = {"user": "User", "assistant": "Assistant"}


def markdown_export(session: Session) -> SessionExport:
    """The conversation of a session as Markdown, whatever of it the model still sees."""
    shown = session.conversation.shown
    return SessionExport(
        content="\n\n".join(_blocks(session)) + "\n",
        format=MARKDOWN,
        filename=f"{session.id}.md",
        turns=session.conversation.turns,
        messages=len(shown),
    )


def _blocks(session: Session) -> Iterator[str]:
    yield f"# {session.title or session.id}"
    results = session.conversation.results
    speaker = ""
    for message in session.conversation.shown:
        if message.role != speaker:
            # What the assistant says between its calls stands under one heading.
            speaker = message.role
            yield f"## {_TITLES[speaker]}"
        yield from _message(message, results)


def _message(message: ModelMessage, results: dict[str, str]) -> Iterator[str]:
    if message.content:
        yield message.content
    for call in message.tool_calls:
        yield from _call(call, results.get(call.id))


def _call(call: ModelToolCall, result: str | None) -> Iterator[str]:
    yield f"**Tool call: {call.name}**"
    yield _fenced(json.dumps(dict(call.params), indent=2, ensure_ascii=False), "json")
    if result is None:
        yield "No result yet."
    elif result:
        yield "Result:"
        yield _fenced(result)


def _fenced(text: str, language: str = "") -> str:
    """A code block; its fence is longer than any in the text."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text}\n{fence}"
