"""Renders a contract's output, writes it, and checks whether the written output is current."""

import difflib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import _aliases, _stamp, _twin
from ._errors import SettingsError
from ._format import format_sources, verify
from ._settings import Settings, Twin
from ._text import prose

Report = Callable[[str], None]


@dataclass(frozen=True)
class Rendered:
    """What settings produce.

    Attributes:
        files: The text of every file, by path.
        inputs: Every file of the contract.
    """

    files: Mapping[Path, str]
    inputs: tuple[Path, ...]


def render(settings: Settings, report: Report = lambda _: None) -> Rendered:
    """Every file that the settings produce; nothing is written.

    Args:
        settings: What to read, and what to produce.
        report: Called with each part of the contract that the output cannot express.

    Raises:
        ContractError: The contract is broken.
    """
    # Both import large libraries, which a check that trusts the stamp does without.
    from . import _contract, _emit_models, _emit_stubs, _split

    contract = _contract.load(settings)
    for warning in contract.warnings:
        report(str(warning))
    title = prose(f"{contract.title} {contract.version}")
    header = f"{_stamp.MARK} from {title} ({contract.digest}); do not edit.\n"
    classes = _emit_models.emit(contract)
    stubs = _emit_stubs.emit(contract)
    sources = {settings.out / f"{name}.py": source for name, source in _emit_stubs.runtime().items()}
    for name, source in {**_split.split(classes, contract), **stubs}.items():
        doc = _emit_models.DOCSTRINGS.get(name)
        sources[settings.out / f"{name}.py"] = f'"""{doc}"""\n\n{source}' if doc else source
    headers = dict.fromkeys(sources, header)
    for twin in settings.twins:
        twins = _render_twin(twin)
        sources.update(twins)
        headers.update(dict.fromkeys(twins, _twin_header(twin)))
    for alias in settings.aliases:
        # Use the output of this run, not that of an earlier one.
        modules = _aliases.render(alias, lambda path: sources.get(path) or _read(path))
        sources.update(modules)
        headers.update(dict.fromkeys(modules, f"{_stamp.MARK}; do not edit.\n"))
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


def generate(settings: Settings, report: Report = lambda _: None) -> list[Path]:
    """Writes the generated code, and removes generated files that are no longer produced.

    Args:
        settings: What to read, and what to produce.
        report: Called with each part of the contract that the output cannot express.

    Returns:
        The files whose content changed or that were removed.

    Raises:
        ContractError: The contract is broken; nothing was written.
        SettingsError: The output folder holds something that was not generated.
    """
    rendered = render(settings, report)
    files, stamp = rendered.files, settings.out / _stamp.NAME
    for path in (*files, stamp):
        _check_ours(path)
    stale = _stale(settings, files)
    changed = [path for path, text in files.items() if _read(path) != text]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, files[path])
    for path in stale:
        path.unlink()
    # Written last, over the output: an interrupted run leaves a stamp that does not match.
    text = _stamp.render(settings, rendered.inputs)
    if _read(stamp) != text:
        _replace(stamp, text)
        changed.append(stamp)
    return changed + stale


def check(settings: Settings) -> str:
    """A diff from the committed code to what the contract produces now; empty when it is current.

    Nothing is generated when the committed stamp fits the inputs and the outputs.

    Raises:
        ContractError: The contract is broken.
    """
    if _stamp.is_current(settings):
        return ""
    files = render(settings).files
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
