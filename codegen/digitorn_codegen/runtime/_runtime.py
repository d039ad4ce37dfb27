"""What the generated classes and stubs run on."""

import gc
import re
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, lru_cache, reduce
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    cast,
)
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict, StrictBool, TypeAdapter, ValidationError, model_validator
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from ._encoding import (
    FileContent,
    Json,
    Pair,
    Part,
    Style,
    cookies,
    file_part,
    header,
    joined,
    multipart,
    pairs,
    segment,
    value_parts,
    written,
)
from ._streams import AnyStream, Items, Streamed
from ._surrogates import dumped, half_in, parsed, validated

T = TypeVar("T")
Request = TypeVar("Request", bound="Model")
Ack = TypeVar("Ack", bound="Model | None")


class _Building:
    """Lets one thread at a time build validators, with room for long chains of classes."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._limits: list[int] = []

    def __enter__(self) -> None:
        self._lock.acquire()
        self._limits.append(sys.getrecursionlimit())
        # pydantic goes from class to class, a dozen calls deep for each.
        sys.setrecursionlimit(max(self._limits[-1], _DEEPEST))

    def __exit__(self, *_: object) -> None:
        sys.setrecursionlimit(self._limits.pop())
        self._lock.release()


_DEEPEST: Final = 5000
_BUILDING: Final = _Building()
_STRICT = ConfigDict(strict=True)


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


class _Pair(tuple[str, Any]):
    """A member of an instance and its value."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            raise TypeError(
                "iterating over an instance gives its members as pairs of name and value; "
                "iterate over the member that is the list"
            )
        return super().__getitem__(key)


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

    # With its own `__init__`, pydantic would call it for each value that it reads. Functions have no such
    # attribute for type checkers.
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
        return validated(cls.reader(), value)

    @classmethod
    def reader(cls) -> Callable[[object], Self]:
        """What makes instances from decoded JSON; `from_wire` without its set-up."""
        if not cls.__pydantic_complete__:
            cls.model_rebuild()
        if "__forms__" in vars(cls):
            return cast("Callable[[object], Self]", _reader_of_forms(cls))
        return cast("Callable[[object], Self]", cls.__pydantic_validator__.validate_python)

    def to_wire(self) -> dict[str, Any]:
        """The members that were set, as JSON values under their wire names."""
        return dumped(self)

    if not TYPE_CHECKING:

        def __getitem__(self, key: object) -> object:
            members = [*type(self).model_fields, *(self.model_extra or ())]
            lists = [name for name in members if isinstance(getattr(self, name), list)]
            fitting = [key] if key in members else members if isinstance(key, str) else lists or members
            shown = ", ".join(f".{name}" for name in fitting)
            raise TypeError(f"{type(self).__name__} is neither a dict nor a list; read {shown}")

        def __iter__(self) -> Iterator[tuple[str, Any]]:
            return map(_Pair, super().__iter__())

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, "***" if isinstance(value, str) and names_secret(name or "") else value


@cache
def _reader_of_forms(kind: type[Model]) -> Callable[[object], object]:
    """Reads a value as one of the forms of a class; kept, as making it takes milliseconds."""
    module = sys.modules[kind.__module__]
    forms: list[Any] = [getattr(module, name) for name in kind.__forms__]
    whole: Any = reduce(lambda one, other: one | other, forms)
    with _BUILDING:
        return TypeAdapter[Any](whole).validate_python


class Renamed(Model):
    """Base of classes with a member whose name in Python is not that on the wire."""

    @model_validator(mode="after")
    def _forget_others(self) -> Self:
        # A member that the contract lacks may have that very name, and pydantic then takes both for set.
        for name in self.model_extra or ():
            field = type(self).model_fields.get(name)
            if field is not None and not field.is_required() and getattr(self, name) == field.default:
                self.model_fields_set.discard(name)
        return self


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

    def __reduce__(self) -> tuple[object, ...]:
        return (
            type(self),
            (
                self.reason,
                self.data,
            ),
            vars(self),
        )


