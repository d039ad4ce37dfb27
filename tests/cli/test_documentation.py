"""The page about the command line names commands and options that exist, and a script that can be served."""

import re
import shlex
from pathlib import Path

import pytest

from digitorn_testing._cli._scripts import load
from support.commands import Run

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
COMMANDS = sorted({found[1] for found in re.finditer(r"^\$ digitorn-testing (.+)$", PAGE, re.MULTILINE)})


@pytest.mark.parametrize("line", COMMANDS)
def test_the_options_of_shown_commands_exist(run: Run, line: str) -> None:
    words = shlex.split(line)
    command = words[: 2 if words[0] == "record" else 1]
    ran = run(*command, "--help")
    assert ran.status == 0, ran.err
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(^|[\s,]){re.escape(option)}\b", ran.out, re.MULTILINE), option


def test_every_command_is_described(run: Run) -> None:
    listed = run("--help").out.partition("Commands:")[2].partition("\n\n")[0]
    names = re.findall(r"^  (\w+)  ", listed, re.MULTILINE)
    assert len(names) >= 13
    assert [name for name in names if f"`{name}" not in PAGE] == []


def test_the_shown_script_can_be_served(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(PAGE.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    assert load(str(script), None).app.app_id == "files"
