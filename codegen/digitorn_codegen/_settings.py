"""Where a contract is read from and where the client goes."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from ._errors import SettingsError

TABLE = "digitorn-codegen"


@dataclass(frozen=True)
class Twin:
    """A folder of async source, and the folder of sync source that is generated from it.

    Attributes:
        source: Folder of the async source.
        out: Folder of the sync twin; its Python files are replaced.
        names: Identifiers of the source and what they become.
    """

    source: Path
    out: Path
    names: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Alias:
    """A package whose modules are those of another package under a second name.

    Attributes:
        source: Folder that the other package is imported from.
        out: Folder of the package; its Python files are replaced.
        modules: File names without `.py`, and the module that each stands for.
    """

    source: Path
    out: Path
    modules: Mapping[str, str]

    def files_of(self, module: str) -> tuple[Path, Path]:
        """Where a module may be: as a package, or as a file."""
        path = self.source.joinpath(*module.split("."))
        return path / "__init__.py", path.with_suffix(".py")


@dataclass(frozen=True)
class Settings:
    """One run of the generator.

    Attributes:
        openapi: The OpenAPI document, YAML or JSON; the AsyncAPI document if there is no other.
        package: Dotted name of the generated package.
        out: Folder of that package; it is replaced as a whole.
        events: Folder of event payload schemas, if there are events.
        commands: Folder of command schemas, if there are commands.
        asyncapi: An AsyncAPI document that declares events and commands.
        asyncapi_describes: Whose document that is: of the server, or of a client like the generated one.
        twins: The sync twins to generate beside it.
        aliases: The alias packages to generate beside it.

    Raises:
        SettingsError: An output folder is that of another output, or a source.
    """

    openapi: Path
    package: str
    out: Path
    events: Path | None = None
    commands: Path | None = None
    asyncapi: Path | None = None
    asyncapi_describes: Literal["server", "client"] = "server"
    twins: tuple[Twin, ...] = ()
    aliases: tuple[Alias, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that generated files go to."""
        return self.out, *(twin.out for twin in self.twins), *(alias.out for alias in self.aliases)

    def __post_init__(self) -> None:
        taken = {twin.source.resolve() for twin in self.twins}
        for folder in self.folders:
            if folder.resolve() in taken:
                raise SettingsError(f"{folder} is the folder of another output, or of a source")
            taken.add(folder.resolve())


def from_pyproject(start: Path, table: str = TABLE) -> Mapping[str, object]:
    """The `[tool.digitorn-codegen]` table of the nearest pyproject.toml at or above a folder.

    Paths in it come back absolute. The mapping is empty if there is no such table.

    Raises:
        SettingsError: The file cannot be read.
    """
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            found: object = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise SettingsError(f"{file}: {error}") from error
        for key in ("tool", table):
            found = cast("dict[str, object]", found).get(key, {})
            if not isinstance(found, dict):
                raise SettingsError(f"{file}: {key!r} is no table")
        return _absolute(cast("dict[str, object]", found), folder)
    return {}


def _absolute(found: Mapping[str, object], folder: Path) -> dict[str, object]:
    paths = {"openapi", "asyncapi", "events", "commands", "out", "source"}
    absolute: dict[str, object] = {}
    for key, value in found.items():
        if key in paths:
            absolute[key] = folder / str(value)
        elif key in ("twins", "aliases") and isinstance(value, list):
            absolute[key] = [
                _absolute(cast("dict[str, object]", one), folder) if isinstance(one, dict) else one
                for one in cast("list[object]", value)
            ]
        else:
            absolute[key] = value
    return absolute


def merge(given: Mapping[str, object], table: Mapping[str, object]) -> Mapping[str, object]:
    """Options of the command line over the keys of the pyproject table.

    The table counts only for the package that it is for: options that name another package stand alone, so
    that no file of this project goes into somebody else's client, or the other way round.

    Args:
        given: The options that were passed.
        table: What `from_pyproject` found.
    """
    if given.get("package", table.get("package")) != table.get("package"):
        return given
    return {**table, **given}


