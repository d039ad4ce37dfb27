"""Reads YAML and JSON documents, and finds what a `$ref` means across them."""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, uses_relative

from ._errors import ContractError
from ._parse import JsonObject, JsonValue, Malformed, escape, parse_json, parse_yaml

__all__ = ["LITERALS", "JsonObject", "JsonValue", "escape"]


def unescape(token: str) -> str:
    """The inverse of `escape`."""
    return token.replace("~1", "/").replace("~0", "~")


def pointer_of(path: Iterable[object]) -> str:
    """A JSON pointer from the keys and indices that a validator reports."""
    return "".join(f"/{escape(str(token))}" for token in path)


@dataclass(frozen=True)
class Resources:
    """The schemas of a document that have a URI or a name of their own.

    Attributes:
        uris: The URI of each schema that has an `$id`, and of the document, by pointer.
        anchors: The pointer of each `$anchor` and `$dynamicAnchor`, by the pointer of the schema with the
            nearest `$id` and the name.
        dynamic: The names of each `$dynamicAnchor`, as often as it stands there.
    """

    uris: dict[str, str]
    anchors: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    dynamic: list[str] = field(default_factory=list[str])

    def around(self, pointer: str) -> str:
        """The pointer of the nearest schema with an `$id` at or above a place; empty for the document."""
        while pointer not in self.uris:
            pointer = pointer.rpartition("/")[0]
        return pointer


@dataclass(frozen=True)
class Document:
    """One file of a contract.

    Attributes:
        path: Where it is.
        root: What it holds.
        has_names: Whether schemas in it may have an `$id` or an anchor.
        dynamic_refs: Pointers of the references that were each a `$dynamicRef`.
    """

    path: Path
    root: JsonObject
    has_names: bool = False
    dynamic_refs: tuple[str, ...] = ()

    @cached_property
    def resources(self) -> Resources:
        """The schemas in it that have a URI or a name of their own.

        Raises:
            ContractError: Two have one name.
        """
        own = (text_of(self.root, "$self") or text_of(self.root, "$id")) if self.has_names else ""
        found = Resources({"": _joined(self.path.as_uri(), own).partition("#")[0]})
        for pointer, value in walk(self.root) if self.has_names else ():
            around = found.around(pointer)
            if pointer and (id_ := text_of(value, "$id")):
                found.uris[pointer] = _joined(found.uris[around], id_).partition("#")[0]
                around = pointer
            for key in ("$anchor", "$dynamicAnchor"):
                if not (name := text_of(value, key)):
                    continue
                if found.anchors.setdefault((around, name), pointer) != pointer:
                    text = f"the anchor {name!r} is already that of {found.anchors[around, name]}"
                    raise ContractError(self.path, f"{pointer}/{key}", text)
                if key == "$dynamicAnchor":
                    found.dynamic.append(name)
        return found

    def at(self, pointer: str) -> JsonValue:
        """The value under a JSON pointer.

        Raises:
            KeyError: Nothing stands there; the argument is the pointer's first missing step.
        """
        here: JsonValue = self.root
        walked = ""
        for token in [unescape(t) for t in pointer.split("/")[1:]]:
            walked += "/" + escape(token)
            if isinstance(here, dict) and token in here:
                here = here[token]
            elif isinstance(here, list) and _INDEX.fullmatch(token) and int(token) < len(here):
                here = here[int(token)]
            else:
                raise KeyError(walked)
        return here


_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")
# What gives schemas names, also where a text escapes the dollar sign.
_NAMING = re.compile(r"\$(?:id|self|anchor|dynamicAnchor|dynamicRef)\b|\\u0024|\\x24")


def _joined(base: str, reference: str) -> str:
    """A URI reference resolved against a base (RFC 3986, 5); the reference itself if either is malformed."""
    try:
        scheme = urlsplit(base).scheme
        if scheme in uses_relative or "://" not in base or urlsplit(reference).scheme:
            return urljoin(base, reference)
        # `urljoin` knows the schemes of the web alone.
        return scheme + urljoin(f"http{base[len(scheme) :]}", reference).removeprefix("http")
    except ValueError:
        return reference


