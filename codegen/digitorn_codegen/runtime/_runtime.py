"""What the generated classes and stubs run on."""

import gc
import json
import re
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from operator import or_
from typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    Protocol,
    Self,
    TypeAlias,
    TypeGuard,
    TypeVar,
    cast,
)
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, StrictBool, TypeAdapter, ValidationError
from pydantic_core import from_json, to_jsonable_python
from typing_extensions import TypedDict

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

Style: TypeAlias = Literal[
    "comma", "space", "pipe", "deep", "json", "pairs", "label", "labels", "matrix", "matrices"
]
"""How a value that is no scalar is written, when not by default.

In a query a list is one pair an item by default, and an object one pair a member. `comma`, `space` and
`pipe` join them into one pair, `deep` writes `name[member]=value`. In a path, a header and a cookie they are
joined by commas by default; `pairs` writes `member=value,member=value`, `label` and `labels` `.value.value`,
`matrix` and `matrices` `;name=value` once or for each. `json` is JSON everywhere.
"""

_Several: TypeAlias = list[Any] | dict[str, Any]

# By what they are called, in any spelling: `access_token`, `apiKey`, `Authorization`. A word behind it makes
# another thing of it (`token_type`, `tokens_limit`).
SECRET_WORDS: Final = (
    *("token", "password", "passwd", "passphrase", "secret", "authorization", "cookie", "jwt"),
    *(f"{kind}{joint}key" for kind in ("api", "private", "access") for joint in ("", "_", "-")),
)
"""The words, in lower case, at the end of the names of secrets."""

_SECRET_NAME: Final = re.compile(rf"(?:^|_)(?:{'|'.join(SECRET_WORDS)})s?$")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_LARGE: Final = 64 * 1024
"""Bytes of an answer from which on the garbage collector is paused."""

_MOST_REASONS: Final = 100
_TOO_MANY_REASONS: Final = 10_000
_SHORTENED_TO: Final = 20

_JOINTS: Final = {"comma": ",", "space": " ", "pipe": "|"}


class Model(BaseModel):
    """Base of every generated class: frozen, strict, and unknown members are kept."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="allow",
        # What comes from the wire goes by wire names alone: `class_` is not `class` there.
        validate_by_name=False,
        validate_by_alias=True,
        serialize_by_alias=True,
        defer_build=True,
        protected_namespaces=(),
    )

    __forms__: ClassVar[tuple[str, ...]] = ()
    """The names of the classes that a value is read as, in the module of this one; each extends this one."""

    def __init__(self, /, **members: object) -> None:
        if not self.__pydantic_complete__:
            type(self).model_rebuild()
        self.__pydantic_validator__.validate_python(members, self_instance=self, by_alias=True, by_name=True)

    # With its own `__init__`, pydantic would call it for each value that it reads.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pyright: ignore

    # Validators are built on first use, which keeps imports fast. Two threads must not build at once:
    # pydantic shares half-built state between them, and has a lock of its own only since 2.14.
    @classmethod
    def model_rebuild(
        cls,
        *,
        force: bool = False,
        raise_errors: bool = True,
        _parent_namespace_depth: int = 2,
        _types_namespace: Mapping[str, Any] | None = None,
    ) -> bool | None:
        """Builds the validator, as pydantic does, but one class at a time."""
        if _types_namespace is None:
            # The types of inherited members are named in the modules of the bases.
            elsewhere = {base.__module__ for base in cls.__mro__ if issubclass(base, Model)} - {
                cls.__module__
            }
            _types_namespace = {
                k: v for name in elsewhere for k, v in vars(sys.modules[name]).items()
            } or None
        with _BUILDING:
            return super().model_rebuild(
                force=force,
                raise_errors=raise_errors,
                _parent_namespace_depth=_parent_namespace_depth + 1,
                _types_namespace=_types_namespace,
            )

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """An instance from decoded JSON.

        Raises:
            pydantic.ValidationError: The value breaks the contract.
        """
        return cls.reader()(value)

    @classmethod
    def reader(cls) -> Callable[[object], Self]:
        """What makes instances from decoded JSON; `from_wire` without its set-up."""
        if not cls.__pydantic_complete__:
            cls.model_rebuild()
        if "__forms__" in vars(cls):
            module = sys.modules[cls.__module__]
            forms = tuple(getattr(module, name) for name in cls.__forms__)
            return cast("Callable[[object], Self]", TypeAdapter(reduce(or_, forms)).validate_python)
        return cast("Callable[[object], Self]", cls.__pydantic_validator__.validate_python)

    def to_wire(self) -> dict[str, Any]:
        """The members that were set, as JSON values under their wire names."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, "***" if isinstance(value, str) and names_secret(name or "") else value


