"""Where a contract is read from and where the client goes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from ._errors import SettingsError

TABLE = "digitorn-codegen"


@dataclass(frozen=True)
class Twin:
    """A package written as async source, and the sync package that is generated from it.

    Attributes:
        source: Folder of the async source.
        out: Folder of the sync twin; its Python files are replaced.
        names: Identifiers of the source and what they become.
    """

    source: Path
    out: Path
    names: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Settings:
    """One run of the generator.

    Attributes:
        openapi: The OpenAPI document, YAML or JSON.
        package: Dotted name of the generated package.
        out: Folder of that package; it is replaced as a whole.
        events: Folder of event payload schemas, if there are events.
        commands: Folder of command schemas, if there are commands.
        twin: The sync twin to generate beside it, if any.
    """

    openapi: Path
    package: str
    out: Path
    events: Path | None = None
    commands: Path | None = None
    twin: Twin | None = None


def from_pyproject(start: Path, table: str = TABLE) -> Mapping[str, object]:
    """The `[tool.digitorn-codegen]` table of the nearest pyproject.toml at or above a folder.

    Paths in it come back absolute. An empty mapping means that there is none.
    """
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            tools = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{file}: {error}") from error
        found = cast("dict[str, object]", tools.get(table, {}))
        return _absolute(found, folder)
    return {}


def _absolute(found: Mapping[str, object], folder: Path) -> dict[str, object]:
    paths = {"openapi", "events", "commands", "out", "source"}
    absolute: dict[str, object] = {}
    for key, value in found.items():
        if key in paths:
            absolute[key] = folder / str(value)
        elif key == "twin":
            absolute[key] = _absolute(cast("dict[str, object]", value), folder)
        else:
            absolute[key] = value
    return absolute


def build(values: Mapping[str, object]) -> Settings:
    """Settings from the merged command line and pyproject table.

    Raises:
        SettingsError: A needed value is missing or an unknown one is there.
    """
    for needed in ("openapi", "package", "out"):
        if values.get(needed) is None:
            raise SettingsError(f"--{needed} is missing; pass it, or set {needed!r} in [tool.{TABLE}]")
    known = {"openapi", "package", "out", "events", "commands", "twin"}
    if unknown := sorted(set(values) - known):
        raise SettingsError(
            f"unknown setting {unknown[0]!r} in [tool.{TABLE}]; known are {', '.join(sorted(known))}"
        )
    twin = cast("Mapping[str, object] | None", values.get("twin"))
    return Settings(
        openapi=Path(str(values["openapi"])),
        package=str(values["package"]),
        out=Path(str(values["out"])),
        events=Path(str(values["events"])) if values.get("events") else None,
        commands=Path(str(values["commands"])) if values.get("commands") else None,
        twin=Twin(
            source=Path(str(twin["source"])),
            out=Path(str(twin["out"])),
            names=cast("Mapping[str, str]", twin.get("names", {})),
        )
        if twin
        else None,
    )
