"""With `--strict`, or `strict = true` in pyproject.toml, warnings are errors."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from digitorn_codegen import Settings
from digitorn_codegen._cli import main

Edit = Callable[[str, str, str], None]
Run = Callable[..., int]


@pytest.fixture
def run(toy: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command over the toy contract."""
    monkeypatch.chdir(tmp_path)

    def command(name: str, *options: str) -> int:
        given = ["--openapi", str(toy.openapi), "--package", toy.package, "--out", str(toy.out)]
        return main([name, *given, "--events", str(toy.events), "--commands", str(toy.commands), *options])

    return command


@pytest.fixture
def warned(edit: Edit) -> None:
    """The toy contract with something in it that has no effect, two times."""
    edit("openapi.yaml", "name: deep, in: query,", "name: Accept, in: header,")
    edit("openapi.yaml", "tags: [{name: toys,", "tags: [{name: toys}, {name: toys,")


LINE = re.compile(r"warning: [a-z-]+: /[^#]*\.(?:yaml|json)#(?:/[^:]*)?: .+")


@pytest.mark.usefixtures("warned")
def test_a_strict_run_writes_nothing_and_says_each_warning_once(
    run: Run, toy: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", "--strict") == 1
    said = capsys.readouterr().err.splitlines()
    assert all(LINE.fullmatch(line) for line in said[:-1])
    assert len(said) == len(set(said)) == 3
    assert said[-1] == "digitorn-codegen: 2 warnings, which are errors here; nothing was written"
    assert not toy.out.exists()


@pytest.mark.usefixtures("warned")
def test_a_strict_check_does_not_trust_what_a_run_with_warnings_wrote(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate") == 0
    assert run("check") == 0
    capsys.readouterr()
    assert run("check", "--strict") == 1
    assert capsys.readouterr().err.count("warning: ") == 2


def test_without_warnings_strict_changes_nothing(run: Run, toy: Settings) -> None:
    assert run("generate", "--strict") == 0
    assert run("check", "--strict") == 0
    assert run("check") == 0
    assert toy.out.exists()


@pytest.mark.usefixtures("warned")
def test_the_setting_does_the_same(toy: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = f'openapi = "{toy.openapi}"\npackage = "{toy.package}"\nout = "{toy.out}"\n'
    project = tmp_path / "pyproject.toml"
    project.write_text(f"[tool.digitorn-codegen]\n{table}strict = true\n")
    assert main(["generate"]) == 1
    project.write_text(f"[tool.digitorn-codegen]\n{table}strict = false\n")
    assert main(["generate"]) == 0
    project.write_text(f'[tool.digitorn-codegen]\n{table}strict = "yes"\n')
    assert main(["generate"]) == 2
