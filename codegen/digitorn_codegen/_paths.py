"""Finds the operations behind calls: which segments of their paths are parameters."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote

from ._documents import JsonValue
from ._frames import JSON, SeenExchange
from ._infer import Shape, is_id
from ._names import words
from .runtime._runtime import names_secret

# An answer that tells which thing a path names says so in one of these.
_NAMING = frozenset({"id", "name", "code", "slug", "key", "uuid", "username"})
_IDENTIFYING = re.compile(r"(^|_)(ids?|uuid|guid|slug|key)$|[a-z](Ids?|Uuid|Guid)$")
# Segments that stand for one thing among others, but are part of the interface.
_OWN_WORDS = frozenset(
    {"all", "count", "current", "default", "latest", "me", "new", "search", "self", "stats"}
)
_NUMBERED = re.compile(r".+_\d+")
_PLAIN = re.compile(r"[a-z_-]{1,20}")
_PREFIX = re.compile(r"api|v\d+")
_DEEPEST = 3
_TELLING = 3


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
    """

    children: "dict[str, _Node]" = field(default_factory=dict[str, "_Node"])
    calls: dict[str, list[SeenExchange]] = field(default_factory=dict[str, list[SeenExchange]])

    def absorb(self, other: "_Node") -> None:
        """Takes over the calls of another segment, and of what follows it."""
        for method, calls in other.calls.items():
            self.calls.setdefault(method, []).extend(calls)
        for segment, child in other.children.items():
            self.children.setdefault(segment, _Node()).absorb(child)


def templates(calls: Iterable[SeenExchange], known: Iterable[str]) -> list[Template]:
    """The paths of calls, with parameters in place of segments that vary.

    A segment is a parameter if it looks like an identifier, if an answer of it or of the collection above it
    identifies something by it, or if the answers are alike that two segments in its place lead to.

    Args:
        calls: The calls.
        known: Paths of a contract. A segment that stands in them is no parameter; parameters that stand in
            them keep their names.
    """
    root = _Node()
    for call in calls:
        node = root
        for segment in call.path.split("/")[1:]:
            node = node.children.setdefault(segment, _Node())
        node.calls.setdefault(call.method, []).append(call)
    paths = [path.split("/")[1:] for path in known]
    things: _Things = {}
    # Behind the same word stand the same things: what the first round finds, the second one knows.
    for _ in _found(root, paths, [], {}, things):
        pass
    return sorted(_found(root, paths, [], {}, things), key=lambda one: one.path)


_Paths: TypeAlias = Sequence[Sequence[str]]
_Things: TypeAlias = dict[str, set[str]]


def _found(
    node: _Node, known: _Paths, path: list[str], values: dict[str, set[str]], things: _Things
) -> Iterator[Template]:
    if node.calls:
        yield Template("/" + "/".join(path), dict(values), node.calls)
    literals = {one[0] for one in known if one and "{" not in one[0]}
    parameters = [one[0] for one in known if one and re.fullmatch(r"\{[^{}]+\}", one[0])]
    free = {segment: child for segment, child in node.children.items() if segment and segment not in literals}
    varying = {segment for segment in free if is_id(unquote(segment)) or _NUMBERED.fullmatch(segment)}
    if path and names_secret(path[-1]):
        varying |= {segment for segment in free if not _PLAIN.fullmatch(segment)}
    # The first words of an interface, and those behind a parameter, are not often names of things.
    if not all(_PREFIX.fullmatch(one) for one in path) and "{" not in path[-1]:
        varying |= things.get(path[-1], set()) & free.keys()
        varying.update(_identified(node, free, path[-1], is_known=bool(parameters)))
        varying.update(set(_alike(free, varying)))
    for segment, child in node.children.items():
        if segment not in varying:
            rest = [one[1:] for one in known if one and one[0] == segment]
            yield from _found(child, rest, [*path, segment], values, things)
    if varying:
        merged = _Node()
        for segment in sorted(varying):
            merged.absorb(free[segment])
        name = parameters[0] if parameters else f"{{{_parameter(path, values)}}}"
        rest = [one[1:] for one in known if one and one[0] == name]
        texts = {unquote(segment) for segment in varying}
        if path:
            things.setdefault(path[-1], set()).update(varying)
        yield from _found(merged, rest, [*path, name], {**values, name[1:-1]: texts}, things)


