"""The typed intermediate form of a contract: what the emitters read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ._documents import JsonObject
from ._shapes import Shapes

Module = Literal["models", "payloads", "messages"]
Location = Literal["path", "query", "header", "cookie"]
Media = Literal["json", "multipart", "form", "binary", "text"]
Reading = Literal["json", "text", "bytes", "none", "events", "event-data", "lines"]
"""How an answer is read; the last three are streams: of server-sent events, of their data, of JSON lines."""
Direction = Literal["request", "response"]
"""On which side of a call a schema stands: members may be required on one side only."""
Style = Literal["comma", "space", "pipe", "deep", "json", "pairs", "label", "labels", "matrix", "matrices"]
"""How a value that is no scalar is written; the runtime tells what each means."""


@dataclass(frozen=True)
class Definition:
    """One named schema; its references are rewritten to `#/components/schemas/<module>.<name>`."""

    module: Module
    name: str
    schema: JsonObject

    @property
    def key(self) -> str:
        """The name under which references reach it."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Parameter:
    """One argument of an operation that does not travel in the body.

    Attributes:
        spans_segments: Whether it may hold slashes that separate path segments.
        style: How it is written, if otherwise than by default.
        reserved: Whether characters that have a meaning in a URL are sent as they are.
    """

    name: str
    argument: str
    location: Location
    type: str
    required: bool
    description: str
    spans_segments: bool = False
    style: Style | None = None
    reserved: bool = False


@dataclass(frozen=True)
class BodyField:
    """One member of a request body, passed as a keyword argument.

    Attributes:
        is_file: Whether it is a file to upload, or several.
        style: How it is written, if otherwise than by default.
        reserved: Whether a form sends characters that have a meaning in a URL as they are.
        content_type: The content type of its part of a multipart body, if the contract names one.
    """

    name: str
    argument: str
    type: str
    required: bool
    description: str
    is_file: bool
    style: Style | None = None
    reserved: bool = False
    content_type: str | None = None


@dataclass(frozen=True)
class Body:
    """A request body.

    Attributes:
        media: How it is written.
        media_type: What it is called on the wire.
        whole: Type of the body when it travels as one argument, `body`: it is no plain object.
        extra: Type of the members that the contract does not name; None if it has no place for any.
        choices: Other content types that the caller can choose, and how each is written.
        chooser: The argument for that choice.
    """

    media: Media
    media_type: str
    fields: tuple[BodyField, ...]
    whole: str | None
    required: bool
    extra: str | None
    choices: Mapping[str, Media] = field(default_factory=dict[str, Media])
    chooser: str = "content_type"

    @property
    def may_be_left_out(self) -> bool:
        """Whether leaving it out needs a signature of its own: it has members that it requires."""
        return not self.required and any(member.required for member in self.fields)


@dataclass(frozen=True)
class Envelope:
    """The members of the object that wraps every result of an API."""

    data: str
    success: str | None
    error: str | None


@dataclass(frozen=True)
class Answer:
    """One form of a successful answer.

    Attributes:
        type: Type of the result; of a stream, of its items.
        media_types: The content types that are read so.
    """

    reading: Reading
    type: str
    envelope: Envelope | None = None
    media_types: tuple[str, ...] = ()

    @property
    def is_stream(self) -> bool:
        """Whether its items arrive one by one."""
        return self.reading in ("events", "event-data", "lines")


@dataclass(frozen=True)
class Result:
    """What an operation answers when it succeeds.

    Attributes:
        answers: Its forms; the first one is assumed of an answer with an unknown content type.
        may_be_empty: Whether an answer without a body is a success too.
        accept: The content types to ask for, where the server has a choice.
    """

    answers: tuple[Answer, ...]
    may_be_empty: bool = False
    accept: str | None = None


@dataclass(frozen=True)
class OperationSpec:
    """One method on one path.

    Attributes:
        id: Its name in Python; unique among all operations, also when written in capitals.
        credentials_optional: Whether it also answers a caller without credentials.
        statuses: The HTTP statuses that it declares, in ascending order; ranges are left out.
        servers: The URLs that it is called at, if they are not those of the document.
    """

    id: str
    method: str
    path: str
    tag: str
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    body: Body | None
    result: Result
    authenticated: bool
    credentials_optional: bool
    statuses: tuple[int, ...]
    servers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tag:
    """A group of operations.

    Attributes:
        name: The class.
        attribute: Where the whole interface holds it.
    """

    name: str
    attribute: str
    description: str
    operations: tuple[OperationSpec, ...]


Constant: TypeAlias = tuple[str, ...] | Mapping[str, str]
"""Wire values that code needs by name, or a table of them."""


@dataclass(frozen=True)
class Event:
    """One event type, or one variant of it.

    Attributes:
        wire: The wire name; with a trailing `*` it stands for every name with that beginning.
        name: The payload class.
        variant_key: Payload key whose presence selects this class among those of one wire name.
        enveloped: Whether it travels inside the event envelope.
        defaults: Members of the envelope that normally go with it, and their values.
    """

    wire: str
    name: str
    summary: str
    variant_key: str | None
    enveloped: bool
    defaults: JsonObject


@dataclass(frozen=True)
class LiveMember:
    """A member of the envelope that every live event has.

    Attributes:
        name: Its name on the wire.
        type: Its JSON type as a Python class: `str`, `int`, `bool` or `dict`.
        choices: The only values it can have; empty if any value of its type can.
        is_nullable: Whether it can be null.
    """

    name: str
    type: str
    choices: tuple[str, ...]
    is_nullable: bool


@dataclass(frozen=True)
class EventEnvelope:
    """The envelope that every event travels in.

    Attributes:
        lifted: Payload keys that stand in for envelope keys in copies which lack those.
        live: The members of every live event.
    """

    name: str
    namespace: str
    push: str
    lifted: Mapping[str, str]
    live: tuple[LiveMember, ...]


@dataclass(frozen=True)
class Command:
    """One message that a client sends over the socket, and its acknowledgement, if it has one."""

    wire: str
    namespace: str
    constant: str
    summary: str
    request: str
    ack: str | None


@dataclass(frozen=True)
class ContractWarning:
    """Something of the contract that the output cannot express as it stands.

    Attributes:
        name: What kind of thing, for people to look up.
        file: The document.
        pointer: JSON pointer into it.
        text: What became of it.
    """

    name: str
    file: Path
    pointer: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.file}#{self.pointer}: {self.text}"


@dataclass(frozen=True)
class Contract:
    """Everything the emitters need, in the order in which it is emitted.

    Attributes:
        source: The OpenAPI document, or the AsyncAPI document if there is no other.
        shapes: The classes and aliases that the definitions become.
        origins: Where each definition stands, by its key.
        files: Every file that the contract was read from.
        servers: The URLs of the servers that the document names.
    """

    source: Path
    title: str
    version: str
    digest: str
    definitions: tuple[Definition, ...]
    tags: tuple[Tag, ...]
    events: tuple[Event, ...]
    envelope: EventEnvelope | None
    commands: tuple[Command, ...]
    command_error: str | None
    connect: str | None
    constants: Mapping[str, Constant]
    payload_bases: frozenset[str]
    shapes: Shapes
    origins: Mapping[str, tuple[Path, str]]
    files: tuple[Path, ...]
    servers: tuple[str, ...]
    warnings: tuple[ContractWarning, ...]
