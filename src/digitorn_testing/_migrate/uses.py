"""Looks at a module as a whole: what it imports from the predecessor, and how its names are used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import libcst as cst
from libcst.metadata import ParentNodeProvider

from .names import CERTAIN, FORMS

PACKAGE: Final = "digitorn.testing"
MODULES: Final = frozenset(
    {PACKAGE, *(f"{PACKAGE}.{name}" for name in ("client", "models", "events", "assertions"))}
)


def dotted(node: cst.CSTNode | None) -> str:
    """A dotted name as text; empty for anything else."""
    match node:
        case cst.Name(value=value):
            return value
        case cst.Attribute(value=owner, attr=cst.Name(value=name)) if inner := dotted(owner):
            return f"{inner}.{name}"
        case _:
            return ""


def text_of(node: cst.BaseExpression) -> str | None:
    """The value of a text literal; None for anything else."""
    if isinstance(node, cst.SimpleString):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


class Uses(cst.CSTVisitor):
    """What a module imports, and where its names are used.

    Attributes:
        imported: Names that come from the predecessor, with what they are there.
        bound: Names that the module binds in another way.
        is_old: Whether something in it is the predecessor's for certain.
        imports_package: Whether it takes names from `digitorn.testing` itself.
    """

    METADATA_DEPENDENCIES = (ParentNodeProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.imported: dict[str, str] = {}
        self.bound: set[str] = set()
        self.is_old = False
        self.imports_package = False
        self._scopes: list[cst.CSTNode | None] = [None]
        self._uses: defaultdict[tuple[cst.CSTNode | None, str], list[cst.CSTNode]] = defaultdict(list)

    def of(self, scope: cst.CSTNode | None, name: str) -> list[cst.CSTNode]:
        """What is made of a name in a function: the nodes that it stands in."""
        return self._uses[scope, name]

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self.bound.add(node.name.value)
        self._scopes.append(node)

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        self._scopes.pop()

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self.bound.add(node.name.value)

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        module = "" if node.relative else dotted(node.module)
        if module == f"{PACKAGE}.client":
            self.is_old = True
        if module == PACKAGE:
            self.imports_package = True
        names: Sequence[cst.ImportAlias] = [] if isinstance(node.names, cst.ImportStar) else node.names
        for alias in names:
            name = dotted(alias.name)
            local = dotted(alias.asname.name) if alias.asname is not None else name
            if module in MODULES:
                self.imported[local] = name
            if module != f"{PACKAGE}.events":
                self.bound.add(local)
        return False

    def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
        if isinstance(node.target, cst.Name):
            self.bound.add(node.target.value)

    def visit_Param(self, node: cst.Param) -> None:
        self.bound.add(node.name.value)

    def visit_Arg(self, node: cst.Arg) -> None:
        if node.keyword is not None and node.keyword.value in CERTAIN:
            self.is_old = True

    def visit_Attribute(self, node: cst.Attribute) -> None:
        if node.attr.value in FORMS:
            self.is_old = True

    def visit_Index(self, node: cst.Index) -> None:
        if text_of(node.value) in ("body", "status_code"):
            self.is_old = True

    def visit_Name(self, node: cst.Name) -> None:
        parent = self.get_metadata(ParentNodeProvider, node, None)
        if parent is not None:
            self._uses[self._scopes[-1], node.value].append(parent)
