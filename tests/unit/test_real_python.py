"""Which Python the released daemon is given."""

import sys
from pathlib import Path

import pytest

from digitorn_testing._real.errors import RealDaemonUnavailable
from digitorn_testing._real.python import VARIABLE, find_python


class Machine:
    """A machine with interpreters that say what they are told, and with this one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin"
        self.pyenv = folder / "pyenv"
        self.path.mkdir()

    def add(self, name: str, says: str) -> Path:
        """Puts an interpreter on PATH."""
        return _program(self.path / name, says)

    def add_to_pyenv(self, version: str, says: str) -> Path:
        """Has pyenv install an interpreter."""
        return _program(self.pyenv / "versions" / version / "bin" / "python", says)


def _program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{says}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def answers(version: str, path: str, implementation: str = "cpython") -> str:
    """What an interpreter says that can create virtual environments."""
    return f"echo {implementation} {version.replace('.', ' ')} {path}"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without a suitable Python."""
    made = Machine(tmp_path)
    old = made.add("this", answers("3.11", "/this"))
    monkeypatch.setenv("PATH", str(made.path))
    monkeypatch.setenv("PYENV_ROOT", str(made.pyenv))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(sys, "executable", str(old))
    return made


def test_the_first_that_fits_is_taken(machine: Machine) -> None:
    machine.add("python3.12", "exit 127")
    machine.add("python3.13", answers("3.13", "/path with spaces/python"))
    machine.add("python3.14", answers("3.14", "/newer"))
    machine.add_to_pyenv("3.12.1", answers("3.12", "/of/pyenv"))
    assert find_python() == Path("/path with spaces/python")


def test_versions_of_pyenv_are_tried_last_and_the_oldest_first(machine: Machine) -> None:
    machine.add("python3", answers("3.11", "/old"))
    for version in ("3.9.18", "3.11.7", "3.13.0", "3.12.10", "3.12.9", "pypy3.12"):
        machine.add_to_pyenv(version, answers("3.12", f"/pyenv/{version}"))
    assert find_python() == Path("/pyenv/3.12.9")


def test_pyenv_is_found_by_its_shims(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shim runs no version that is not chosen, such as for another home directory."""
    monkeypatch.delenv("PYENV_ROOT")
    monkeypatch.setenv("PATH", str(machine.pyenv / "shims"))
    _program(machine.pyenv / "shims" / "python3.12", "exit 127")
    machine.add_to_pyenv("3.12.1", answers("3.12", "/of/pyenv"))
    assert find_python() == Path("/of/pyenv")


def test_the_variable_decides(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add("python3.12", answers("3.12", "/on/path"))
    monkeypatch.setenv(VARIABLE, str(machine.add("mine", answers("3.15", "/mine"))))
    assert find_python() == Path("/mine")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (answers("3.11", "/old"), "is CPython 3.11"),
        (answers("3.12", "/other", implementation="pypy"), "is not CPython"),
        ("echo 'has no ensurepip or venv' >&2; exit 1", "has no ensurepip or venv"),
        ("exit 9", "ends with status 9"),
        ("echo something else", "is not CPython"),
    ],
)
def test_the_variable_names_one_that_does_not_fit(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, says: str, reason: str
) -> None:
    machine.add("python3.12", answers("3.12", "/on/path"))
    mine = machine.add("mine", says)
    monkeypatch.setenv(VARIABLE, str(mine))
    with pytest.raises(RealDaemonUnavailable) as caught:
        find_python()
    assert f"${VARIABLE} is {mine}, which {reason}" in str(caught.value)


def test_the_variable_names_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(machine.path / "absent"))
    with pytest.raises(RealDaemonUnavailable, match=r"cannot be run \(No such file or directory\)"):
        find_python()


def test_without_any_the_error_says_what_was_tried_and_what_to_do(machine: Machine) -> None:
    broken = machine.add("python3.13", "echo no such version >&2; exit 127")
    with pytest.raises(RealDaemonUnavailable) as caught:
        find_python()
    said = str(caught.value)
    assert "needs a CPython 3.12 or newer, and none was found" in said
    assert f"set ${VARIABLE}" in said
    assert f"{broken} no such version" in said
    assert f"{machine.path / 'this'} is CPython 3.11" in said
