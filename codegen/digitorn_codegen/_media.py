"""Media types of bodies and answers: what each is, and how it is written or read."""

from collections.abc import Mapping

from . import _ir as ir
from ._documents import JsonObject, JsonValue
from ._types import is_binary

_LINES = frozenset(
    f"application/{name}"
    for name in (
        *("x-ndjson", "ndjson", "jsonl", "x-jsonl", "jsonlines", "x-jsonlines", "json-lines"),
        *("json-seq", "stream+json", "x-json-stream"),
    )
)
_MULTIPART = ("multipart/form-data", "multipart/mixed", "multipart/related")


def base(media_type: str) -> str:
    """A media type without its parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON, or a format made of one JSON document."""
    name = base(media_type)
    return name == "application/json" or (name.endswith("+json") and name not in _LINES)


def is_lines(media_type: str) -> bool:
    """Whether a media type is a stream of JSON documents, one a line."""
    return base(media_type) in _LINES


def is_event_stream(media_type: str) -> bool:
    """Whether a media type is a stream of server-sent events."""
    return base(media_type) == "text/event-stream"


def is_pattern(media_type: str) -> bool:
    """Whether a media type stands for several: `image/*`."""
    return "*" in media_type


def offered(value: JsonObject) -> dict[str, JsonObject]:
    """The media types of a body or an answer, with what the document says of each."""
    found = value.get("content")
    listed = found if isinstance(found, dict) else {}
    return {name: entry for name, entry in listed.items() if isinstance(entry, dict)}


def media(media_type: str, entry: JsonObject) -> ir.Media:
    """How a body of a media type is written."""
    name = base(media_type)
    if is_json(media_type):
        return "binary" if holds_bytes(entry) else "json"
    if name in _MULTIPART:
        return "multipart"
    if name == "application/x-www-form-urlencoded":
        return "form"
    if name.startswith("text/"):
        return "text"
    if name in ("*/*", "application/*") and entry.get("schema") and not holds_bytes(entry):
        return "json"
    return "binary"


def preferred(content: Mapping[str, JsonObject]) -> str | None:
    """The media type to use among those offered: JSON, or else the first."""
    return next((name for name in content if is_json(name)), next(iter(content), None))


def holds_bytes(entry: JsonObject) -> bool:
    """Whether the schema of a media type stands for bytes."""
    schema = entry.get("schema")
    return isinstance(schema, dict) and is_binary(schema)


def on_the_wire(media_type: str, written: ir.Media) -> str:
    """The content type to send for a media type, which may be a pattern."""
    if not is_pattern(media_type):
        return media_type
    return {"json": "application/json", "text": "text/plain"}.get(written, "application/octet-stream")


def types_of(schema: JsonObject) -> list[JsonValue]:
    """The values of `type` in a schema."""
    found = schema.get("type")
    return found if isinstance(found, list) else [found]
