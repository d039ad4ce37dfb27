"""What the generated classes and stubs run on."""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, Literal, Protocol, Self, TypeAlias, TypeVar, cast
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json, to_jsonable_python

T = TypeVar("T")
Request = TypeVar("Request", bound="Model")
Ack = TypeVar("Ack", bound="Model")

_BUILDING = threading.RLock()


class NotGiven:
    """The type of `NOT_GIVEN`: an optional argument that is left out, as opposed to one that is None."""

    _only: ClassVar["NotGiven | None"] = None

    def __new__(cls) -> "NotGiven":
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = NotGiven()

FileContent: TypeAlias = bytes | tuple[str, bytes]
"""A file to upload: its bytes, or a file name and its bytes."""


class Model(BaseModel):
    """Base of every generated class: frozen, strict, and unknown members are kept."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="allow",
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        defer_build=True,
        protected_namespaces=(),
    )

    # Validators are built on first use, which keeps imports fast. Two threads must not build at once:
    # pydantic shares half-built state between them.
    def __new__(cls, *_: object, **__: object) -> Self:
        if not cls.__pydantic_complete__:
            complete(cls)
        return super().__new__(cls)

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """An instance from decoded JSON.

        Raises:
            pydantic.ValidationError: The value breaks the contract.
        """
        if not cls.__pydantic_complete__:
            complete(cls)
        return cast("Self", cls.__pydantic_validator__.validate_python(value))

    def to_wire(self) -> dict[str, Any]:
        """The members that were set, as JSON values under their wire names."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def complete(model: type[BaseModel]) -> None:
    """Builds the validator of a class whose build was deferred."""
    with _BUILDING:
        if not model.__pydantic_complete__:
            model.model_rebuild()


class EventPayload(Model):
    """Base of every event payload."""


# --- REST


@dataclass(frozen=True, slots=True)
class Envelope:
    """The members of the object that wraps every result.

    Attributes:
        data: Member that holds the result.
        success: Member that says whether it worked, if there is one.
        error: Member that says why not, if there is one.
    """

    data: str
    success: str | None
    error: str | None


