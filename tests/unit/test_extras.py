"""What says which extra is missing, and what each extra installs."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest

from digitorn_codegen._extra import MODULES as CODEGEN
from digitorn_testing._extras import MODULES

PYPROJECT: Final = tomllib.loads(
    Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
)
EXTRAS: Final[dict[str, list[str]]] = PYPROJECT["project"]["optional-dependencies"]

# Each is what a user does who lacks the extra.
NEEDING: Final = {
    "import digitorn.testing.fakes": ("digitorn.testing.fakes", "daemon"),
    "from digitorn.testing import AppBuilder; AppBuilder.from_yaml('app_id: x')": (
        "AppBuilder.from_yaml",
        "daemon",
    ),
    "import digitorn.testing.load": ("digitorn.testing.load", "load"),
    "import digitorn.testing.telemetry": ("digitorn.testing.telemetry", "otel"),
    "import digitorn_testing.pytest_plugin": ("digitorn_testing.pytest_plugin", "pytest"),
    "from digitorn_testing._cli import main; main()": ("digitorn-testing", "cli"),
    "from digitorn_codegen import generate": ("digitorn-codegen", "codegen"),
    "from digitorn_codegen._command import main; sys.exit(sys.stderr.getvalue().strip() if main() else 0)": (
        "digitorn-codegen",
        "codegen",
    ),
}

WALK: Final = """
import io, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
from digitorn.testing import AppBuilder
AppBuilder("x").to_yaml()
for code in CODES:
    kept, sys.stderr = sys.stderr, io.StringIO()
    try:
        exec(code)
    except (ImportError, SystemExit) as error:
        print(error)
    finally:
        sys.stderr = kept
"""


def test_each_missing_extra_is_named_in_one_line() -> None:
    blocked = {name.partition(".")[0] for names in (*MODULES.values(), CODEGEN) for name in names}
    code = WALK.replace("BLOCKED", repr(blocked)).replace("CODES", repr(list(NEEDING)))
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    expected = [
        f'{what} needs the extra "{extra}": pip install "digitorn-testing[{extra}]"'
        for what, extra in NEEDING.values()
    ]
    assert ran.stdout.splitlines() == expected


@pytest.mark.parametrize("extra", [*MODULES, "codegen"])
def test_an_extra_is_known_by_the_modules_that_it_installs(extra: str) -> None:
    known = dict[str, tuple[str, ...]]([*MODULES.items(), ("codegen", CODEGEN)])[extra]
    wanted = {_name(one) for one in _requirements(extra)}
    installed = packages_distributions()
    brought = {_name(one) for module in known for one in installed.get(module.partition(".")[0], [module])}
    assert brought >= wanted


def _requirements(extra: str) -> list[str]:
    """What an extra asks for, with what the extras in it ask for."""
    found = list[str]()
    for one in EXTRAS[extra]:
        inner = re.fullmatch(r"digitorn-testing\[(.*)\]", one)
        found += [two for name in inner[1].split(",") for two in _requirements(name)] if inner else [one]
    return found


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_all_is_every_extra_of_users() -> None:
    (one,) = EXTRAS["all"]
    listed = one.removeprefix("digitorn-testing[").removesuffix("]").split(",")
    assert set(listed) == set(EXTRAS) - {"all", "bench", "dev", "docs", "load", "pages"}
