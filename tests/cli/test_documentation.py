"""The page about the command line: commands, options and links exist; the script gives the conversation."""

import re
import shlex
from pathlib import Path

import pytest

from digitorn_testing._cli._scripts import load
from digitorn_testing.fakes import FakeDaemon
from support.commands import Run

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "command-line.md").read_text(encoding="utf-8")
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


def test_the_shown_conversation_is_that_of_the_shown_script(
    run: Run, access: dict[str, str], daemon: FakeDaemon, tmp_path: Path
) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(PAGE.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    scripted = load(str(script), None)
    daemon.deploy(scripted.app, model=scripted.model)
    shown = PAGE.partition("$ digitorn-testing chat files\n")[2].partition("```")[0]
    ran = run("chat", "files", "-m", "list the files", "-m", "remove it", "--approvals", "ask", stdin="y\n")
    assert ran.status == 0
    said = [line for line in shown.splitlines() if line.startswith(("- ", "? ", "  Bash"))]
    assert said == [line for line in ran.err.splitlines() if line.startswith(("- ", "? ", "  Bash"))]
    assert set(ran.out.splitlines()) <= set(shown.splitlines())
    assert "\nWhat can I do for you?\n" in shown


def test_links_lead_to_headings() -> None:
    for name, anchor in re.findall(r"\]\(([\w-]*(?:\.md)?)#([\w-]+)\)", PAGE):
        text = (DOCS / name).read_text(encoding="utf-8") if name else PAGE
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, name
