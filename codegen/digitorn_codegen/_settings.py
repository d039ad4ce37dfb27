"""Where a contract is read from and where the client goes."""

import tomllib
from collections.abc import Mapping, Sequence
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
class Runtime:
    """The package whose runtime modules a generated package uses instead of copies of its own.

    Attributes:
        package: Dotted name of that package.
        out: Folder of that package, if it holds nothing but the runtime; None if it is the package of
            another contract, which writes it.
    """

    package: str
    out: Path | None = None


@dataclass(frozen=True)
class Settings:
    """What is generated from one contract.

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
        runtime: The runtime that it shares with other contracts; None for one of its own.
        strict: Whether warnings are errors.

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
    runtime: Runtime | None = None
    strict: bool = False

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that generated files go to."""
        shared = self.runtime.out if self.runtime is not None else None
        return (*self.own_folders, *([] if shared is None else [shared]))

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """Those that no other contract writes to."""
        return self.out, *(twin.out for twin in self.twins), *(alias.out for alias in self.aliases)

    def __post_init__(self) -> None:
        _check_folders((self,))


def _check_folders(contracts: Sequence[Settings]) -> None:
    """Refuses an output folder that is also another output, or a source. The shared runtime is one output."""
    taken = {_folded(twin.source) for one in contracts for twin in one.twins}
    own = [folder for one in contracts for folder in one.own_folders]
    shared = dict.fromkeys(folder for one in contracts for folder in one.folders[len(one.own_folders) :])
    for folder in (*own, *shared):
        if _folded(folder) in taken:
            raise SettingsError(f"{folder} is the folder of another output, or of a source")
        taken.add(_folded(folder))


def _folded(folder: Path) -> str:
    """A folder as file systems see it that do not tell upper and lower case apart."""
    return str(folder.resolve()).casefold()


def _check_packages(contracts: Sequence[Settings]) -> None:
    """Refuses packages of one name, and a package inside another: its name may be that of a module there."""
    folders = {
        one.runtime.package for one in contracts if one.runtime is not None and one.runtime.out is not None
    }
    packages = sorted([*(one.package for one in contracts), *folders])
    for place, inner in enumerate(packages):
        for outer in packages[:place] + packages[place + 1 :]:
            if inner.casefold() == outer.casefold():
                raise SettingsError(
                    f"the package {inner} would be generated twice; each needs a name of its own"
                )
            if inner.casefold().startswith(f"{outer.casefold()}."):
                raise SettingsError(f"the package {inner} is inside the generated package {outer}")


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
        elif key in ("twins", "aliases", "contracts") and isinstance(value, list):
            absolute[key] = [
                _absolute(cast("dict[str, object]", one), folder) if isinstance(one, dict) else one
                for one in cast("list[object]", value)
            ]
        elif key == "runtime" and isinstance(value, dict):
            absolute[key] = _absolute(cast("dict[str, object]", value), folder)
        else:
            absolute[key] = value
    return absolute


def read_project(
    given: Mapping[str, object], table: Mapping[str, object], contract: str | None = None
) -> tuple[Settings, ...]:
    """The settings of a run: those of every contract, or of the one that is asked for.

    Options of the command line override the keys of the contract that they are for. Options that name a
    package that no contract of the table has stand alone, so that no file of this project goes into somebody
    else's client, or the other way round.

    Args:
        given: The options that were passed.
        table: What `from_pyproject` found.
        contract: The name of a contract: its package, or the last part of that.

    Raises:
        SettingsError: A needed value is missing, an unknown one is there, one is of the wrong type, two
            contracts clash, or it is not clear which contract is meant.
    """
    tables = _tables(table)
    places = [place for place, one in enumerate(tables) if contract is None or _is_named(one, contract)]
    if contract is not None and len(places) != 1:
        listed = ", ".join(str(one.get("package")) for one in tables) or "none"
        raise SettingsError(f"--contract {contract} names {len(places)} contracts; there are: {listed}")
    for_all = {key: given[key] for key in _FOR_ALL if key in given}
    tables = [{**one, **for_all} for one in tables]
    if given.keys() - for_all.keys():
        wanted = given.get("package")
        fitting = [place for place in places if wanted in (None, tables[place].get("package"))]
        if not fitting:
            return (_build(given, None),)
        if len(fitting) > 1:
            raise SettingsError(
                "there are several contracts; say with --contract which one the options are for"
            )
        places = fitting
        tables[places[0]] = {**tables[places[0]], **given}
    shared = _runtime(table.get("runtime"))
    contracts: list[Settings] = []
    for one in tables:
        contracts.append(_build(one, shared))
        # Without a runtime of their own folder, the others use that of the first contract.
        shared = shared or Runtime(contracts[0].package)
    _check_packages(contracts)
    _check_folders(contracts)
    return tuple(contracts[place] for place in places)


