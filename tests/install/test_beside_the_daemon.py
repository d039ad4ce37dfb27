"""The library beside the daemon's own distribution, which ships files under `digitorn/testing/` too.

pip lets the second of two distributions overwrite the files of the first, and removes them with either. So
`digitorn.testing` is whichever was installed last; `digitorn_testing` and the pytest plugin always work.
"""

import base64
import csv
import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 120.0

OLD_FILES = {
    "digitorn/__init__.py": '__version__ = "1.0.3"\n',
    "digitorn/testing/__init__.py": "from digitorn.testing.client import DevClient as DevClient\n",
    "digitorn/testing/client.py": "class DevClient: ...\n",
    "digitorn/testing/events.py": "class LiveEvent: ...\n",
    "digitorn/testing/assertions.py": "def event_order(*arguments): return True, ''\n",
}

TESTS = """
import sys

import pytest


def test_blocking(fake_daemon, fake_model, dev_client, session):
    fake_model.will_respond_with_text("hello")
    assert dev_client.send(session, "hi", timeout=30).content == "hello"
    assert session.daemon_url == fake_daemon.url


@pytest.mark.asyncio
async def test_asynchronous(fake_model, async_dev_client, session):
    fake_model.will_respond_with_text("hello")
    assert (await async_dev_client.send(session, "hi", timeout=30)).content == "hello"


def test_that_nothing_here_needs_the_name_that_may_be_overwritten():
    assert [name for name in sys.modules if name == "digitorn" or name.startswith("digitorn.")] == []
"""

# Prints whose `DevClient` it is that `digitorn.testing` has.
RESOLVE = """
import digitorn_testing
try:
    from digitorn.testing import DevClient
except ImportError:
    print("digitorn.testing is nobody's")
else:
    ours = DevClient is digitorn_testing.DevClient
    print("digitorn.testing is", "ours" if ours else f"of {DevClient.__module__}")
"""

# The same after the tests, in the same process.
CONFTEST = f"""
def pytest_unconfigure():
    exec({RESOLVE!r})
"""

OTHERS = sorted(
    {one.name for one in entry_points(group="pytest11")} - {"asyncio", "digitorn_testing.pytest_plugin"}
)
"""The other plugins in the environment, which only cost time."""


class Environment:
    """A fresh virtual environment, with the dependencies of the running one but without this library."""

    def __init__(self, folder: Path) -> None:
        self._tests = folder / "tests"
        self._tests.mkdir()
        (self._tests / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (self._tests / "test_fixtures.py").write_text(TESTS, encoding="utf-8")
        (self._tests / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        root = folder / "environment"
        venv.EnvBuilder(symlinks=os.name != "nt").create(root)
        paths = {"base": str(root), "platbase": str(root)}
        self.packages = Path(sysconfig.get_path("purelib", "venv", paths))
        self._python = Path(sysconfig.get_path("scripts", "venv", paths)) / "python"
        # Not the folder itself: it holds the metadata of the running installation of this library.
        dependencies = folder / "dependencies"
        dependencies.mkdir()
        for found in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(found).iterdir():
                if "digitorn" not in entry.name and entry.suffix != ".pth":
                    (dependencies / entry.name).symlink_to(entry)
        (self.packages / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        outer = ("DIGITORN_", "PIP_", "PYTHON", "PYTEST_")
        variables = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
        return subprocess.run(
            [self._python, *arguments],
            cwd=self._tests,
            env={
                **variables,
                "PYTHONNOUSERSITE": "1",
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def must(self, *arguments: str) -> str:
        ran = self.python(*arguments)
        assert ran.returncode == 0, f"{arguments}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def install(self, wheel: Path) -> None:
        # What the tests do not import need not be compiled.
        options = ("--no-deps", "--no-index", "--force-reinstall", "--no-compile")
        self.must("-m", "pip", "install", *options, str(wheel))

    def uninstall(self, name: str) -> None:
        self.must("-m", "pip", "uninstall", "--yes", name)

    def tests_pass(self) -> str:
        """Runs the tests, and says whose objects `digitorn.testing` has."""
        without = [word for name in (*OTHERS, "cacheprovider") for word in ("-p", f"no:{name}")]
        said = self.must("-m", "pytest", "-q", *without, "--rootdir", str(self._tests), str(self._tests))
        assert "3 passed" in said
        return said.splitlines()[-1]

    def resolved(self) -> str:
        """Whose objects `digitorn.testing` has; fails if `digitorn_testing` cannot be imported."""
        return self.must("-c", RESOLVE).strip()


@pytest.fixture(scope="session")
def our_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("ours")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        timeout=SECONDS,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return next(folder.glob("digitorn_testing-*.whl"))


@pytest.fixture(scope="session")
def daemon_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with the name of the daemon's distribution, and files where the daemon has them."""
    metadata = "digitorn-1.0.3.dist-info"
    files = {
        **OLD_FILES,
        f"{metadata}/METADATA": "Metadata-Version: 2.1\nName: digitorn\nVersion: 1.0.3\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{name},{digest(text.encode())},{len(text)}" for name, text in files.items()]
    files[f"{metadata}/RECORD"] = "\n".join([*rows, f"{metadata}/RECORD,,", ""])
    path = tmp_path_factory.mktemp("daemon") / "digitorn-1.0.3-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


def digest(content: bytes) -> str:
    """A hash as RECORD files write it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def damaged_files(wheel: Path, packages: Path) -> list[str]:
    """Which files of our own package are missing or are not those of the wheel."""
    with zipfile.ZipFile(wheel) as opened:
        record = next(name for name in opened.namelist() if name.endswith(".dist-info/RECORD"))
        rows = list(csv.reader(opened.read(record).decode().splitlines()))
    ours = {name: said for name, said, _ in rows if name.startswith("digitorn_testing/")}
    assert {"digitorn_testing/__init__.py", "digitorn_testing/pytest_plugin.py"} <= ours.keys()
    return [
        name
        for name, said in ours.items()
        if not (packages / name).is_file() or digest((packages / name).read_bytes()) != said
    ]


@pytest.mark.timeout(3 * SECONDS)
def test_it_works_beside_the_daemon_and_is_whole_without_it(
    tmp_path: Path, our_wheel: Path, daemon_wheel: Path
) -> None:
    environment = Environment(tmp_path)
    absent = (
        "from importlib.util import find_spec; print(find_spec('digitorn_testing'), find_spec('digitorn'))"
    )
    assert environment.must("-c", absent).split() == ["None", "None"]

    # Ours last.
    environment.install(daemon_wheel)
    environment.install(our_wheel)
    assert damaged_files(our_wheel, environment.packages) == []
    assert environment.tests_pass() == "digitorn.testing is ours"

    # The daemon last.
    environment.install(daemon_wheel)
    assert damaged_files(our_wheel, environment.packages) == []
    assert environment.tests_pass() == "digitorn.testing is of digitorn.testing.client"

    environment.uninstall("digitorn")
    assert damaged_files(our_wheel, environment.packages) == []
    assert environment.tests_pass() == "digitorn.testing is nobody's"

    environment.install(our_wheel)
    assert environment.resolved() == "digitorn.testing is ours"
