"""What `--digitorn-real` says when it cannot do what it is asked; `make real` runs it with a real daemon."""

from pathlib import Path

import pytest

from plugin.conftest import Run

TEST = "def test_it(dev_client): pass"


@pytest.fixture
def without_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An interpreter is named that is not there."""
    monkeypatch.setenv("DIGITORN_REAL_PYTHON", str(tmp_path / "absent"))


@pytest.mark.usefixtures("without_python")
def test_it_says_what_is_missing(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(TEST)
    result = run("--digitorn-real")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --digitorn-real: $DIGITORN_REAL_PYTHON is */absent, which cannot*"])


@pytest.mark.usefixtures("without_python")
def test_pytest_xdist_starts_no_worker_without_it(
    pytester: pytest.Pytester, run: Run, xdist: tuple[str, ...]
) -> None:
    pytester.makepyfile(TEST)
    result = run(*xdist, "-n", "2", "--digitorn-real")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.no_fnmatch_line("*passed*")


@pytest.mark.usefixtures("without_python")
def test_collecting_starts_nothing(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(TEST)
    result = run("--digitorn-real", "--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*::test_it"])


def test_one_run_has_one_daemon(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(TEST)
    result = run("--digitorn-real", "--digitorn-url", "http://127.0.0.1:1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --digitorn-url and --digitorn-real name two daemons"])