_FOR_ALL = ("strict",)
# What a table with several contracts says about all of them.
_COMMON = ("runtime", "twins", "twin-names", "aliases", *_FOR_ALL)


def _tables(table: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The table of each contract; a table that lists none is the only one."""
    if "contracts" not in table:
        return [{key: value for key, value in table.items() if key != "runtime"}]
    listed = _list(table["contracts"])
    if not listed or not all(isinstance(one, dict) for one in listed):
        raise SettingsError(f"[[tool.{TABLE}.contracts]] is an array of tables, one for each contract")
    if others := sorted(set(table) - {"contracts", *_COMMON}):
        raise SettingsError(
            f"{others[0]!r} stands beside [[tool.{TABLE}.contracts]]; put it into one of them"
        )
    tables = [dict(one) for one in cast("list[Mapping[str, object]]", listed)]
    names = _names(table.get("twin-names", {}), f"{TABLE}.twin-names")
    for one in tables:
        one.update({key: table[key] for key in _FOR_ALL if key in table and key not in one})
        one["twin-names"] = {**names, **_names(one.get("twin-names", {}), f"{TABLE}.contracts.twin-names")}
    # The last one is rendered when the output of all is known, which aliases may refer to.
    for key in ("twins", "aliases"):
        if key in table:
            tables[-1][key] = [*_list(table[key]), *_list(tables[-1].get(key, []))]
    return list(tables)


def _list(value: object) -> list[object]:
    """A list; anything else as an item, which is refused where it is read."""
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _is_named(table: Mapping[str, object], name: str) -> bool:
    package = str(table.get("package"))
    return name in (package, package.rpartition(".")[2])


def _runtime(value: object) -> Runtime | None:
    if value is None:
        return None
    found: Mapping[str, object] = cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
    if set(found) != {"package", "out"} or not _is_dotted(found["package"]):
        raise SettingsError(f"[tool.{TABLE}.runtime] has a package and an out, and nothing else")
    return Runtime(str(found["package"]), Path(str(found["out"])))


def _build(values: Mapping[str, object], runtime: Runtime | None) -> Settings:
    """The settings of one contract.

    Raises:
        SettingsError: A needed value is missing, an unknown one is there, or one is of the wrong type.
    """
    for needed in ("openapi", "package", "out"):
        if values.get(needed) is None and not (needed == "openapi" and values.get("asyncapi")):
            raise SettingsError(f"--{needed} is missing; pass it, or set {needed!r} in [tool.{TABLE}]")
    known = {"openapi", "package", "out", "events", "commands", "twins", "twin-names", "aliases", "strict"}
    known |= {"asyncapi", "asyncapi-describes"}
    if unknown := sorted(set(values) - known):
        listed = ", ".join(sorted({*known, "contracts", "runtime"}))
        raise SettingsError(f"unknown setting {unknown[0]!r} in [tool.{TABLE}]; known are {listed}")
    if not _is_dotted(values["package"]):
        raise SettingsError(f"{values['package']!r} is no name of a package")
    if not isinstance(strict := values.get("strict", False), bool):
        raise SettingsError(f"[tool.{TABLE}] strict is true or false, not {strict!r}")
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
        runtime=runtime,
        strict=strict,
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