def _identified(node: _Node, free: Mapping[str, _Node], collection: str, *, is_known: bool) -> Iterator[str]:
    """The segments behind a collection that identify something, as answers or methods show."""
    bodies = [body.value for calls in node.calls.values() for one in calls for body in (one.body, one.answer)]
    named = {text for body in bodies for text in _identifying(body)}
    for segment, child in free.items():
        text = unquote(segment)
        # What is posted to is often an action and not a thing.
        others = [call for method, calls in child.calls.items() if method != "POST" for call in calls]
        is_changed = bool(child.calls.keys() & {"PUT", "PATCH", "DELETE"})
        if text not in _OWN_WORDS and (
            (is_known and (others or child.children))
            or (is_changed and singular(collection) != collection)
            or text in named
            or any(_names(call.answer.value, text) for call in others)
        ):
            yield segment


def _identifying(value: JsonValue, name: str = "") -> Iterator[str]:
    """The texts of a value that stand under a name such as `id` or `book_id`."""
    if isinstance(value, dict):
        for member, one in value.items():
            yield from _identifying(one, member)
    elif isinstance(value, list):
        for one in value:
            yield from _identifying(one, name)
    elif isinstance(value, str) and _IDENTIFYING.search(name):
        yield value


def _alike(free: Mapping[str, _Node], varying: set[str]) -> Iterator[str]:
    """The segments that lead to the same answers as others in their place."""
    signs = {segment: dict(_signs(child)) for segment, child in free.items()}
    for segment in free.keys() - varying - _OWN_WORDS:
        for other in (varying | (free.keys() - _OWN_WORDS)) - {segment}:
            both = signs[segment].keys() & signs[other].keys()
            if both and all(signs[segment][key] == signs[other][key] for key in both):
                yield segment
                break


def _names(answer: JsonValue, text: str, depth: int = 0) -> bool:
    """Whether an answer says that it is about the thing of this name."""
    if not isinstance(answer, dict) or depth > _DEEPEST:
        return False
    return any(answer.get(name) == text for name in _NAMING) or any(
        _names(one, text, depth + 1) for one in answer.values()
    )


def _signs(node: _Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[object, ...], frozenset[str]]]:
    """The members of the answers below a node, by path and method, where they tell something."""
    for method, calls in node.calls.items():
        shape = Shape()
        for call in calls:
            if call.status < 300 and call.answer.media_type == JSON:
                shape.add(call.answer.value)
        members = frozenset(_members(shape))
        # Few members are alike by chance, and what is empty does not tell what it is else.
        if len(members) >= _TELLING and all(_tells(one) for one in shape.walk()):
            yield ((path, method), members)
    for segment, child in node.children.items():
        yield from _signs(child, (*path, "{}" if is_id(segment) else segment))


def _tells(shape: Shape) -> bool:
    """Whether something of the kind was seen, and not only null or an empty list or object."""
    if shape.types == {"object"}:
        return bool(shape.members) or shape.others is not None
    return bool(shape.types - {"null"})


def _members(shape: Shape, path: str = "") -> Iterator[str]:
    for name, one in shape.members.items():
        yield f"{path}.{name}"
        yield from _members(one, f"{path}.{name}")
    if shape.items is not None:
        yield from _members(shape.items, f"{path}[]")


def _parameter(path: Sequence[str], taken: Iterable[str]) -> str:
    """A name for a parameter: `book_id` behind `books`."""
    before = [segment for segment in path if "{" not in segment]
    noun: Sequence[str] = words(singular(before[-1])) if before else []
    wanted = "_".join([*map(str.lower, noun), "id"])
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
