"""Splits the REST shapes by tag: importing a pydantic class costs much, and most programs use few."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import _ir as ir

_WHOLE = "models"
_SHARED = "_models"
_UNUSED = "_unused_models"
_DOC_OF_A_TAG = "Shapes of the REST interface that belong to one tag."
_DOCS = {
    _SHARED: "Shapes of the REST interface that several tags use, or events and a tag.",
    _UNUSED: "Shapes of the REST interface that no stub takes or returns.",
}
_USED = re.compile(r"\b_models\.(\w+)")


@dataclass(frozen=True)
class _Shape:
    """A class or a type of the module: its source, and which others go where it goes."""

    source: str
    names: frozenset[str]


def split(classes: Mapping[str, str], contract: ir.Contract) -> dict[str, str]:
    """The modules of classes, in which `models` loads each shape from a module of its own when it is used.

    A shape that one tag uses goes to a module of that tag, a shape of several to one that they share, and a
    shape that no stub names to a third. So each of these modules imports only those named before it.

    Args:
        classes: The source of each module, by name.
        contract: Says which tag uses which shapes.
    """
    if _WHOLE not in classes:
        return dict(classes)
    head, shapes = _shapes(classes[_WHOLE])
    users = _users(shapes, _roots(classes, contract))
    homes: dict[str, str] = {}
    for name in shapes:
        match sorted(users[name]):
            case []:
                homes[name] = _UNUSED
            case [only]:
                homes[name] = f"_models_{only}"
            case _:
                homes[name] = _SHARED
    parts: dict[str, list[str]] = {}
    for name, home in homes.items():
        parts.setdefault(home, []).append(name)
    modules = {home: _part(head, home, names, shapes, homes) for home, names in parts.items()}
    return {**classes, **modules, _WHOLE: _facade(parts)}


def _shapes(source: str) -> tuple[str, dict[str, _Shape]]:
    """The imports of a module, and what it defines, in order."""
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    starts = [(name, node.lineno - 1) for node in tree.body if (name := _defined(node)) is not None]
    ends = [start for _, start in starts[1:]] + [len(lines)]
    texts = {name: "".join(lines[start:end]) for (name, start), end in zip(starts, ends, strict=True)}
    del texts["__all__"]
    named: dict[str, set[str]] = {name: set() for name in texts}
    current = ""
    for node in tree.body:
        current = _defined(node) or current
        if current in named:
            named[current] |= _named(node) & texts.keys() - {current}
    bases = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in texts]
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    late = _late(named, bases)
    for heir, above in bases.items():
        for base in above:
            if base in late:
                # pydantic looks for types that were missing when it read the base where the heir stands.
                named[base].add(heir)
    return "".join(lines[: starts[0][1]]), {
        name: _Shape(text, frozenset(named[name])) for name, text in texts.items()
    }


def _late(named: Mapping[str, set[str]], bases: Mapping[str, Sequence[str]]) -> set[str]:
    """The shapes that cannot be read before one that is defined after them, in the order of the module."""
    seen: set[str] = set()
    late: set[str] = set()
    for name, others in named.items():
        seen.add(name)
        above = bases.get(name, ())
        through = {other for other in others if other not in bases or other in above}
        if not others <= seen or through & late:
            late.add(name)
    return late


def _defined(node: ast.stmt) -> str | None:
    match node:
        case ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case _:
            return None


def _named(statement: ast.stmt) -> set[str]:
    """The names in a statement, also those in strings that may be forward references."""
    nodes = list(ast.walk(statement))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    names: set[str] = set()
    for node in nodes:
        match node:
            case ast.Name(id=name):
                names.add(name)
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                names.update(re.findall(r"\w+", text))
            case _:
                pass
    return names


def _roots(classes: Mapping[str, str], contract: ir.Contract) -> Iterator[tuple[str, str]]:
    """Who uses which shape directly: tags by their attribute, and other modules of classes."""
    for tag in contract.tags:
        for operation in tag.operations:
            body = operation.body
            types = [one.type for one in operation.result.answers]
            types += [one.type for one in operation.parameters]
            if body is not None:
                types += [body.whole or "", body.extra or "", *(one.type for one in body.fields)]
            for type_ in types:
                yield from ((tag.attribute, name) for name in _USED.findall(type_))
    for module, source in classes.items():
        if module == _WHOLE:
            continue
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Attribute(value=ast.Name(id="models"), attr=name):
                    yield module, name
                case ast.ImportFrom(module="models", names=names):
                    yield from ((module, one.name) for one in names)
                case _:
                    pass


def _users(shapes: Mapping[str, _Shape], roots: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Who uses each shape, directly or through others."""
    users: dict[str, set[str]] = {name: set() for name in shapes}
    waiting = list(roots)
    while waiting:
        user, name = waiting.pop()
        if name in users and user not in users[name]:
            users[name].add(user)
            waiting += ((user, other) for other in shapes[name].names)
    return users


def _part(
    head: str, home: str, names: Iterable[str], shapes: Mapping[str, _Shape], homes: Mapping[str, str]
) -> str:
    needed = {other for name in names for other in shapes[name].names if homes[other] != home}
    imports = "".join(f"from .{homes[name]} import {name}\n" for name in sorted(needed))
    return f'"""{_DOCS.get(home, _DOC_OF_A_TAG)}"""\n\n{head}\n{imports}\n\n' + "\n\n".join(
        shapes[name].source for name in names
    )


def _facade(parts: Mapping[str, Iterable[str]]) -> str:
    imports = "".join(f"    from .{home} import {', '.join(names)}\n" for home, names in parts.items())
    table = "".join(f"        {f'.{home}'!r}: {tuple(names)!r},\n" for home, names in parts.items())
    listed = "".join(
        f'    "{name}",\n' for name in sorted(name for names in parts.values() for name in names)
    )
    return (
        "from typing import TYPE_CHECKING\n\n"
        "from ._lazy import lazily\n\n"
        f"if TYPE_CHECKING:\n{imports}\n"
        f"__all__ = [\n{listed}]\n\n"
        "if not TYPE_CHECKING:\n"
        f"    __getattr__, __dir__ = lazily(__name__, {{\n{table}    }})\n"
    )
