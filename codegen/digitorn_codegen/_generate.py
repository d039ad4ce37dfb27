"""Renders a contract's output, writes it, and checks whether the written output is current."""

import difflib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import _aliases, _stamp, _twin
from ._depth import room
from ._errors import SettingsError, StrictError
from ._format import format_sources, verify
from ._settings import Settings, Twin
from ._text import prose

Report = Callable[[str], None]

_OF_NO_CONTRACT = f"{_stamp.MARK}; do not edit.\n"


@dataclass(frozen=True)
class Rendered:
    """What settings produce.

    Attributes:
        files: The text of every file, by path.
        inputs: Every file of the contract.
    """

    files: Mapping[Path, str]
    inputs: tuple[Path, ...]


_NOTHING: Mapping[Path, str] = {}


def render(
    settings: Settings, report: Report = lambda _: None, before: Mapping[Path, str] = _NOTHING
) -> Rendered:
    """Every file that the settings produce; nothing is written.

    Args:
        settings: What to read, and what to produce.
        report: Called with each part of the contract that the output cannot express.
        before: What this run has produced for other contracts.

    Raises:
        ContractError: The contract is broken.
        StrictError: There were warnings, and the settings are strict.
    """
    # Both import large libraries, which a check that trusts the stamp does without.
    from . import _contract, _emit_models, _emit_stubs, _split

    noticed: dict[str, None] = {}

    def notice(text: str) -> None:
        if text not in noticed:
            noticed[text] = None
            report(text)

    contract = _contract.load(settings)
    for warning in contract.warnings:
        notice(str(warning))
    title = prose(f"{contract.title} {contract.version}")
    header = f"{_stamp.MARK} from {title} ({contract.digest}); do not edit.\n"
    with room():
        classes = _emit_models.emit(contract)
    if settings.strict and noticed:
        raise StrictError(f"{len(noticed)} warnings, which are errors here; nothing was written")
    stubs = _emit_stubs.emit(contract)
    shared = settings.runtime
    runtime = _emit_stubs.runtime(shared.package if shared is not None else None)
    sources = {settings.out / f"{name}.py": source for name, source in runtime.items()}
    for name, source in {**_split.split(classes, contract), **stubs}.items():
        doc = _emit_models.DOCSTRINGS.get(name)
        sources[settings.out / f"{name}.py"] = f'"""{doc}"""\n\n{source}' if doc else source
    headers = dict.fromkeys(sources, header)
    if shared is not None and shared.out is not None:
        modules = {"__init__": '"""What several generated packages run on."""\n', **_emit_stubs.runtime()}
        for name, source in modules.items():
            sources[shared.out / f"{name}.py"] = source
            headers[shared.out / f"{name}.py"] = _OF_NO_CONTRACT
    for twin in settings.twins:
        twins = _render_twin(twin)
        sources.update(twins)
        headers.update(dict.fromkeys(twins, _twin_header(twin)))
    for alias in settings.aliases:
        # Use the output of this run, not that of an earlier one.
        published = _aliases.render(alias, lambda path: sources.get(path) or before.get(path) or _read(path))
        sources.update(published)
        headers.update(dict.fromkeys(published, _OF_NO_CONTRACT))
    files = {path: headers[path] + text for path, text in format_sources(sources).items()}
    for path, text in files.items():
        verify(path.name, text)
    return Rendered(dict(sorted(files.items())), contract.files)


def _render_twin(twin: Twin) -> dict[Path, str]:
    if not twin.source.is_dir():
        raise SettingsError(f"the twin's source {twin.source} is no folder")
    return {
        twin.out / file.name: _twin.translate(file.read_text(encoding="utf-8"), twin.names)
        for file in sorted(twin.source.glob("*.py"))
    }


def _twin_header(twin: Twin) -> str:
    source = Path(os.path.relpath(twin.source, twin.out)).as_posix()
    return f"{_stamp.MARK} from {source}; do not edit.\n"


def generate(settings: Settings | Sequence[Settings], report: Report = lambda _: None) -> list[Path]:
    """Writes the generated code, and removes generated files that are no longer produced.

    Args:
        settings: What to read, and what to produce; several if there are several contracts.
        report: Called with each part of a contract that the output cannot express.

    Returns:
        The files whose content changed or that were removed.

    Raises:
        ContractError: A contract is broken; nothing was written.
        StrictError: There were warnings, and the settings are strict; nothing was written.
        SettingsError: An output folder holds something that was not generated.
    """
    contracts = _several(settings)
    files: dict[Path, str] = {}
    inputs: dict[Path, tuple[Path, ...]] = {}
    for one in contracts:
        rendered = render(one, report, files)
        files.update(rendered.files)
        inputs[one.out / _stamp.NAME] = rendered.inputs
    for path in (*files, *inputs):
        _check_ours(path)
    # The folder of a shared runtime is that of several.
    stale = list(dict.fromkeys(path for one in contracts for path in _stale(one, files)))
    changed = [path for path, text in files.items() if _read(path) != text]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, files[path])
    for path in stale:
        path.unlink()
    # Written last, over the output: an interrupted run leaves a stamp that does not match.
    for one, (stamp, read) in zip(contracts, inputs.items(), strict=True):
        text = _stamp.render(one, read)
        if _read(stamp) != text:
            _replace(stamp, text)
            changed.append(stamp)
    return changed + stale


def check(settings: Settings | Sequence[Settings], report: Report = lambda _: None) -> str:
    """A diff from the committed code to what the contracts produce now; empty when it is current.

    Nothing is generated for a contract whose committed stamp fits its inputs and outputs.

    Args:
        settings: What was generated; several if there are several contracts.
        report: Called with each part of a contract that the output cannot express, if it is generated.

    Raises:
        ContractError: A contract is broken.
        StrictError: There were warnings, and the settings are strict.
    """
    return "".join(_check(one, report) for one in _several(settings) if not _stamp.is_current(one))


def _several(settings: Settings | Sequence[Settings]) -> Sequence[Settings]:
    return (settings,) if isinstance(settings, Settings) else settings


def _check(settings: Settings, report: Report) -> str:
    files = render(settings, report).files
    parts: list[str] = []
    wanted: Mapping[Path, str | None] = {**files, **dict.fromkeys(_stale(settings, files))}
    for path, text in wanted.items():
        old = _read(path)
        if old == text:
            continue
        # Twins have files of the same name.
        name = f"{path.parent.name}/{path.name}"
        parts += difflib.unified_diff(
            (old or "").splitlines(keepends=True),
            (text or "").splitlines(keepends=True),
            f"committed/{name}" if old is not None else os.devnull,
            f"generated/{name}" if text is not None else os.devnull,
        )
    return "".join(parts)


def _stale(settings: Settings, files: Mapping[Path, str]) -> list[Path]:
    found = sorted(path for folder in settings.folders for path in folder.glob("*.py") if path not in files)
    for path in found:
        _check_ours(path)
    return found


def _check_ours(path: Path) -> None:
    """Refuses to touch a file that somebody wrote."""
    if path.exists() and not (_read(path) or "").startswith(_stamp.MARK):
        raise SettingsError(f"{path} was not generated; the output folder must hold nothing else")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _replace(path: Path, text: str) -> None:
    """Writes a file in one step, so that an interrupted run leaves the old one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    Path(name).chmod(0o644)
    Path(name).replace(path)
