"""Finds the operations behind calls: which segments of their paths are parameters."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from ._documents import JsonValue
from ._frames import JSON, SeenExchange
from ._names import words
from ._shapes import Shape, is_id

# An answer that tells which thing a path names says so in one of these.
_NAMING = frozenset({"id", "name", "code", "slug", "key", "uuid", "username"})
_IDENTIFYING = re.compile(r"(^|_)(ids?|uuid|guid|slug|key)$|[a-z](Ids?|Uuid|Guid)$")
# Segments that stand for one thing among others, but are part of the interface.
_OWN_WORDS = frozenset(
    {"all", "count", "current", "default", "latest", "me", "new", "search", "self", "stats"}
)
_NUMBERED = re.compile(r".+_\d+")
_PARAMETER = "/"
"""In place of a segment, the parameter of a node; no segment has a slash."""
_DEEPEST = 3


@dataclass
class Template:
    """A path with its parameters in braces, and the calls that were made of it.

    Attributes:
        path: The path.
        values: What each parameter was, by its name and in order.
        calls: The calls by HTTP method.
    """

    path: str
    values: dict[str, set[str]]
    calls: dict[str, list[SeenExchange]]


@dataclass
class _Node:
    """A segment and what follows it.

    Attributes:
        children: What follows, by segment.
        calls: The calls whose paths end here, by method.
        values: What a parameter was; None for a segment that is no parameter.
    """

    children: "dict[str, _Node]" = field(default_factory=dict[str, "_Node"])
    calls: dict[str, list[SeenExchange]] = field(default_factory=dict[str, list[SeenExchange]])
    values: set[str] | None = None

    def absorb(self, other: "_Node") -> None:
        for method, calls in other.calls.items():
            self.calls.setdefault(method, []).extend(calls)
        for segment, child in other.children.items():
            self.children.setdefault(segment, _Node()).absorb(child)


def templates(calls: Iterable[SeenExchange], known: Iterable[str], named: set[str]) -> list[Template]:
    """The paths of calls, with parameters in place of segments that vary.

    A segment is a parameter if it looks like an identifier, if it is the value of an identifying member
    somewhere in the traffic, or if the answers are alike that two segments in its place lead to.

    Args:
        calls: The calls.
        known: Paths of a contract. A segment that stands in them is no parameter; parameters that stand in
            them keep their names.
        named: The values of identifying members.
    """
    root = _Node()
    for call in calls:
        node = root
        for segment in call.path.split("/")[1:]:
            node = node.children.setdefault(segment, _Node())
        node.calls.setdefault(call.method, []).append(call)
    paths = [path.split("/")[1:] for path in known]
    found = _Naming(named).found(root, paths, [], {})
    return sorted(found, key=lambda one: one.path)


def identifying(value: JsonValue, name: str = "") -> Iterator[str]:
    """The texts and numbers of a value that stand under a name such as `id` or `book_id`."""
    if isinstance(value, dict):
        for member, one in value.items():
            yield from identifying(one, member)
    elif isinstance(value, list):
        for one in value:
            yield from identifying(one, name)
    elif isinstance(value, str | int) and not isinstance(value, bool) and _IDENTIFYING.search(name):
        yield str(value)


@dataclass
class _Naming:
    named: set[str]

    def found(
        self, node: _Node, known: Sequence[Sequence[str]], path: list[str], values: dict[str, set[str]]
    ) -> Iterator[Template]:
        if node.calls:
            yield Template("/" + "/".join(path), dict(values), node.calls)
        literals = {one[0] for one in known if one and "{" not in one[0]}
        parameters = [one[0] for one in known if one and re.fullmatch(r"\{[^{}]+\}", one[0])]
        split = self._split(node, literals, is_first=not path, is_known=bool(parameters))
        for segment, child in split.items():
            if child.values is None:
                rest = [one[1:] for one in known if one and one[0] == segment]
                yield from self.found(child, rest, [*path, segment], values)
            else:
                name = parameters[0] if parameters else f"{{{_parameter(path, values)}}}"
                rest = [one[1:] for one in known if one and one[0] == name]
                yield from self.found(child, rest, [*path, name], {**values, name[1:-1]: child.values})

    def _split(self, node: _Node, literals: set[str], *, is_first: bool, is_known: bool) -> dict[str, _Node]:
        """What follows a node, its parameter as one."""
        free = {segment: child for segment, child in node.children.items() if segment not in literals}
        varying = {
            segment
            for segment, child in free.items()
            if segment and self._is_parameter(unquote(segment), child, is_first=is_first, is_known=is_known)
        }
        others = [] if is_first else sorted(free.keys() - varying - _OWN_WORDS)
        signs = {segment: set(_signs(child)) for segment, child in free.items()}
        for segment in others:
            alike = varying | set(others) - {segment}
            if any(signs[segment] & signs[other] for other in alike):
                varying.add(segment)
        split = {segment: child for segment, child in node.children.items() if segment not in varying}
        if varying:
            split[_PARAMETER] = merged = _Node(values={unquote(segment) for segment in varying})
            for segment in sorted(varying):
                merged.absorb(node.children[segment])
        return split

    def _is_parameter(self, text: str, child: _Node, *, is_first: bool, is_known: bool) -> bool:
        if is_id(text) or "{" in text or _NUMBERED.fullmatch(text):
            return True
        if is_first or text in _OWN_WORDS:
            return False
        # What is posted to is often an action and not a thing.
        others = [call for method, calls in child.calls.items() if method != "POST" for call in calls]
        if is_known and (others or child.children):
            return True
        return text in self.named or any(_names(call.answer.value, text) for call in others)


def _names(answer: JsonValue, text: str, depth: int = 0) -> bool:
    """Whether an answer says that it is about the thing of this name."""
    if not isinstance(answer, dict) or depth > _DEEPEST:
        return False
    return any(answer.get(name) == text for name in _NAMING) or any(
        _names(one, text, depth + 1) for one in answer.values()
    )


def _signs(node: _Node, path: tuple[str, ...] = ()) -> Iterator[tuple[object, ...]]:
    """What makes two segments alike: the members of the answers below them."""
    for method, calls in node.calls.items():
        shape = Shape()
        for call in calls:
            if call.status < 300 and call.answer.media_type == JSON:
                shape.add(call.answer.value)
        members = frozenset(_members(shape))
        # Few members are alike by chance, and an empty list does not tell what it is a list of.
        if len(members) > 1 and not any(
            one.items is not None and not one.items.types for one in shape.walk()
        ):
            yield (path, method, members)
    for segment, child in node.children.items():
        yield from _signs(child, (*path, "{}" if is_id(segment) else segment))


def _members(shape: Shape, path: str = "") -> Iterator[str]:
    for name, one in shape.members.items():
        yield f"{path}.{name}"
        yield from _members(one, f"{path}.{name}")
    if shape.items is not None:
        yield from _members(shape.items, f"{path}[]")


def _parameter(path: Sequence[str], taken: Iterable[str]) -> str:
    """A name for a parameter: `book_id` behind `books`."""
    before = [segment for segment in path if "{" not in segment]
    wanted = "_".join([*map(str.lower, words(singular(before[-1]) if before else "")), "id"])
    number, name = 2, wanted
    while name in set(taken):
        number, name = number + 1, f"{wanted}{number}"
    return name


def singular(noun: str) -> str:
    """`book` of `books`."""
    if re.search(r"[a-z]{2}ies$", noun):
        return f"{noun[:-3]}y"
    if re.search(r"(ss|x|ch|sh)es$", noun):
        return noun[:-2]
    return noun[:-1] if re.search(r"[a-z][^sui]s$", noun) else noun