def read(path: Path) -> Document:
    """Reads one document.

    Raises:
        ContractError: It cannot be read or parsed, or is no object.
    """
    try:
        content = path.read_bytes()
        text = content.decode(json.detect_encoding(content))
    except OSError as error:
        raise ContractError(path, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ContractError(path, "", f"is not UTF-8: {error}") from error
    is_json = path.suffix == ".json"
    try:
        root = parse_json(text) if is_json else parse_yaml(text)
    except Malformed as error:
        reason = f"is not valid {'JSON' if is_json else 'YAML'}: {error.reason}"
        raise ContractError(path, error.pointer, reason) from error
    if not isinstance(root, dict):
        raise ContractError(path, "", "holds no object")
    if _SURROGATE.search(text):
        _mend_prose(root)
        for pointer in _halves(root):
            text = "holds half of a surrogate pair, which the classes could not check"
            raise ContractError(path, pointer, text)
    if not _NAMING.search(text):
        return Document(path, root)
    # OpenAPI 3.0 has none of these keywords.
    is_old = text_of(root, "openapi").startswith("3.0")
    return Document(path, root, not is_old, () if is_old else tuple(_settled(root)))


def _mend_prose(root: JsonObject) -> None:
    """Replaces halves of surrogate pairs in text for people, since Python has no docstrings with them."""
    for _, value in walk(root):
        for key in ("description", "summary", "title"):
            if key in value:
                value[key] = encodable(value[key])


def _halves(value: JsonValue, pointer: str = "", table: bool = False) -> Iterator[str]:
    """The places of halves of surrogate pairs; examples and extensions are passed over."""
    if isinstance(value, str) and _HALF.search(value):
        yield pointer
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _halves(item, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for key, member in value.items():
            if table or not (key in ("example", "examples") or key.startswith("x-")):
                at = f"{pointer}/{escape(key)}"
                yield from [at] if _HALF.search(key) else _halves(member, at, not table and key in _TABLES)


def _settled(root: JsonObject) -> Iterator[str]:
    """Makes each `$dynamicRef` a `$ref`, and yields where they stand.

    They mean the same unless the place that a schema is used from replaces the anchor by its own.
    """
    for pointer, value in list(walk(root)):
        reference = value.get("$dynamicRef")
        if isinstance(reference, str):
            del value["$dynamicRef"]
            if "$ref" not in value:
                value["$ref"] = reference
                yield f"{pointer}/$ref"
                continue
            parts = value.get("allOf")
            found = parts if isinstance(parts, list) else []
            value["allOf"] = [*found, {"$ref": reference}]
            yield f"{pointer}/allOf/{len(found)}/$ref"


def encodable(value: JsonValue) -> JsonValue:
    """A copy of a value for what takes no halves of surrogate pairs: U+FFFD stands for each."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [encodable(one) for one in value]
    if isinstance(value, dict):
        return {str(encodable(key)): encodable(member) for key, member in value.items()}
    return value


@dataclass(frozen=True)
class Target:
    """What a `$ref` points at."""

    document: Document
    pointer: str
    value: JsonValue

    @property
    def value_object(self) -> JsonObject:
        """The value if it is an object, which it always is after `follow`; otherwise an empty object."""
        return self.value if isinstance(self.value, dict) else {}


@dataclass
class Documents:
    """The documents of a contract, each read once."""

    _read: dict[Path, Document] = field(default_factory=dict[Path, Document])

    def get(self, path: Path) -> Document:
        """The document at a path."""
        path = path.resolve()
        if path not in self._read:
            self._read[path] = read(path)
        return self._read[path]

    def paths(self) -> tuple[Path, ...]:
        """Every file that was read."""
        return tuple(self._read)

    def anchors_of(self, name: str) -> int:
        """How many schemas have a `$dynamicAnchor` of this name."""
        return sum(one.resources.dynamic.count(name) for one in self._read.values() if one.has_names)

    def resolve(self, document: Document, pointer: str, ref: str) -> Target:
        """What `ref`, standing at `pointer` of `document`, points at.

        Relative references start at the nearest `$id` around the pointer, otherwise at the document.

        Raises:
            ContractError: Nothing stands there, or the reference leaves the local files.
        """
        where, _, fragment = ref.partition("#")
        around = document.resources.around(pointer) if document.has_names else ""
        target = document
        if where:
            target, around = self._retrieved(document, pointer, around, ref)
        if fragment and not fragment.startswith("/"):
            name = unquote(fragment)
            if (found := target.resources.anchors.get((around, name))) is None:
                text = f"$ref {ref!r} dangles: {target.path.name} has no anchor {name!r} there"
                raise ContractError(document.path, pointer, text)
            return Target(target, found, target.at(found))
        missing = ""
        # A fragment is percent-encoded (RFC 6901, 6), and starts at the schema with the nearest `$id`. Some
        # documents hold it raw, or start at the document.
        for spelling in dict.fromkeys((around + unquote(fragment), around + fragment, unquote(fragment))):
            try:
                return Target(target, spelling, target.at(spelling))
            except KeyError as error:
                missing = missing or str(error.args[0])
        raise ContractError(
            document.path,
            pointer,
            f"$ref {ref!r} dangles: {target.path.name} has nothing at {missing}",
        )

    def _retrieved(self, document: Document, pointer: str, around: str, ref: str) -> tuple[Document, str]:
        """The document that a reference points into, and the schema there that its fragment starts at."""
        where = ref.partition("#")[0]
        base = document.resources.uris[around]
        uri = _joined(base, where)
        for known in (document, *(one for one in self._read.values() if one is not document)):
            for place, one in known.resources.uris.items():
                if one == uri:
                    return known, place
        path = self._file(document, around, where, uri)
        if path is None:
            leaves = f"$ref {ref!r} leaves the local files; put the document beside this one"
            raise ContractError(document.path, pointer, leaves)
        if not path.is_file():
            raise ContractError(document.path, pointer, f"$ref {ref!r}: there is no file {where!r}")
        return self.get(path), ""

    def _file(self, document: Document, around: str, where: str, uri: str) -> Path | None:
        """The file that a URI is, if it is a local one."""
        try:
            found = urlsplit(uri)
            root = urlsplit(document.resources.uris[""])
            is_relative = not urlsplit(where).scheme and not where.startswith("//")
        except ValueError:
            return None
        # Some documents hold a file's name raw.
        raw = document.path.parent / where
        if found.scheme == "file" and not found.netloc:
            path = Path(unquote(found.path))
            return raw if not path.is_file() and is_relative and not around and raw.is_file() else path
        if not is_relative or found.scheme == "file":
            return None
        # A document that names its own URI lies among its neighbours as that URI does.
        if (found.scheme, found.netloc) == (root.scheme, root.netloc):
            steps = posixpath.relpath(unquote(found.path), posixpath.dirname(unquote(root.path)) or "/")
            path = document.path.parent / steps
            return raw if not path.is_file() and not around else path
        return None if around else raw

    def follow(self, document: Document, pointer: str, value: JsonObject) -> Target:
        """Where a value that may be a reference really stands.

        Raises:
            ContractError: It is a reference to itself, to nothing, or to something that is no object.
        """
        visited: set[tuple[Path, str]] = set()
        while isinstance(ref := value.get("$ref"), str):
            target = self.resolve(document, pointer, ref)
            if (target.document.path, target.pointer) in visited:
                raise ContractError(document.path, pointer, f"$ref {ref!r} refers to itself")
            visited.add((target.document.path, target.pointer))
            if not isinstance(target.value, dict):
                raise ContractError(document.path, pointer, f"$ref {ref!r} points at no object")
            document, pointer, value = target.document, target.pointer, target.value
        return Target(document, pointer, value)


LITERALS = frozenset({"enum", "const", "default", "example", "examples"})

# The values of these are tables of schemas or other objects, under names that people chose.
_TABLES = frozenset(
    {
        *("properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "schemas"),
        *("responses", "requestBodies", "headers", "links", "callbacks", "pathItems", "paths", "webhooks"),
        *("content", "encoding", "mapping", "securitySchemes", "scopes", "variables"),
    }
)


def below(value: JsonObject, table: bool) -> Iterator[tuple[str, JsonValue, bool]]:
    """The members of an object that are contract and not data: key, value, and whether that is a table.

    Args:
        value: The object.
        table: Whether it is a table, in which every key is a name.
    """
    for key, member in value.items():
        if table:
            yield key, member, False
        elif key not in LITERALS and not key.startswith("x-"):
            yield key, member, key in _TABLES


def without_extensions(table: JsonValue, pointer: str) -> JsonValue:
    """A table without its `x-…` members, if those are extensions there and not names that people chose."""
    is_extensible = pointer == "/paths" or (
        pointer.endswith("/responses") and pointer != "/components/responses"
    )
    if not (is_extensible and isinstance(table, dict)):
        return table
    return {name: member for name, member in table.items() if not name.startswith("x-")}


def walk(value: JsonValue, pointer: str = "", table: bool = False) -> Iterator[tuple[str, JsonObject]]:
    """Every object below a value with its pointer; tables, and data that looks like a schema, left out."""
    if isinstance(value, dict):
        if not table:
            yield pointer, value
        for key, member, is_table in below(value, table):
            if is_table:
                member = without_extensions(member, f"{pointer}/{key}")
            yield from walk(member, f"{pointer}/{escape(key)}", is_table)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, f"{pointer}/{index}")


def text_of(value: Mapping[str, JsonValue], key: str) -> str:
    """A text member, or an empty string."""
    found = value.get(key)
    return found if isinstance(found, str) else ""