class Undecodable(Exception):
    """An answer that is not what the contract says.

    Attributes:
        reasons: What does not fit, each with its place in the answer.
    """

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reasons,), vars(self)


Reading: TypeAlias = Literal["json", "text", "bytes", "none"] | Streamed
"""How the body of an answer becomes the result; the items of a stream are read as they arrive."""

Writing: TypeAlias = Literal["json", "multipart", "form", "binary", "text"]
"""How a request body is written."""

_USUAL: Final[Mapping[Writing, str]] = {
    "json": "application/json",
    "multipart": "multipart/form-data",
    "form": "application/x-www-form-urlencoded",
    "binary": "application/octet-stream",
    "text": "text/plain; charset=utf-8",
}

_Files: TypeAlias = Mapping[str, FileContent | Sequence[FileContent | None] | NotGiven | None]


@dataclass(slots=True, eq=False)
class RestOperation(Generic[T]):
    """One operation of the API: how it is called and how its answer is read.

    Attributes:
        id: Its name.
        method: HTTP method.
        path: Path with its parameters in braces.
        result_type: Says the type of the result, whose module is loaded only then; of a stream, that of its
            items.
        reading: How the body of an answer becomes the result.
        envelope: What wraps the result, if anything.
        others: Other content types that an answer may have, and how each is read: the reading, the type of
            the result, and the envelope.
        accept: The content types to ask for, where the server has a choice.
        body: How the request body is written, if there is one.
        media_type: Content type of the request body, when not the usual one of that writing.
        bodies: Other content types that a call can choose for its body, and how each is written.
        body_required: Whether there must be a body; otherwise one without any member is not sent.
        part_types: Content types of the parts of a multipart body, where the contract names them.
        styles: How parameters and form members are written when not by default, by place (`path`, `query`,
            `header`, `cookie`, `body`) and name.
        reserved: Query parameters and form members in which reserved characters are sent as they are.
        may_be_empty: Whether an answer without a body is the result None.
        authenticated: Whether it takes credentials.
        credentials_optional: Whether it also answers a caller without credentials.
        statuses: The HTTP statuses that the contract declares for it, in ascending order.
        servers: The URLs of its servers, if they are not those of the contract.
    """

    id: str
    method: str
    path: str
    result_type: Callable[[], object]
    reading: Reading = "json"
    envelope: Envelope | None = None
    others: Mapping[str, tuple[Reading, Callable[[], object], Envelope | None]] = field(
        default_factory=dict[str, tuple[Reading, Callable[[], object], Envelope | None]]
    )
    accept: str | None = None
    body: Writing | None = None
    media_type: str | None = None
    bodies: Mapping[str, Writing] = field(default_factory=dict[str, Writing])
    body_required: bool = True
    part_types: Mapping[str, str] = field(default_factory=dict[str, str])
    styles: Mapping[tuple[str, str], Style] = field(default_factory=dict[tuple[str, str], Style])
    reserved: Collection[tuple[str, str]] = ()
    may_be_empty: bool = False
    authenticated: bool = True
    credentials_optional: bool = False
    statuses: tuple[int, ...] = ()
    servers: tuple[str, ...] = ()
    _adapter: "TypeAdapter[T] | None" = field(default=None, init=False, repr=False)
    _reader: "TypeAdapter[Any] | None" = field(default=None, init=False, repr=False)
    _readers: "dict[str, RestOperation[Any]]" = field(
        default_factory=dict[str, "RestOperation[Any]"], init=False, repr=False
    )

    @property
    def result(self) -> object:
        """Type of the result; of a stream, that of its items."""
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
        files: _Files | None = None,
        content: object = NOT_GIVEN,
        content_type: str | None = None,
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
            content_type: Content type of the body; the first that the contract names if left out.

        Raises:
            ValueError: A path parameter is empty, a file is not passed as bytes, a header or half of a
                surrogate pair cannot be sent, or the contract has no such content type.
        """
        self._check_texts(path, query, headers, cookies, body, files, {"body": content})
        writing, media_type = self._writing(content_type)
        if writing == "multipart" and isinstance(content, Mapping):
            body, files, content = _with_files(cast("Mapping[str, object]", content))
        singles, lists = _files(files or {})
        members = None if body is None else _given(body)
        whole: Any = content if isinstance(content, NotGiven | bytes) else _json(content)
        found = tuple(self._pairs(query or {}))
        form = tuple(self._form(members if members is not None else whole)) if writing == "form" else ()
        has_members = bool(members or singles or lists) or self.body_required
        return Call(
            operation=self,
            path=self._path(path or {}, segments),
            query=tuple(pair.plain for pair in found),
            query_string=joined(found),
            headers=self._headers(headers or {}),
            cookies=dict(self._cookies(cookies or {})),
            body=members,
            files=singles,
            file_lists=lists,
            form=tuple(pair.plain for pair in form),
            form_string=joined(form),
            content=None if isinstance(whole, NotGiven) else whole,
            has_body=self.body is not None
            and ((members is not None and has_members) or not isinstance(whole, NotGiven)),
            writing=writing,
            media_type=media_type,
        )

    def _check_texts(self, *places: Mapping[str, object] | None) -> None:
        for values in places:
            for name, value in (values or {}).items():
                if (found := half_in(value, name)) is not None:
                    raise ValueError(f"{self.id or self.method}: {found}, and cannot be sent")

    def _writing(self, content_type: str | None) -> tuple[Writing | None, str]:
        """How the body is written, and its content type."""
        if self.body is None:
            return None, ""
        usual = self.media_type or _USUAL[self.body]
        if content_type is None or content_type == usual:
            return self.body, usual
        if content_type not in self.bodies:
            raise ValueError(f"{self.id}: a body is not sent as {content_type!r}")
        return self.bodies[content_type], content_type

    def _path(self, values: Mapping[str, object], segments: Collection[str]) -> str:
        filled = self.path
        for name, value in values.items():
            text = segment(name, _json(value), self.styles.get(("path", name)), spans=name in segments)
            if not text:
                raise ValueError(f"{self.id}: path parameter {name!r} is empty")
            filled = filled.replace("{" + name + "}", text)
        return filled

    def _pairs(self, values: Mapping[str, object]) -> Iterator[Pair]:
        for name, value in values.items():
            if not isinstance(value, NotGiven):
                key = "query", name
                yield from pairs(name, _json(value), self.styles.get(key), reserved=key in self.reserved)

    def _headers(self, values: Mapping[str, object]) -> dict[str, str]:
        found = {} if self.accept is None else {"Accept": self.accept}
        for name, value in values.items():
            if not isinstance(value, NotGiven):
                text = header(name, _json(value), self.styles.get(("header", name)))
                if text is not None:
                    found[name] = text
        return found

    def _cookies(self, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        for name, value in values.items():
            if not isinstance(value, NotGiven):
                yield from cookies(name, _json(value), self.styles.get(("cookie", name)))

    def _form(self, members: Json) -> Iterator[Pair]:
        """The members of a form as pairs."""
        if not isinstance(members, dict):
            return
        for name, value in members.items():
            key = "body", name
            style = self.styles.get(key)
            # Without a style of its own, what is no scalar and no list of such is written as JSON.
            if style is None and (isinstance(value, dict) or _has_several(value)):
                style = "json"
            yield from pairs(name, value, style, reserved=key in self.reserved)

    def answering(self, media_type: str | None) -> "RestOperation[Any]":
        """How an answer of a content type is read: by this operation, or by one that only reads.

        Args:
            media_type: The content type of the answer; None if it is not known.
        """
        if not self.others or media_type is None:
            return self
        name = media_type.partition(";")[0].strip().lower()
        key = next((one for one in self.others if one == name or fnmatchcase(name, one)), None)
        if key is None:
            return self
        if key not in self._readers:
            reading, result_type, envelope = self.others[key]
            self._readers[key] = RestOperation(
                self.id,
                self.method,
                self.path,
                result_type,
                reading=reading,
                envelope=envelope,
                may_be_empty=self.may_be_empty,
            )
        return self._readers[key]

    def read(self, content: bytes, *, encoding: str = "utf-8", media_type: str | None = None) -> T:
        """The typed result in an answer's body.

        Args:
            content: The body.
            encoding: The encoding of a text.
            media_type: Its content type, which matters where the contract has several.

        Raises:
            Refused: The envelope says that the operation failed.
            Undecodable: The body is not what the contract says; of a stream, while its items are read.
        """
        reader = self.answering(media_type)
        if reader is not self:
            return cast("T", reader.read(content, encoding=encoding))
        if self.may_be_empty and not content:
            return cast("T", None)
        if self.reading == "bytes":
            return cast("T", content)
        if self.reading == "text":
            return cast("T", content.decode(encoding, errors="replace"))
        if self.reading == "none":
            return cast("T", None)
        if (items := self.items()) is not None:
            return cast("T", AnyStream(_items(items, content)))
        try:
            return self._read_at_once(content)
        except ValidationError:
            pass
        # A refusal, or something that breaks the contract: find out what.
        return self.read_in_steps(content)

    def items(self) -> "Items[Any] | None":
        """Finds the items in an answer that is a stream; None if it is none."""
        match self.reading:
            case "events" | "event-data" | "lines" as streamed:
                return Items(streamed, self._item)
            case _:
                return None

    def _item(self, item: dict[str, Any] | bytes) -> object:
        return self.read_in_steps(item) if isinstance(item, bytes) else self._validated(item)

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
            # pydantic reads the setting of such a type there.
            enveloped: Any = cast("Any", TypedDict)("_Enveloped", members)
            enveloped.__pydantic_config__ = _STRICT
            return TypeAdapter(enveloped)

    def read_in_steps(self, content: bytes) -> T:
        """The same as `read` for JSON, slower, and with a reason if it cannot be read.

        Raises:
            Refused: The envelope says that the operation failed.
            Undecodable: The body is not what the contract says.
        """
        try:
            document: object = parsed(content)
        except ValueError as error:
            raise Undecodable((f"not JSON: {error}",)) from error
        if self.envelope is not None:
            document = self._open(document, self.envelope)
        return self._validated(document)

    def _validated(self, document: object) -> T:
        try:
            return validated(self.adapter.validate_python, document)
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
                    result: Any = self.result
                    # A class is strict by itself.
                    is_class = isinstance(result, type) and issubclass(result, BaseModel)
                    self._adapter = TypeAdapter[T](cast("Any", result), config=None if is_class else _STRICT)
        return self._adapter


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """An operation with its arguments, ready to be sent. Bodies may hold secrets, and do not show.

    Attributes:
        operation: What is called.
        path: The path, percent-encoded.
        query: Query parameters in order, each pair written out, to be read by people.
        query_string: The query as it is sent, percent-encoded.
        headers: Header parameters, and the content types to ask for.
        cookies: Cookies, their values percent-encoded.
        body: Members of the request body as JSON values; None when there is no body, or it is passed whole.
        files: Files to upload, by member.
        file_lists: Members that hold several files.
        form: The members of a form in order, each pair written out.
        form_string: The form as it is sent, percent-encoded.
        content: A body that is passed whole: a JSON value, or the bytes or text to send.
        has_body: Whether a body is sent; one that is passed whole may be None, which is JSON's null.
        writing: How the body is written, if the operation has one.
        media_type: Content type of the body.
    """

    operation: RestOperation[T]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    query_string: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    cookies: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    files: Mapping[str, FileContent] = field(default_factory=dict[str, FileContent], repr=False)
    file_lists: Mapping[str, tuple[FileContent, ...]] = field(
        default_factory=dict[str, tuple[FileContent, ...]], repr=False
    )
    form: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    form_string: str = field(default="", repr=False)
    content: Any = field(default=None, repr=False)
    has_body: bool = False
    writing: Writing | None = None
    media_type: str = ""

    @property
    def target(self) -> str:
        """Path and query as they are sent, percent-encoded."""
        if not self.query_string:
            return self.path
        # Some contracts have the beginning of the query in the path.
        return f"{self.path}{'&' if '?' in self.path else '?'}{self.query_string}"

    @property
    def cookie_header(self) -> str:
        """The cookies as the header `Cookie` has them; empty if there are none."""
        return "; ".join(f"{name}={text}" for name, text in self.cookies.items())

    def url(self, server: str) -> str:
        """The whole address.

        Args:
            server: The URL of the server; that of the operation, if it has one of its own, is used instead.
        """
        if self.operation.servers:
            server = urljoin(server.rstrip("/") + "/", self.operation.servers[0])
        return server.rstrip("/") + self.target

    def encoded(self) -> "tuple[bytes, str] | None":
        """The body as it is sent, and its content type; None without a body.

        Raises:
            ValueError: A number is not valid in JSON.
        """
        if not self.has_body or self.writing is None:
            return None
        if self.writing == "multipart":
            return multipart(parts, self.media_type) if (parts := self.parts()) else None
        if self.writing == "form":
            content = self.form_string.encode()
        elif self.writing == "json":
            content = written(self.content if self.body is None else dict(self.body)).encode()
        elif isinstance(self.content, str):
            content = self.content.encode()
        else:
            content = bytes(self.content)
        return content, self.media_type

    def parts(self) -> tuple[Part, ...]:
        """The parts of a multipart body in order, values before files; empty for any other body."""
        if self.writing != "multipart" or not self.has_body:
            return ()
        operation, found = self.operation, list[Part]()
        for name, value in (self.body or {}).items():
            style = operation.styles.get(("body", name))
            found += value_parts(name, value, style, operation.part_types.get(name))
        several = [(name, one) for name, files in self.file_lists.items() for one in files]
        for name, file in (*self.files.items(), *several):
            found.append(file_part(name, file, operation.part_types.get(name)))
        return tuple(found)


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


def _has_several(value: Json) -> bool:
    """Whether a JSON value is a list in which not everything is a scalar."""
    return isinstance(value, list) and any(isinstance(one, list | dict) for one in value)


def _items(items: Items[T], content: bytes) -> Iterator[T]:
    yield from items.feed(content)
    yield from items.end()


def _with_files(members: Mapping[str, object]) -> tuple[dict[str, object], _Files, NotGiven]:
    """The values and the files of a multipart body that is passed whole."""
    files: dict[str, Any] = {name: value for name, value in members.items() if _holds_files(value)}
    return {name: value for name, value in members.items() if name not in files}, files, NOT_GIVEN


def _holds_files(value: object) -> bool:
    """Whether a value is a file or a list of files."""
    several = cast("list[object]", value) if isinstance(value, list) else []
    return isinstance(value, bytes | tuple) or (bool(several) and all(map(_holds_files, several)))


def _files(values: _Files) -> tuple[dict[str, FileContent], dict[str, tuple[FileContent, ...]]]:
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
    """One message that a client sends over the socket, and its acknowledgement.

    Attributes:
        name: Its wire name.
        namespace: Where it is sent: a Socket.IO namespace, or the address of a channel.
        request: The class of its argument.
        ack: The class of its acknowledgement; the type of None if it has none.
    """

    name: str
    namespace: str
    request: type[Request]
    ack: type[Ack]