def build(values: Mapping[str, object]) -> Settings:
    """Settings from what `merge` answers.

    Raises:
        SettingsError: A needed value is missing, an unknown one is there, or one is of the wrong type.
    """
    for needed in ("openapi", "package", "out"):
        if values.get(needed) is None and not (needed == "openapi" and values.get("asyncapi")):
            raise SettingsError(f"--{needed} is missing; pass it, or set {needed!r} in [tool.{TABLE}]")
    known = {"openapi", "package", "out", "events", "commands", "twins", "twin-names", "aliases"}
    known |= {"asyncapi", "asyncapi-describes"}
    if unknown := sorted(set(values) - known):
        raise SettingsError(
            f"unknown setting {unknown[0]!r} in [tool.{TABLE}]; known are {', '.join(sorted(known))}"
        )
    if not _is_dotted(values["package"]):
        raise SettingsError(f"{values['package']!r} is no name of a package")
    describes = values.get("asyncapi-describes", "server")
    if describes not in ("server", "client"):
        raise SettingsError(f'\'asyncapi-describes\' is "server" or "client", not {describes!r}')
    return Settings(
        openapi=Path(str(values.get("openapi") or values["asyncapi"])),
        package=str(values["package"]),
        out=Path(str(values["out"])),
        events=Path(str(values["events"])) if values.get("events") else None,
        commands=Path(str(values["commands"])) if values.get("commands") else None,
        asyncapi=Path(str(values["asyncapi"])) if values.get("asyncapi") else None,
        asyncapi_describes="client" if describes == "client" else "server",
        twins=_twins(values.get("twins", []), _names(values.get("twin-names", {}), f"{TABLE}.twin-names")),
        aliases=_aliases(values.get("aliases", [])),
    )


def _twins(value: object, common: Mapping[str, str]) -> tuple[Twin, ...]:
    """The twins, each with the common names and with its own, which win."""
    twins: list[Twin] = []
    for one in cast("list[object]", value) if isinstance(value, list) else [None]:
        found: Mapping[str, object] = cast("Mapping[str, object]", one) if isinstance(one, Mapping) else {}
        if not {"source", "out"} <= set(found) <= {"source", "out", "names"}:
            raise SettingsError(
                f"[[tool.{TABLE}.twins]] is an array of tables, each with a source, an out and maybe names"
            )
        own = _names(found.get("names", {}), f"{TABLE}.twins.names")
        twins.append(Twin(Path(str(found["source"])), Path(str(found["out"])), {**common, **own}))
    return tuple(twins)


def _aliases(value: object) -> tuple[Alias, ...]:
    aliases: list[Alias] = []
    for one in cast("list[object]", value) if isinstance(value, list) else [None]:
        found: Mapping[str, object] = cast("Mapping[str, object]", one) if isinstance(one, Mapping) else {}
        modules = found.get("modules")
        if set(found) != {"source", "out", "modules"} or not isinstance(modules, Mapping):
            raise SettingsError(
                f"[[tool.{TABLE}.aliases]] is an array of tables, each with a source, an out and modules"
            )
        named: dict[str, str] = {}
        for name, module in cast("Mapping[str, object]", modules).items():
            if not (name.isidentifier() and _is_dotted(module)):
                raise SettingsError(
                    f"[tool.{TABLE}.aliases.modules] maps file names to modules, not {name!r} to {module!r}"
                )
            named[name] = str(module)
        aliases.append(Alias(Path(str(found["source"])), Path(str(found["out"])), named))
    return tuple(aliases)


def _is_dotted(name: object) -> bool:
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _names(value: object, table: str) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise SettingsError(f"[tool.{table}] is no table")
    names: dict[str, str] = {}
    for old, new in cast("Mapping[str, object]", value).items():
        if not (old.isidentifier() and isinstance(new, str) and new.isidentifier()):
            raise SettingsError(f"[tool.{table}] turns a name into a name, not {old!r} into {new!r}")
        names[old] = new
    return names