def names_secret(name: str) -> bool:
    """Whether a text that goes by a name is a secret."""
    # A name that is very long comes once, and would fill the cache.
    return _short_names_secret(name) if len(name) <= _SHORT else _is_secret_name(name)


def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(_CAMEL.sub("_", name).lower().replace("-", "_")) is not None


_SHORT = 64
_short_names_secret = lru_cache(maxsize=4096)(_is_secret_name)


class EventPayload(Model):
    """Base of every event payload."""


Payload = TypeVar("Payload", bound=EventPayload)


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
class RestOperation(Generic[T]):
    """One operation of the API: how it is called and how its answer is read.

    Attributes:
        id: Its name.
        method: HTTP method.
        path: Path with its parameters in braces.
        result_type: Says the type of the result, whose module is loaded only then.
        reading: How the body of an answer becomes the result.
        envelope: What wraps the result, if anything.
        body: How the request body is written, if there is one.
        media_type: Content type of the request body, when not the usual one of that writing.
        styles: How parameters and form members are written when not by default, by place (`path`, `query`,
            `header`, `cookie`, `body`) and name.
        may_be_empty: Whether an answer without a body is the result None.
        authenticated: Whether it takes credentials.
        credentials_optional: Whether it also answers a caller without credentials.
        statuses: The HTTP statuses that the contract declares for it, in ascending order.
    """

    id: str
    method: str
    path: str
    result_type: Callable[[], object]
    reading: Literal["json", "text", "bytes", "none"] = "json"
    envelope: Envelope | None = None
    body: Literal["json", "multipart", "form", "binary", "text"] | None = None
    media_type: str | None = None
    styles: Mapping[tuple[str, str], Style] = field(default_factory=dict[tuple[str, str], Style])
    may_be_empty: bool = False
    authenticated: bool = True
    credentials_optional: bool = False
    statuses: tuple[int, ...] = ()
    _adapter: "TypeAdapter[T] | None" = field(default=None, init=False, repr=False)
    _reader: "TypeAdapter[Any] | None" = field(default=None, init=False, repr=False)

    @property
    def result(self) -> object:
        """Type of the result."""
        return self.result_type()

    def call(
        self,
        *,
        path: Mapping[str, object] | None = None,
        segments: Collection[str] = (),
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        cookies: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        files: Mapping[str, FileContent | Sequence[FileContent | None] | NotGiven | None] | None = None,
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
            content: A body that is no object, or is passed whole.

        Raises:
            ValueError: A path parameter is empty, or a file is not passed as bytes.
        """
        singles, lists = _files(files or {})
        members = None if body is None else _given(body)
        whole: object = content
        if not isinstance(content, NotGiven | bytes):
            whole = _json(content)
        return Call(
            operation=self,
            path=self._path(path or {}, segments),
            query=tuple(self._pairs("query", query)) if query else (),
            headers=dict(self._joined("header", headers)) if headers else {},
            cookies=dict(self._joined("cookie", cookies)) if cookies else {},
            body=members,
            files=singles,
            file_lists=lists,
            form=tuple(self._form(members if members is not None else whole)),
            content=None if isinstance(whole, NotGiven) else whole,
            has_body=self.body is not None and (members is not None or not isinstance(whole, NotGiven)),
        )

    def _path(self, values: Mapping[str, object], segments: Collection[str]) -> str:
        filled = self.path
        for name, value in values.items():
            text = self._segment(name, _json(value), name in segments)
            if not text:
                raise ValueError(f"{self.id}: path parameter {name!r} is empty")
            filled = filled.replace("{" + name + "}", text)
        return filled

    def _segment(self, name: str, value: object, spans: bool) -> str:
        style = self.styles.get(("path", name))
        if style in ("label", "labels", "matrix", "matrices"):
            return _prefixed(name, value, style)
        if _is_several(value) and style != "json":
            return ",".join(quote(text, safe="=" if style == "pairs" else "") for text in _flat(value, style))
        text = _written(value) if style == "json" else _scalar(value)
        return "/".join(_quoted(part) for part in (text.split("/") if spans else [text]))

    def _pairs(self, place: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        for name, value in values.items():
            if not isinstance(value, NotGiven) and value is not None:
                yield from _query(name, _json(value), self.styles.get((place, name)))

    def _joined(self, place: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        for name, value in values.items():
            if isinstance(value, NotGiven) or value is None:
                continue
            plain, style = _json(value), self.styles.get((place, name))
            if style != "json" and _is_several(plain):
                yield name, ",".join(_flat(plain, style))
            else:
                yield name, _written(plain) if style == "json" else _scalar(plain)

    def _form(self, members: object) -> Iterator[tuple[str, str]]:
        """The text members of a form, as pairs."""
        if self.body not in ("form", "multipart") or not isinstance(members, dict):
            return
        for name, value in cast("dict[str, object]", members).items():
            style = self.styles.get(("body", name))
            # Without a style of its own, what is no scalar and no list of such is written as JSON.
            if (
                style is None
                and _is_several(value)
                and (isinstance(value, dict) or any(map(_is_several, value)))
            ):
                style = "json"
            if value is not None:
                yield from _query(name, value, style)

    def read(self, content: bytes, *, encoding: str = "utf-8") -> T:
        """The typed result in an answer's body.

        Raises:
            Refused: The envelope says that the operation failed.
            Undecodable: The body is not what the contract says.
        """
        if self.may_be_empty and not content:
            return cast("T", None)
        if self.reading == "bytes":
            return cast("T", content)
        if self.reading == "text":
            return cast("T", content.decode(encoding, errors="replace"))
        if self.reading == "none":
            return cast("T", None)
        try:
            return self._read_at_once(content)
        except ValidationError:
            pass
        # A refusal, or something that breaks the contract: find out what.
        return self.read_in_steps(content)

    def _read_at_once(self, content: bytes) -> T:
        """The result, validated from its bytes without values of Python in between."""
        reader = self._reader
        if reader is None:
            reader = self._reader = self._new_reader()
        if len(content) < _LARGE:
            found = reader.validate_json(content)
        else:
            with _collector_paused():
                found = reader.validate_json(content)
        if self.envelope is None:
            return cast("T", found)
        if self.envelope.success is not None and not found[self.envelope.success]:
            return self.read_in_steps(content)
        return cast("T", found[self.envelope.data])

    def _new_reader(self) -> "TypeAdapter[Any]":
        if self.envelope is None:
            return self.adapter
        members: dict[str, Any] = {self.envelope.data: self.result}
        if self.envelope.success is not None:
            members[self.envelope.success] = StrictBool
        with _BUILDING:
            return TypeAdapter(TypedDict("_Enveloped", members))  # type: ignore[operator] # made at run time

    def read_in_steps(self, content: bytes) -> T:
        """The same as `read` for JSON, slower, and with a reason if it cannot be read.

        Raises:
            Refused: The envelope says that the operation failed.
            Undecodable: The body is not what the contract says.
        """
        try:
            document: object = from_json(content)
        except ValueError as error:
            raise Undecodable((f"not JSON: {error}",)) from error
        if self.envelope is not None:
            document = self._open(document, self.envelope)
        try:
            return self.adapter.validate_python(document)
        except ValidationError as error:
            raise Undecodable(self._reasons(document, error)) from error

    def _reasons(self, document: object, error: ValidationError) -> tuple[str, ...]:
        below = self.envelope.data if self.envelope else ""
        if error.error_count() > _TOO_MANY_REASONS:
            # The list of all would take far more than the answer; the first members tell enough.
            try:
                self.adapter.validate_python(_shortened(document))
            except ValidationError as first:
                return (*reasons(first, below), *reasons(error, below))
        return reasons(error, below)

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
    """An operation with its arguments, ready to be sent. Bodies may hold secrets, and do not show.

    Attributes:
        operation: What is called.
        path: The path, percent-encoded.
        query: Query parameters in order, each pair written out.
        headers: Header parameters.
        cookies: Cookie parameters.
        body: Members of the request body as JSON values; None when there is no body, or it is passed whole.
        files: Files to upload, by member.
        file_lists: Members that hold several files.
        form: The text members of a form or of a multipart body, each pair written out.
        content: A body that is passed whole: a JSON value, or the bytes or text to send.
        has_body: Whether a body is sent; one that is passed whole may be None, which is JSON's null.
    """

    operation: RestOperation[T]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cookies: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    files: Mapping[str, FileContent] = field(default_factory=dict[str, FileContent], repr=False)
    file_lists: Mapping[str, tuple[FileContent, ...]] = field(
        default_factory=dict[str, tuple[FileContent, ...]], repr=False
    )
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    content: Any = field(default=None, repr=False)
    has_body: bool = False

    def encoded(self) -> "tuple[bytes, str] | None":
        """The body as it is sent, and its content type; None without a body, and for a multipart body.

        Raises:
            ValueError: A number is not valid in JSON.
        """
        kind = self.operation.body
        if not self.has_body or kind is None or kind == "multipart":
            return None
        if kind == "form":
            usual, content = "application/x-www-form-urlencoded", urlencode(self.form).encode()
        elif kind == "json":
            value = self.body if self.body is not None else self.content
            usual, content = "application/json", _written(value).encode()
        elif isinstance(self.content, str):
            usual, content = "text/plain; charset=utf-8", self.content.encode()
        else:
            usual, content = "application/octet-stream", bytes(self.content)
        return content, self.operation.media_type or usual

    def parts(self) -> "tuple[Part, ...]":
        """The parts of a multipart body in order, text before files; empty for any other body."""
        if self.operation.body != "multipart" or not self.has_body:
            return ()
        found = [Part(name, text.encode(), None) for name, text in self.form]
        several = [(name, one) for name, files in self.file_lists.items() for one in files]
        for name, file in (*self.files.items(), *several):
            filename, content = file if isinstance(file, tuple) else (name, file)
            found.append(Part(name, content, filename))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body.

    Attributes:
        name: The member.
        content: What it holds.
        filename: Name of the file; None for text.
    """

    name: str
    content: bytes
    filename: str | None


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


@contextmanager
def _collector_paused() -> Generator[None]:
    """Pauses the garbage collector while a large answer is validated.

    It would look through everything several times, for as long as the validation takes, although nothing of
    what is being made can be garbage yet.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def reasons(error: ValidationError, below: str = "") -> tuple[str, ...]:
    """What a validation error found, each line with its place and without the input; of very many a part."""
    count = error.error_count()
    if count > _TOO_MANY_REASONS:
        return (f"{count} places do not fit",)
    found: list[str] = []
    for one in error.errors(include_url=False, include_input=False, include_context=False)[:_MOST_REASONS]:
        place = ".".join([below] * bool(below) + [str(step) for step in one["loc"]])
        found.append(f"{place}: {one['msg']}" if place else one["msg"])
    if count > _MOST_REASONS:
        found.append(f"and {count - _MOST_REASONS} more")
    return tuple(found)


def _shortened(value: object) -> object:
    """A JSON value with the beginning of each list and object."""
    if isinstance(value, list):
        return [_shortened(one) for one in cast("list[object]", value)[:_SHORTENED_TO]]
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in cast("dict[str, object]", value).items()}
    return value


def _quoted(text: str) -> str:
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


def _files(
    values: Mapping[str, FileContent | Sequence[FileContent | None] | NotGiven | None],
) -> tuple[dict[str, FileContent], dict[str, tuple[FileContent, ...]]]:
    """The files that were given, one a member and several a member."""
    singles: dict[str, FileContent] = {}
    lists: dict[str, tuple[FileContent, ...]] = {}
    for name, value in values.items():
        if value is None or isinstance(value, NotGiven):
            continue
        if isinstance(value, bytes | tuple):
            singles[name] = cast("FileContent", value)
        elif isinstance(value, list):
            lists[name] = tuple(one for one in value if one is not None)
        else:
            raise ValueError(f"{name}: a file is bytes, or a name and bytes, not {type(value).__name__}")
    return singles, lists


def _scalar(value: object) -> str:
    """A value as text; what is no scalar as JSON."""
    return value if isinstance(value, str) else _written(value)


def _written(value: object) -> str:
    """A value as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _is_several(value: object) -> TypeGuard[_Several]:
    """Whether a JSON value is no scalar."""
    return isinstance(value, list | dict)


def _flat(value: _Several, style: Style | None) -> list[str]:
    """The items of a list, or the members of an object with their names."""
    if isinstance(value, list):
        return [_scalar(item) for item in value]
    if style in ("pairs", "labels", "matrices"):
        return [f"{name}={_scalar(member)}" for name, member in value.items()]
    return [text for name, member in value.items() for text in (name, _scalar(member))]


def _prefixed(name: str, value: object, style: Style) -> str:
    """A path parameter of the label or the matrix style."""
    is_object = isinstance(value, dict)
    texts = _flat(value, style) if _is_several(value) else [_scalar(value)]
    quoted = [quote(text, safe="=" if is_object else "") for text in texts]
    if style in ("label", "labels"):
        return "." + ("." if style == "labels" else ",").join(quoted)
    if style == "matrix":
        return f";{name}={','.join(quoted)}"
    return "".join(f";{text}" if is_object else f";{name}={text}" for text in quoted)


def _query(name: str, value: object, style: Style | None) -> Iterator[tuple[str, str]]:
    """A query parameter, or a member of a form, as the pairs that it is sent as."""
    if style == "json":
        yield name, _written(value)
    elif style == "deep":
        yield from _deep(name, value)
    elif not _is_several(value):
        yield name, _scalar(value)
    elif style is not None:
        yield name, _JOINTS.get(style, ",").join(_flat(value, style))
    elif isinstance(value, list):
        for item in value:
            yield name, _scalar(item)
    else:
        for key, member in value.items():
            if member is not None:
                yield from _query(key, member, None)


def _deep(name: str, value: object) -> Iterator[tuple[str, str]]:
    if not _is_several(value):
        if value is not None:
            yield name, _scalar(value)
        return
    for key, member in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _deep(f"{name}[{key}]", member)


# --- events and commands


@dataclass(frozen=True, slots=True)
class EventSpec:
    """One event type, or one variant of it.

    Attributes:
        wire: The wire name; with a trailing `*` every name with that beginning.
        payload: The payload class.
        variant_key: Payload member whose presence selects this class among those of one wire name.
        enveloped: Whether it travels in the event envelope.
        defaults: Members of the envelope that normally go with it, and their values.
    """

    wire: str
    payload: type[EventPayload]
    variant_key: str | None = None
    enveloped: bool = True
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])


