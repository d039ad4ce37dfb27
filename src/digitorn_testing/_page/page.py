"""Writes the page: one HTML file with everything in it."""

import base64
import hashlib
import html
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from digitorn_testing._log.recorded import FilePath
from digitorn_testing._recordings.recording import Recording
from digitorn_testing._texts import json_text, printable

from .story import ROWS_IN_BLOCK, Calls, Session, Source, Story, tell

_PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
_RAISED: Final = re.compile(r"^E {3}(.*)$", re.MULTILINE)
_COMPRESSION: Final = 6


def write_page(recording: Recording | FilePath, path: FilePath, *, title: str = "", error: str = "") -> Path:
    """Writes a page that shows a recording: one HTML file that works without network and from a disk.

    It shows the sessions' events and REST calls on a timeline and in a list, with their payloads, what waits
    for approval, what broke the contract and what is missing. Secrets are hidden as in the recording.

    Args:
        recording: The recording, or its file.
        path: Where to write the page; an existing file is replaced.
        title: What the page is of. Default: the name of the recording's file.
        error: Why the test failed, if one did.

    Returns:
        The page's path.

    Raises:
        RecordingError: The file is not a recording, or has a later version.
        OSError: The recording cannot be read, or the page cannot be written.

    Example:
        >>> write_page("run.jsonl", "run.html")  # doctest: +SKIP
    """
    if not isinstance(recording, Recording):
        recording = Recording.load(recording)
    lost = [f"{recording.damage}."] if recording.damage is not None else []
    if not recording.is_complete and not lost:
        lost = ["The recording was not ended: the process that wrote it was killed, or is still writing."]
    handles = recording.sessions
    source = Source(
        title=title or recording.path.name,
        error=error,
        sessions=[
            Session(session_id=one.session_id, app_id=one.app_id, log=recording.log(one)) for one in handles
        ],
        calls=[Calls(daemon_url=handles[0].daemon_url if handles else "", exchanges=recording.exchanges)],
        lost=lost,
    )
    target = Path(path)
    target.write_bytes(page(source))
    return target


def page(source: Source) -> bytes:
    """A page as a file holds it, in UTF-8.

    Args:
        source: What it shows, without secrets.
    """
    story = tell(source)
    style, script = _part("page.css"), _part("page.js")
    parts = {
        # Nothing but these two texts runs, and nothing is loaded from anywhere.
        "policy": f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "title": _escaped(source.title),
        "headline": _escaped(_headline(source.error)),
        "report": _escaped(source.error),
        "facts": "".join(
            f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd></div>" for name, value in story.facts
        ),
        "notes": "".join(
            f'<li class="{one["kind"]}">{_escaped(one["text"])}</li>' for one in story.index["notes"]
        ),
        "data": "".join(_blocks(story)),
    }
    text = _PLACE.sub(lambda place: parts[place[1]], _part("page.html"))
    return printable(text).encode()


def _headline(error: str) -> str:
    """The lines of a report that pytest marks as the failure; the last line of any other text."""
    raised = _RAISED.findall(error)
    if raised:
        return "\n".join(raised).strip()
    return error.strip().rpartition("\n")[2]


def _blocks(story: Story) -> Iterable[str]:
    """The data in elements of their own: compressed, so that nothing in them can end the element."""
    yield _block("index", json_text(story.index, separators=(",", ":")))
    for number, first in enumerate(range(0, len(story.payloads), ROWS_IN_BLOCK)):
        yield _block(f"block-{number}", "\n".join(story.payloads[first : first + ROWS_IN_BLOCK]))


def _block(name: str, text: str) -> str:
    packed = base64.b64encode(zlib.compress(text.encode(), _COMPRESSION)).decode()
    return f'<script type="application/octet-stream" id="{name}">{packed}</script>\n'


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _escaped(text: str) -> str:
    return html.escape(printable(text))
