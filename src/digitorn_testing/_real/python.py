"""Finds a Python that the released daemon runs on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from .errors import RealDaemonUnavailable

VARIABLE: Final = "DIGITORN_REAL_PYTHON"
"""Environment variable that names the interpreter."""

_OLDEST: Final = (3, 12)
# The pinned distributions have wheels for the first; of a newer Python some may have to be compiled.
_NAMES: Final = ("python3.12", "python3.13", "python3.14", "python3")
_PROBE_SECONDS: Final = 30.0
_PROBE: Final = """
import sys
try:
    import ensurepip, venv
except ImportError:
    sys.exit("has no ensurepip or venv (on Debian install its -venv package)")
print(sys.implementation.name, *sys.version_info[:2], sys.executable)
"""


def find_python() -> Path:
    """The interpreter for the daemon's environment.

    $DIGITORN_REAL_PYTHON decides if it is set. Otherwise it is the first that fits of: python3.12,
    python3.13, python3.14 and python3 on PATH, this interpreter, and the versions of pyenv.

    Returns:
        Path of a CPython 3.12 or newer that can create virtual environments.

    Raises:
        RealDaemonUnavailable: There is none; the message lists what was tried.
    """
    if named := os.environ.get(VARIABLE):
        found, reason = _probe(named)
        if found is None:
            raise RealDaemonUnavailable(
                f"${VARIABLE} is {named}, which {reason}; the released daemon needs a CPython 3.12 or newer"
            )
        return found
    tried: list[str] = []
    for candidate in _candidates():
        found, reason = _probe(candidate)
        if found is not None:
            return found
        tried.append(f"{candidate} {reason}")
    raise RealDaemonUnavailable(
        "the released daemon needs a CPython 3.12 or newer, and none was found. "
        f"Install one, or set ${VARIABLE} to its path. Tried: {'; '.join(tried) or 'nothing on PATH'}"
    )


def _candidates() -> Iterator[str]:
    named = list(filter(None, map(shutil.which, _NAMES)))
    yield from named
    yield sys.executable
    root = _pyenv_root(named)
    # As with the names: the oldest that fits comes first.
    versions = [(version, path) for path in root.glob("versions/*") if (version := _version(path.name))]
    yield from (str(path / "bin" / "python") for version, path in sorted(versions) if version >= _OLDEST)


def _pyenv_root(named: Iterable[str]) -> Path:
    """The folder of pyenv, whose shims run no version that is not chosen."""
    if chosen := os.environ.get("PYENV_ROOT"):
        return Path(chosen)
    shims = (Path(path).parent for path in named)
    return next((one.parent for one in shims if one.name == "shims"), Path.home() / ".pyenv")


def _version(name: str) -> tuple[int, ...]:
    parts = name.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def _probe(candidate: str) -> tuple[Path | None, str]:
    """The path of an interpreter if it fits, else why it does not."""
    try:
        # Isolated, so that PYTHON* variables do not change what it finds.
        ran = subprocess.run(
            [candidate, "-I", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None, "does not answer"
    except OSError as error:
        return None, f"cannot be run ({error.strerror})"
    if ran.returncode:
        lines = ran.stderr.strip().splitlines()
        return None, lines[-1] if lines else f"ends with status {ran.returncode}"
    said = ran.stdout.strip().split(" ", 3)
    if len(said) != 4 or said[0] != "cpython":
        return None, "is not CPython"
    if (int(said[1]), int(said[2])) < _OLDEST:
        return None, f"is CPython {said[1]}.{said[2]}"
    return Path(said[3]), ""
