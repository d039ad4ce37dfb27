"""Reads YAML and JSON documents, and finds what a `$ref` means across them."""

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import unquote

import yaml

from ._errors import ContractError

JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"
JsonObject: TypeAlias = "dict[str, JsonValue]"


if TYPE_CHECKING:
    from yaml import SafeLoader as _SafeLoader
else:
    # The parser in C, where PyYAML has it, is ten times as fast.
    _SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The parser in C ends the process where Python's raises a RecursionError.
_DEEPEST = 200


class _Loader(_SafeLoader):
    """YAML as JSON has it: no dates, `true` and `false` the only booleans, no key twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                None, None, "a key is not a string", cast("yaml.Mark | None", key_node.start_mark)
            )
        if key_node.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key_node.value!r} stands twice", key_node.start_mark
            )
        seen.add(key_node.value)
    construct = cast("Callable[..., object]", loader.construct_object)
    return {key.value: construct(value, deep=True) for key, value in node.value}


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge")
        or (tag == "tag:yaml.org,2002:bool" and first in "tTfF")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _load_yaml(text: str) -> object:
    """What a YAML document holds.

    Raises:
        yaml.YAMLError: It is no YAML.
        RecursionError: It is nested too deeply.
    """
    depth = 0
    for event in cast("Iterable[yaml.Event]", yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecursionError(f"it is nested deeper than {_DEEPEST} levels")
    return yaml.load(text, Loader=_Loader)


def _unique(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice")
    return found


def escape(token: str) -> str:
    """One token of a JSON pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """The inverse of `escape`."""
    return token.replace("~1", "/").replace("~0", "~")


def pointer_of(path: Iterable[object]) -> str:
    """A JSON pointer from the keys and indices that a validator reports."""
    return "".join(f"/{escape(str(token))}" for token in path)


@dataclass(frozen=True)
class Document:
    """One file of a contract."""

    path: Path
    root: JsonObject

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
            elif isinstance(here, list) and token.isdigit() and int(token) < len(here):
                here = here[int(token)]
            else:
                raise KeyError(walked)
        return here


def read(path: Path) -> Document:
    """Reads one document.

    Raises:
        ContractError: It cannot be read or parsed, or is no object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ContractError(path, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ContractError(path, "", f"is not UTF-8: {error}") from error
    root: object
    try:
        is_json = path.suffix == ".json"
        root = json.loads(text, object_pairs_hook=_unique) if is_json else _load_yaml(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ContractError(path, "", f"is not valid {path.suffix.lstrip('.').upper()}: {error}") from error
    if not isinstance(root, dict):
        raise ContractError(path, "", "holds no object")
    if _SURROGATE.search(text):
        _check_text(path, cast("JsonObject", root))
    return Document(path, cast("JsonObject", root))


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _check_text(path: Path, root: JsonObject) -> None:
    """Refuses text that no file can hold: half of a surrogate pair."""
    try:
        json.dumps(root, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ContractError(
            path, "", "holds an escape that is half a character (a lone surrogate)"
        ) from error


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

    def resolve(self, document: Document, pointer: str, ref: str) -> Target:
        """What `ref`, standing at `pointer` of `document`, points at.

        Raises:
            ContractError: Nothing stands there, or the reference leaves the local files.
        """
        where, _, fragment = ref.partition("#")
        if "://" in where:
            raise ContractError(
                document.path,
                pointer,
                f"$ref {ref!r} leaves the local files; put the document beside this one",
            )
        if where and not (document.path.parent / where).is_file():
            raise ContractError(document.path, pointer, f"$ref {ref!r}: there is no file {where!r}")
        target = self.get(document.path.parent / where) if where else document
        if fragment and not fragment.startswith("/"):
            raise ContractError(
                document.path, pointer, f"$ref {ref!r}: anchors are not supported, use a JSON pointer"
            )
        missing = fragment
        # A fragment is percent-encoded (RFC 6901, 6); some documents hold it raw.
        for spelling in dict.fromkeys((unquote(fragment), fragment)):
            try:
                return Target(target, spelling, target.at(spelling))
            except KeyError as error:
                missing = str(error.args[0])
        raise ContractError(
            document.path,
            pointer,
            f"$ref {ref!r} dangles: {target.path.name} has nothing at {missing}",
        )

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


_LITERALS = frozenset({"enum", "const", "default", "example", "examples"})

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
        elif key not in _LITERALS and not key.startswith("x-"):
            yield key, member, key in _TABLES


def walk(value: JsonValue, pointer: str = "", table: bool = False) -> Iterator[tuple[str, JsonObject]]:
    """Every object below a value with its pointer; tables, and data that looks like a schema, left out."""
    if isinstance(value, dict):
        if not table:
            yield pointer, value
        for key, member, is_table in below(value, table):
            yield from walk(member, f"{pointer}/{escape(key)}", is_table)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, f"{pointer}/{index}")


def text_of(value: Mapping[str, JsonValue], key: str) -> str:
    """A text member, or an empty string."""
    found = value.get(key)
    return found if isinstance(found, str) else ""
