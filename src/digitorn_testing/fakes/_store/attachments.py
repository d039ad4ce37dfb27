"""What users attach to messages, and how the daemon passes it on to the model (contract: rest, section 4.2).

A file's text stands before the message, for one turn. A scripted model sees the images themselves; what the
daemon tells a real one is their names.
"""

import json
import logging
import struct
import uuid
from base64 import b64decode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from digitorn_testing._generated.models import FileInput, ImageInput
from digitorn_testing.fakes._model.requests import ModelAttachment, ModelMessage

_MOST: Final = 10
"""Attachments of each kind of a message that are used."""

_OPEN: Final = "<<<DIGITORN_TRANSIENT_BLOCK>>>"
_CLOSE: Final = "<<<END_DIGITORN_TRANSIENT_BLOCK>>>"
_CITATION: Final = (
    "Citation rules: quote facts from the documents above and cite the source filename in square brackets, "
    "e.g. [contract.pdf]. Never invent quotes that aren't in the documents. If something isn't in the "
    "documents, say so plainly."
)
_PNG: Final = b"\x89PNG\r\n\x1a\n"

logger = logging.getLogger(__name__)


def read_attachments(given: Iterable[ImageInput | FileInput] | None) -> tuple[ModelAttachment, ...]:
    """The attachments of a message; from the first on that is not base64, the daemon leaves them out."""
    return tuple(_read(given or ()))


def _read(given: Iterable[ImageInput | FileInput]) -> Iterator[ModelAttachment]:
    for one in islice(given, _MOST):
        encoded = one.data.split(",", 1)[-1] if one.data.lstrip().startswith("data:") else one.data
        if not encoded:
            continue
        try:
            data = b64decode(encoded)
        except ValueError:
            logger.warning("the attachment %r is not base64", one.name)
            return
        yield ModelAttachment(uuid.uuid4().hex[:12], one.name, one.mime, data)


def text_of(file: ModelAttachment) -> str:
    """The text of a file as the model gets it; documents are not parsed here."""
    return file.data.decode(errors="replace").rstrip()


def asked(message: ModelMessage) -> ModelMessage:
    """A message as the model gets it in the turn that it begins."""
    text = _with_files(message)
    names = (f"[Image: {one.name}]" for one in message.images)
    return replace(message, content="\n".join([*([text] if text else []), *names]))


def replayed(message: ModelMessage) -> ModelMessage:
    """A message as the model gets it in later turns: without files, and with what is known of the images."""
    return replace(message, content=_parts(message, message.content)) if message.images else message


def shown(message: ModelMessage) -> str:
    """A message as the history shows it."""
    text = _with_files(message)
    return _parts(message, text) if message.images else text


def _parts(message: ModelMessage, text: str) -> str:
    parts: list[dict[str, str | int]] = [{"type": "text", "text": text}] if text else []
    for image in message.images:
        width, height = (
            struct.unpack(">II", image.data[16:24].ljust(8, b"\0")) if image.data[:8] == _PNG else (0, 0)
        )
        parts.append(
            {
                "type": "image_ref",
                "image_id": image.id,
                "mime": image.mime,
                "alt_text": image.name,
                "width": width,
                "height": height,
                "turn": 0,
            }
        )
    return json.dumps(parts)


def _with_files(message: ModelMessage) -> str:
    if not message.files:
        return message.content
    lines = ["[Attached files context]", f"Session files ({len(message.files)}):"]
    lines += [f"- {one.name} ({one.mime}, {_size(len(one.data))})" for one in message.files]
    lines += ["", "Full document content:"]
    for one in message.files:
        lines += ["", f"=== BEGIN {one.name} ===", text_of(one), f"=== END {one.name} ==="]
    lines += ["", _CITATION, "[/Attached files context]", ""]
    return "\n".join([_OPEN, *lines, _CLOSE, message.content])


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KB" if count < 1024**2 else f"{count / 1024**2:.1f} MB"