class Refused(Exception):
    """The answer's envelope says that the operation failed.

    Attributes:
        reason: The server's own words.
        data: What came instead of a result.
    """

    def __init__(self, reason: str, data: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.data = data


class Undecodable(Exception):
    """An answer that is not what the contract says.

    Attributes:
        reasons: What does not fit, each with its place in the answer.
    """

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(slots=True, eq=False)
class Operation(Generic[T]):
    """One operation of the API: how it is called and how its answer is read."""

    id: str
    method: str
    path: str
    result: object
    reading: Literal["json", "text", "bytes", "none"] = "json"
    envelope: Envelope | None = None
    body: Literal["json", "multipart", "form", "binary", "text"] | None = None
    authenticated: bool = True
    _adapter: "TypeAdapter[T] | None" = field(default=None, init=False, repr=False)

    def call(
        self,
        *,
        path: Mapping[str, object] | None = None,
        segments: Collection[str] = (),
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        cookies: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        files: Mapping[str, FileContent | NotGiven | None] | None = None,
        content: object = NOT_GIVEN,
    ) -> "Call[T]":
        """The operation with its arguments; what is `NOT_GIVEN` is left out.

        Args:
            path: Path parameters.
            segments: Those of them whose slashes separate path segments.
            query: Query parameters.
            headers: Header parameters.
            cookies: Cookie parameters.
            body: Members of the request body.
            files: Files to upload, by member.
            content: A body that is no object.

        Raises:
            ValueError: A path parameter is empty.
        """
        return Call(
            operation=self,
            path=self._path(path or {}, segments),
            query=tuple(_pairs(query or {})),
            headers=dict(_pairs(headers or {})),
            cookies=dict(_pairs(cookies or {})),
            body=None if body is None else _given(body),
            files={k: v for k, v in (files or {}).items() if v is not None and not isinstance(v, NotGiven)},
            content=None if isinstance(content, NotGiven) else _json(content),
        )

    def _path(self, values: Mapping[str, object], segments: Collection[str]) -> str:
        filled = self.path
        for name, value in values.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if not text:
                raise ValueError(f"{self.id}: path parameter {name!r} is empty")
            parts = text.split("/") if name in segments else [text]
            filled = filled.replace("{" + name + "}", "/".join(_segment(part) for part in parts))
        return filled

    def read(self, content: bytes, *, encoding: str = "utf-8") -> T:
        """The typed result in an answer's body.

        Raises:
            Refused: The envelope says that the operation failed.
            Undecodable: The body is not what the contract says.
        """
        if self.reading == "bytes":
            return cast("T", content)
        if self.reading == "text":
            return cast("T", content.decode(encoding, errors="replace"))
        if self.reading == "none":
            return cast("T", None)
        try:
            document: object = from_json(content)
        except ValueError as error:
            raise Undecodable((f"not JSON: {error}",)) from error
        if self.envelope is not None:
            document = self._open(document, self.envelope)
        try:
            return self.adapter.validate_python(document)
        except ValidationError as error:
            raise Undecodable(reasons(error, self.envelope.data if self.envelope else "")) from error

    def _open(self, document: object, envelope: Envelope) -> object:
        if not isinstance(document, dict):
            raise Undecodable((f"expected an object with {envelope.data!r}, got {type(document).__name__}",))
        found = cast("dict[str, object]", document)
        if envelope.success is not None:
            success = found.get(envelope.success)
            if not isinstance(success, bool):
                raise Undecodable((f"{envelope.success}: expected true or false, got {success!r}",))
            if not success:
                reason = found.get(envelope.error) if envelope.error is not None else None
                raise Refused(str(reason or ""), found.get(envelope.data))
        if envelope.data not in found:
            raise Undecodable((f"{envelope.data}: missing",))
        return found[envelope.data]

    @property
    def adapter(self) -> "TypeAdapter[T]":
        """Reads the result; built on first use."""
        if self._adapter is None:
            with _BUILDING:
                if self._adapter is None:
                    self._adapter = TypeAdapter[T](cast("Any", self.result))
        return self._adapter


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """An operation with its arguments, ready to be sent.

    Attributes:
        operation: What is called.
        path: The path, percent-encoded.
        query: Query parameters in order, a list as one pair an item.
        headers: Header parameters.
        cookies: Cookie parameters.
        body: Members of the request body as JSON values; None when there is no body.
        files: Files to upload, by member.
        content: A body that is no object.
    """

    operation: Operation[T]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cookies: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Mapping[str, Any] | None = None
    files: Mapping[str, FileContent] = field(default_factory=dict[str, FileContent])
    content: Any = None


class Transport(Protocol):
    """Sends calls and waits for their results."""

    def send(self, call: Call[T], /) -> T:
        """The result of a call."""
        ...


class AsyncTransport(Protocol):
    """Sends calls and awaits their results."""

    async def send(self, call: Call[T], /) -> T:
        """The result of a call."""
        ...


def reasons(error: ValidationError, below: str = "") -> tuple[str, ...]:
    """What a validation error found, each line with its place and without the input."""
    found: list[str] = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join([below] * bool(below) + [str(step) for step in one["loc"]])
        found.append(f"{place}: {one['msg']}" if place else one["msg"])
    return tuple(found)


def _segment(text: str) -> str:
    """One path segment, percent-encoded; one of dots alone would be resolved away by clients and proxies."""
    return text.replace(".", "%2E") if text in {".", ".."} else quote(text, safe="")


def _given(values: Mapping[str, object]) -> dict[str, Any]:
    return {name: _json(value) for name, value in values.items() if not isinstance(value, NotGiven)}


def _json(value: object) -> Any:
    if isinstance(value, Model):
        return value.to_wire()
    if isinstance(value, Mapping):
        return {name: _json(below) for name, below in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_json(below) for below in cast("list[object]", value)]
    return to_jsonable_python(value)


def _pairs(values: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, NotGiven) or value is None:
            continue
        items: Iterable[object] = cast("list[object]", value) if isinstance(value, list | tuple) else (value,)
        for item in items:
            yield name, str(item).lower() if isinstance(item, bool) else str(item)


# --- events and commands


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One event type, or one variant of it.

    Attributes:
        wire: The wire name; with a trailing `*` every name with that beginning.
        payload: The payload class.
        variant_key: Payload member whose presence selects this class among those of one wire name.
        enveloped: Whether it travels in the event envelope.
    """

    wire: str
    payload: type[EventPayload]
    variant_key: str | None = None
    enveloped: bool = True


class EventRegistry:
    """Which payload class belongs to which wire name."""

    def __init__(self, specs: Iterable[EventSpec]) -> None:
        self.specs = tuple(specs)
        self._plain: dict[str, type[EventPayload]] = {}
        self._variants: dict[str, tuple[EventSpec, ...]] = {}
        self._patterns: list[EventSpec] = []
        for spec in self.specs:
            if spec.wire.endswith("*"):
                self._patterns.append(spec)
            elif spec.variant_key is not None:
                self._variants[spec.wire] = (*self._variants.get(spec.wire, ()), spec)
            else:
                self._plain[spec.wire] = spec.payload

    def payload_class(self, wire: str, payload: Mapping[str, object]) -> type[EventPayload] | None:
        """The class for a payload of a wire name; None if the contract has no such type."""
        for spec in self._variants.get(wire, ()):
            if spec.variant_key in payload:
                return spec.payload
        found = self._plain.get(wire)
        if found is None:
            for spec in self._patterns:
                if wire.startswith(spec.wire[:-1]):
                    return spec.payload
        return found

    def types_of(self, payload: type[EventPayload]) -> tuple[str, ...]:
        """The wire names whose payloads are instances of a class, in the contract's order."""
        return tuple(dict.fromkeys(s.wire for s in self.specs if issubclass(s.payload, payload)))


@dataclass(frozen=True, slots=True)
class Command(Generic[Request, Ack]):
    """One message that a client sends over the socket, and its acknowledgement."""

    name: str
    namespace: str
    request: type[Request]
    ack: type[Ack]
