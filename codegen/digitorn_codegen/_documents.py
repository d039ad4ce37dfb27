"""Reads YAML and JSON documents, and finds what a `$ref` means across them."""

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast

import yaml

from ._errors import ContractError

JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"
JsonObject: TypeAlias = "dict[str, JsonValue]"


class _Loader(yaml.SafeLoader):
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
        if path.suffix == ".json":
            root = json.loads(text, object_pairs_hook=_unique)
        else:
            root = yaml.load(text, Loader=_Loader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ContractError(path, "", f"is not valid {path.suffix.lstrip('.').upper()}: {error}") from error
    if not isinstance(root, dict):
        raise ContractError(path, "", "holds no object")
    return Document(path, cast("JsonObject", root))


@dataclass(frozen=True)
class Target:
    """What a `$ref` points at."""

    document: Document
    pointer: str
    value: JsonValue


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
        try:
            return Target(target, fragment, target.at(fragment))
        except KeyError as error:
            raise ContractError(
                document.path,
                pointer,
                f"$ref {ref!r} dangles: {target.path.name} has nothing at {error.args[0]}",
            ) from error


_LITERALS = {"enum", "const", "default", "example", "examples"}


def walk(value: JsonValue, pointer: str = "") -> Iterator[tuple[str, JsonObject]]:
    """Every object below a value with its pointer, data that only looks like a schema left out."""
    if isinstance(value, dict):
        yield pointer, value
        for key, below in value.items():
            if key not in _LITERALS or (isinstance(below, dict) and pointer.endswith("/properties")):
                yield from walk(below, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from walk(below, f"{pointer}/{index}")


def text_of(value: Mapping[str, JsonValue], key: str) -> str:
    """A text member, or an empty string."""
    found = value.get(key)
    return found if isinstance(found, str) else ""
