"""Classes of a document's components in memory, which takes no formatter and writes no client."""

import itertools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from digitorn_codegen import Settings, _contract, _emit_models
from digitorn_codegen._shapes import Class

_numbers = itertools.count()


@dataclass(frozen=True)
class Components:
    """The classes and types of a document's components.

    Attributes:
        module: What holds them.
        source: The module as text.
        warnings: Kind and JSON pointer, below the components, of each warning.
        nullable: The classes that null may stand for.
    """

    module: ModuleType
    source: str
    warnings: tuple[tuple[str, str], ...]
    nullable: frozenset[str]

    def reader(self, name: str) -> Callable[[object], Any]:
        """What reads JSON values as a component."""
        found: Any = getattr(self.module, name)
        is_class = isinstance(found, type) and issubclass(cast("type[object]", found), BaseModel)
        # A class has settings of its own, and allows no others beside it.
        settings = None if is_class else ConfigDict(strict=True)
        whole: Any = found | None if name in self.nullable else found
        return TypeAdapter[Any](whole, config=settings).validate_python

    def is_warned(self, name: str) -> bool:
        """Whether a warning stands in a component."""
        return any(pointer.split("/")[0] == name for _, pointer in self.warnings)

    def kind_at(self, name: str) -> str:
        """The kind of the first warning in a component; empty if there is none."""
        return next((kind for kind, pointer in self.warnings if pointer.split("/")[0] == name), "")


def components(schemas: Mapping[str, object], folder: Path, openapi: str = "3.1.0") -> Components:
    """Makes the classes and types of components.

    Args:
        schemas: The components.
        folder: Where the document is written.
        openapi: The version of OpenAPI.
    """
    document = {
        "openapi": openapi,
        "info": {"title": "Made up", "version": "1"},
        "paths": {},
        "components": {"schemas": schemas},
    }
    source = folder / "components.json"
    source.write_text(json.dumps(document), encoding="utf-8")
    contract = _contract.load(Settings(openapi=source, package="made_up", out=folder / "out"))
    text = _emit_models.emit(contract)["models"]
    # The runtime that relative imports find stands in this package.
    module = ModuleType(f"digitorn_codegen.runtime.made_up_{next(_numbers)}")
    module.__dict__["__package__"] = "digitorn_codegen.runtime"
    # pydantic looks for the types of members there.
    sys.modules[module.__name__] = module
    exec(compile(text, str(source), "exec", dont_inherit=True), module.__dict__)
    below = "/components/schemas/"
    warnings = tuple((one.name, one.pointer.removeprefix(below)) for one in contract.warnings)
    made = contract.shapes.made
    nullable = {key for key, one in made.items() if isinstance(one, Class) and one.nullable}
    return Components(module, text, warnings, frozenset(key.partition(".")[2] for key in nullable))


def wire(value: Any) -> Any:
    """A value of generated classes as JSON has it."""
    if isinstance(value, BaseModel):
        model: Any = value
        return model.to_wire()
    if isinstance(value, list | tuple):
        return [wire(one) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: wire(one) for name, one in cast("dict[str, Any]", value).items()}
    return value
