"""Classes of a document's components in memory, which takes no formatter and writes no client."""

import itertools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from digitorn_codegen import Settings, _contract, _emit_models

_numbers = itertools.count()


@dataclass(frozen=True)
class Components:
    """The classes and types of a document's components.

    Attributes:
        module: What holds them.
        warnings: What the generator warned of: a kind, a JSON pointer and a text each.
    """

    module: ModuleType
    warnings: tuple[tuple[str, str, str], ...]

    def reader(self, name: str) -> Callable[[object], Any]:
        """What reads JSON values as a component."""
        found: Any = getattr(self.module, name)
        if isinstance(found, type) and issubclass(found, BaseModel):
            return TypeAdapter[Any](found | None if name in _nullable(self) else found).validate_python
        return TypeAdapter[Any](found, config=ConfigDict(strict=True)).validate_python

    def places(self) -> set[str]:
        """The places of the warnings, below the components."""
        return {pointer.removeprefix("/components/schemas/") for _, pointer, _ in self.warnings}


def _nullable(found: Components) -> frozenset[str]:
    return getattr(found.module, "_nullable", frozenset())


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
    source = folder / f"openapi_{next(_numbers)}.json"
    source.write_text(json.dumps(document), encoding="utf-8")
    contract = _contract.load(Settings(openapi=source, package="made_up", out=folder / "out"))
    text = _emit_models.emit(contract).get("models", "")
    # A module of the package whose runtime its relative imports need.
    module = ModuleType(f"digitorn_codegen.runtime.made_up_{next(_numbers)}")
    module.__dict__["__package__"] = "digitorn_codegen.runtime"
    # pydantic looks for the types of members there.
    sys.modules[module.__name__] = module
    exec(compile(text, str(source), "exec", dont_inherit=True), module.__dict__)
    module.__dict__["_nullable"] = frozenset(
        key.partition(".")[2]
        for key, made in contract.shapes.made.items()
        if getattr(made, "nullable", False)
    )
    module.__dict__["_source"] = text
    return Components(module, tuple((one.name, one.pointer, one.text) for one in contract.warnings))


def wire(value: object) -> Any:
    """A value of generated classes as JSON has it."""
    if isinstance(value, BaseModel):
        write: Any = value
        return write.to_wire()
    if isinstance(value, list | tuple):
        return [wire(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {name: wire(one) for name, one in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value
