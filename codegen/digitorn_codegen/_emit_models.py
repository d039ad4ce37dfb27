"""Emits the pydantic classes and the aliases of types."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from . import _ir as ir
from ._shapes import Alias, Class, Items, Member, Scalar, Source, Table, names
from ._text import prose

DOCSTRINGS = {
    "models": "Shapes of the REST interface.",
    "payloads": "Event payloads: one class an event type.",
    "messages": "Socket commands: their requests and acknowledgements.",
}
_CHECKS = ("EXACT", "Int", "Maybe", "OrObject", "UNIQUE", "matching", "one_of", "places", "tagged")


def emit(contract: ir.Contract) -> dict[str, str]:
    """The source of each module of classes, by module name.

    Args:
        contract: What to emit.
    """
    modules: dict[str, dict[str, Class | Alias]] = {}
    for key in sorted(contract.shapes.made):
        modules.setdefault(key.partition(".")[0], {})[key] = contract.shapes.made[key]
    return {module: _Module(contract, module, shapes).source() for module, shapes in modules.items()}


@dataclass
class _Module:
    """Writes one module.

    Attributes:
        contract: The contract.
        name: The module.
        shapes: What it defines, by key.
    """

    contract: ir.Contract
    name: str
    shapes: Mapping[str, Class | Alias]

    def source(self) -> str:
        """Its source, without a docstring."""
        self._taken = frozenset(key.partition(".")[2] for key in self.shapes) | {
            member.attribute
            for one in self.shapes.values()
            if isinstance(one, Class)
            for member in one.members
        }
        self._used: set[str] = set()
        self._runtime: set[str] = set()
        texts = [self._class(one) for one in self._classes()]
        texts += [self._alias(one, is_late) for one, is_late in self._aliases()]
        return "\n\n".join([self._imports(), *texts, self._exports()])

    # --- order

    def _classes(self) -> Iterator[Class]:
        """The classes, each after those that it extends and, where there is no circle, after those it names.

        pydantic then knows the types of members when it makes the class, and heirs in other modules as well.
        """
        done: set[str] = set()
        begun: set[str] = set()

        def visit(key: str) -> Iterator[Class]:
            found = self.shapes.get(key)
            if key in done or found is None or begun & {*self.contract.shapes.ancestors(key)}:
                return
            done.add(key)
            if isinstance(found, Alias):
                for one in names(found.shape):
                    yield from visit(one)
                return
            for base in found.bases:
                yield from visit(base)
            begun.add(key)
            for member in found.members:
                for one in names(member.shape):
                    yield from visit(one)
            begun.remove(key)
            yield found

        for key in self.shapes:
            yield from visit(key)

    def _aliases(self) -> Iterator[tuple[Alias, bool]]:
        """The aliases, each after those that it names; and whether it names one that comes later."""
        done: set[str] = set()
        above: list[str] = []

        def visit(key: str) -> Iterator[tuple[Alias, bool]]:
            found = self.shapes.get(key)
            if key in done or key in above or not isinstance(found, Alias):
                return
            above.append(key)
            for one in names(found.shape):
                yield from visit(one)
            above.pop()
            late = any(
                isinstance(self.shapes.get(one), Alias) and one not in done for one in names(found.shape)
            )
            done.add(key)
            yield found, late

        for key in self.shapes:
            yield from visit(key)

    # --- text

    def _writer(self) -> Source:
        return Source(self._reference, requires=self._requires, taken=self._taken, used=self._used)

    def _mark(self, name: str) -> str:
        self._used.add(name)
        return f"{name}_" if name in self._taken else name

    def _reference(self, key: str) -> str:
        return self.contract.shapes.reference(key, self._bare)

    def _bare(self, key: str) -> str:
        module, _, name = key.partition(".")
        if module == self.name:
            return name
        self._used.add(module)
        return key

    def _requires(self, key: str) -> bool:
        return any(one.required for one in self.contract.shapes.members_of(key))

    def _class(self, made: Class) -> str:
        bases = [self._bare(base) for base in made.bases]
        payloads = self.contract.payload_bases
        if made.key in payloads and not any(base in payloads for base in made.bases):
            bases.append("EventPayload")
        if any(one.name != one.attribute for one in made.members):
            bases.append("Renamed")
        elif not bases:
            bases = ["Model"]
        self._runtime |= {base for base in bases if base in ("EventPayload", "Model", "Renamed")}
        name = made.key.partition(".")[2]
        lines = [f"class {name}({', '.join(bases)}):"]
        if made.description:
            lines += [f'    """{prose(made.description)}"""', ""]
        config = self._config(made)
        if made.options:
            self._used.add("ClassVar")
            forms = ", ".join(repr(option.partition(".")[2]) for option in made.options)
            config += [f"    __forms__: ClassVar[tuple[str, ...]] = ({forms},)", ""]
        body = [*config, *(line for member in made.members for line in self._member(member))]
        if not body and not made.description:
            body = ["    pass"]
        return "\n".join([*lines, *body]) + "\n"

    def _config(self, made: Class) -> list[str]:
        inherited = [
            one for base in made.bases if isinstance(one := self.contract.shapes.made.get(base), Class)
        ]
        if made.others is None:
            if any(base.others is None for base in inherited[:1]):
                return []
            self._used.add("ConfigDict")
            return ['    model_config = ConfigDict(extra="forbid")', ""]
        if (
            isinstance(inherited_closed := next(iter(inherited), None), Class)
            and inherited_closed.others is None
        ):
            self._used.add("ConfigDict")
            return ['    model_config = ConfigDict(extra="allow")', ""]
        expression = self._writer().of(made.others)
        if expression == "Any":
            return []
        self._used.add("Field")
        return [f"    __pydantic_extra__: dict[str, {expression}] = Field(init=False)", ""]

    def _member(self, member: Member) -> list[str]:
        shape, alias = member.shape, None
        if member.name != member.attribute:
            alias = repr(member.name)
        is_maybe = (
            not member.required and member.default is None and not self.contract.shapes.takes_null(shape)
        )
        if alias is not None and not is_maybe and isinstance(shape, Scalar | Items | Table):
            shape, alias = replace(shape, limits=(("alias", alias), *shape.limits)), None
        text = self._writer().of(shape)
        if is_maybe:
            text = f"{self._mark('Maybe')}[{text}]"
        if alias is not None:
            self._used |= {"Annotated", "Field"}
            text = f"Annotated[{text}, Field(alias={alias})]"
        default = "" if member.required else f" = {member.default or 'None'}"
        lines = [f"    {member.attribute}: {text}{default}"]
        if member.description:
            lines.append(f'    """{prose(member.description)}"""')
        return lines

    def _alias(self, made: Alias, is_late: bool) -> str:
        name = made.key.partition(".")[2]
        text = self._writer().of(made.shape)
        if is_late:
            self._used.add("TypeAliasType")
            line = f"{name} = TypeAliasType({name!r}, {text!r})"
        else:
            self._used.add("TypeAlias")
            line = f"{name}: TypeAlias = {text}"
        described = f'\n"""{prose(made.description)}"""' if made.description else ""
        return f"{line}{described}\n"

    def _imports(self) -> str:
        typing = sorted(self._used & {"Annotated", "Any", "ClassVar", "Literal", "TypeAlias"})
        pydantic = sorted(self._used & {"ConfigDict", "Field"})
        checks = [
            name if (own := self._mark(name)) == name else f"{name} as {own}"
            for name in _CHECKS
            if name in self._used
        ]
        lines = ["from __future__ import annotations", ""]
        lines += [f"from typing import {', '.join(typing)}", ""] if typing else []
        lines += [f"from pydantic import {', '.join(pydantic)}"] if pydantic else []
        lines += ["from typing_extensions import TypeAliasType"] if "TypeAliasType" in self._used else []
        lines += ["", *(f"from . import {module}" for module in sorted(self._used & _MODULES - {self.name}))]
        lines += [f"from ._checks import {', '.join(checks)}"] if checks else []
        lines += [f"from ._runtime import {', '.join(sorted(self._runtime))}"] if self._runtime else []
        return "\n".join(lines) + "\n"

    def _exports(self) -> str:
        """The end of a module: the names that `import *` brings, which are those of the contract alone."""
        listed = "".join(f'    "{key.partition(".")[2]}",\n' for key in sorted(self.shapes))
        return f"__all__ = [\n{listed}]\n"


_MODULES = {"models", "payloads", "messages"}