class EventRegistry:
    """Which payload class belongs to which wire name.

    Attributes:
        specs: The event types.
        readers: What reads the payloads of the wire names that have one class; filled as they are read.
    """

    def __init__(self, specs: Iterable[EventSpec]) -> None:
        self.specs = tuple(specs)
        self._by_class = {spec.payload: spec for spec in self.specs}
        self._plain: dict[str, type[EventPayload]] = {}
        self._variants: dict[str, tuple[EventSpec, ...]] = {}
        self._patterns: list[EventSpec] = []
        self.readers: dict[str, Callable[[object], EventPayload]] = {}
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

    def read(self, wire: str, payload: Mapping[str, object]) -> EventPayload | None:
        """The typed payload of a wire name; None if the contract has no such type.

        Raises:
            pydantic.ValidationError: The payload breaks the contract.
        """
        model = self.payload_class(wire, payload)
        if model is None:
            return None
        if wire in self._plain and wire not in self._variants:
            self.readers[wire] = model.reader()
        return model.from_wire(payload)

    def spec_of(self, payload: type[EventPayload]) -> EventSpec | None:
        """What belongs to a payload class; None if the contract has no such event."""
        return self._by_class.get(payload)

    def types_of(self, payload: type[EventPayload]) -> tuple[str, ...]:
        """The wire names whose payloads are instances of a class, in the contract's order."""
        return tuple(dict.fromkeys(s.wire for s in self.specs if issubclass(s.payload, payload)))


def built(
    payload: type[Payload],
    example: Mapping[str, object],
    given: Mapping[str, object],
    extra: Mapping[str, object] | None,
) -> Payload:
    """A payload from an example and the members that are given; what is `NOT_GIVEN` is as in the example.

    Args:
        payload: The class.
        example: Every member that must be there, by wire name.
        given: Members, by wire name.
        extra: Further members, by wire name.

    Raises:
        pydantic.ValidationError: The result breaks the contract.
    """
    chosen = {name: value for name, value in given.items() if not isinstance(value, NotGiven)}
    return payload.from_wire({**example, **chosen, **(extra or {})})


@dataclass(frozen=True, slots=True)
class Command(Generic[Request, Ack]):
    """One message that a client sends over the socket, and its acknowledgement."""

    name: str
    namespace: str
    request: type[Request]
    ack: type[Ack]
