"""The loop that the project exists for: the contract changes, and mypy points at the test code it breaks."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from digitorn_codegen import Settings, generate

ROOT = Path(__file__).parents[2]

SAMPLE = """
from digitorn.testing import LiveEventStream
from digitorn.testing.events import ToolCall


def test_tool(stream: LiveEventStream) -> None:
    call = stream.wait_for(ToolCall)
    assert call.payload.name == "Bash"
    assert call.payload.label == "list files"
"""


def mypy_errors(folder: Path) -> list[tuple[str, str]]:
    """The lines of code that mypy complains about, each with the complaint."""
    ran = subprocess.run(
        # The copy is named as source: an installed distribution would come before MYPYPATH.
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache"),
            *("--explicit-package-bases", "--follow-imports=silent"),
            "test_sample.py",
            *(f"src/digitorn/testing/_generated/{module}.py" for module in ("events", "payloads")),
        ],
        cwd=folder,
        env={"MYPYPATH": str(folder / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert not ran.stderr, ran.stderr
    found = re.findall(r"^(.+?):(\d+): error: (.+)$", ran.stdout, re.MULTILINE)
    return [
        ((folder / file).read_text(encoding="utf-8").splitlines()[int(line) - 1].strip(), complaint)
        for file, line, complaint in found
        if file == "test_sample.py"
    ]


@pytest.mark.timeout(300)
def test_renaming_a_payload_field_makes_mypy_fail_at_the_line_that_uses_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "schema", tmp_path / "schema")
    shutil.copytree(ROOT / "src", tmp_path / "src")
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    assert mypy_errors(tmp_path) == []

    changed = tmp_path / "schema" / "events" / "tool_call.json"
    schema = json.loads(changed.read_text(encoding="utf-8"))
    schema["properties"]["caption"] = schema["properties"].pop("label")
    schema["required"] = ["caption" if name == "label" else name for name in schema["required"]]
    changed.write_text(json.dumps(schema), encoding="utf-8")
    generate(
        Settings(
            openapi=tmp_path / "schema" / "openapi.yaml",
            events=tmp_path / "schema" / "events",
            commands=tmp_path / "schema" / "commands",
            package="digitorn.testing._generated",
            out=tmp_path / "src" / "digitorn" / "testing" / "_generated",
        )
    )

    (error,) = mypy_errors(tmp_path)
    assert error[0] == 'assert call.payload.label == "list files"'
    assert '"ToolCall" has no attribute "label"' in error[1]


def test_the_committed_code_is_what_the_contract_produces(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "digitorn_codegen", "check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
