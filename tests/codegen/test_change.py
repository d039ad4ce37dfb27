"""The loop that the project exists for: the contract changes, and mypy points at the test code it breaks."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from digitorn_codegen import Settings, generate
from support.strict_mypy import StrictMypy

ROOT = Path(__file__).parents[2]

SAMPLE = ROOT / "tests" / "typing" / "accepted" / "label_of_a_tool_call.py"


def errors(mypy: StrictMypy, folder: Path) -> list[tuple[str, str]]:
    """The lines of code that mypy complains about, each with the complaint."""
    found = mypy.complaints(
        *("--explicit-package-bases", "--follow-imports=silent", "test_sample.py"),
        # The copy is named as source: an installed distribution would come before MYPYPATH.
        *(f"src/digitorn_testing/_generated/{module}.py" for module in ("events", "payloads")),
        folder=folder,
        path=folder / "src",
    )
    return [
        ((folder / one.file).read_text(encoding="utf-8").splitlines()[one.line - 1].strip(), one.text)
        for one in found
        if one.file == "test_sample.py"
    ]


@pytest.mark.timeout(300)
def test_renaming_a_payload_field_makes_mypy_fail_at_the_line_that_uses_it(
    tmp_path: Path, strict_mypy: StrictMypy
) -> None:
    shutil.copytree(ROOT / "schema", tmp_path / "schema")
    shutil.copytree(ROOT / "src", tmp_path / "src")
    # Before the change both checkers accept it: tests/typing.
    shutil.copy(SAMPLE, tmp_path / "test_sample.py")
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
            package="digitorn_testing._generated",
            out=tmp_path / "src" / "digitorn_testing" / "_generated",
        )
    )

    (error,) = errors(strict_mypy, tmp_path)
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
