"""The environment of the released daemon is installed once, completely, by one process at a time."""

import threading
from pathlib import Path

import pytest

from digitorn_testing._real.environment import REQUIREMENTS, Environment
from digitorn_testing._real.errors import RealDaemonUnavailable
from digitorn_testing._real.python import VARIABLE

SECONDS = 20.0

# It says that it is a CPython 3.12, creates an "environment" with itself in it, and "installs" by looking at
# the list of distributions.
INTERPRETER = """#!/bin/sh
echo "$@" >> {calls}
case "$2 $3" in
"-c "*) echo cpython 3 12 "$0" ;;
"-m venv") mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
"-m pip")
    [ -z "$PIP_CONSTRAINT" ] || exit 3
    for last; do :; done
    grep -q slow "$last" && exec sleep 60
    grep -q absent "$last" && echo "ERROR: no distribution found for absent" && exit 1
    exit 0 ;;
*) exit 2 ;;
esac
"""


class Installation:
    """A list of distributions, a folder for them, and what the interpreter was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "real"
        self.requirements = folder / "requirements.txt"
        self.requirements.write_text("tiny==1.0\n", encoding="utf-8")
        self._calls = folder / "calls"
        self.interpreter = folder / "python"
        self.interpreter.write_text(INTERPRETER.format(calls=self._calls), encoding="utf-8")
        self.interpreter.chmod(0o755)

    def environment(self) -> Environment:
        """The environment, as another process sees it."""
        return Environment(self.folder, self.requirements)

    @property
    def count(self) -> int:
        """How often something was installed."""
        return self._calls.read_text(encoding="utf-8").count("-m pip") if self._calls.exists() else 0


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Nothing is installed so far."""
    made = Installation(tmp_path)
    monkeypatch.setenv(VARIABLE, str(made.interpreter))
    monkeypatch.setenv("PIP_CONSTRAINT", "of-somebody-else.txt")
    return made


def test_it_is_installed_once(installation: Installation) -> None:
    messages: list[str] = []
    assert not installation.environment().is_complete()
    for _ in range(2):
        installation.environment().prepare(say=messages.append)
    assert installation.environment().is_complete()
    assert installation.count == 1
    assert [one.split()[0] for one in messages] == ["installing", "installed"]


def test_an_interrupted_installation_is_replaced(installation: Installation) -> None:
    left = installation.folder / "venv" / "lib" / "left"
    left.mkdir(parents=True)
    installation.environment().prepare()
    assert installation.environment().is_complete()
    assert not left.exists()


def test_one_whose_python_is_gone_is_replaced(installation: Installation) -> None:
    environment = installation.environment()
    environment.prepare()
    environment.python.unlink()
    assert not environment.is_complete()
    environment.prepare()
    assert environment.is_complete()


def test_other_distributions_or_another_folder_need_another_installation(
    installation: Installation, tmp_path: Path
) -> None:
    installation.environment().prepare()
    installation.folder.rename(tmp_path / "moved")
    # The programs in it name their interpreter by its path.
    assert not Environment(tmp_path / "moved", installation.requirements).is_complete()
    (tmp_path / "moved").rename(installation.folder)
    assert installation.environment().is_complete()
    installation.requirements.write_text("tiny==1.1\n", encoding="utf-8")
    assert not installation.environment().is_complete()


def test_one_of_several_installs_and_the_others_wait(installation: Installation) -> None:
    threads = [threading.Thread(target=lambda: installation.environment().prepare()) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert installation.environment().is_complete()
    assert installation.count == 1


def test_a_failed_installation_says_why_and_is_not_taken_for_complete(installation: Installation) -> None:
    installation.requirements.write_text("absent==1.0\n", encoding="utf-8")
    with pytest.raises(RealDaemonUnavailable) as caught:
        installation.environment().prepare()
    assert "ERROR: no distribution found for absent" in str(caught.value)
    assert f"set ${VARIABLE} to a CPython 3.12" in str(caught.value)
    assert not installation.environment().is_complete()


def test_an_installation_takes_no_longer_than_it_may(installation: Installation) -> None:
    installation.requirements.write_text("slow==1.0\n", encoding="utf-8")
    with pytest.raises(RealDaemonUnavailable, match="took too long"):
        installation.environment().prepare(timeout=0.5)
    assert not installation.environment().is_complete()


def test_another_process_is_waited_for_no_longer_than_allowed(installation: Installation) -> None:
    installation.folder.mkdir()
    with installation.environment().locked(float("inf")):
        with pytest.raises(RealDaemonUnavailable, match="another process is still installing"):
            installation.environment().prepare(timeout=0.0)


def test_every_distribution_has_one_version_and_no_address() -> None:
    lines = [one for one in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if not one.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert all(line.count("==") == 1 and "/" not in line for line in lines)
    assert len(set(names)) == len(names) == 66
    assert "digitorn==1.0.3" in lines
