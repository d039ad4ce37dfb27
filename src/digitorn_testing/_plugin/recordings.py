"""Which file a test is recorded in, and which one it replays."""

from __future__ import annotations

import re
from collections.abc import Collection, Generator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from . import options
from .troubles import Troubles

if TYPE_CHECKING:
    from digitorn_testing._recordings.recording import Recording

MARKER: Final = "digitorn_replay"

_SUFFIX: Final = ".jsonl"
_LONGEST: Final = 100
# Files of these names exist on every system that pytest runs on.
_FORBIDDEN: Final = re.compile(r"[^\w.,=+\[\]-]", re.ASCII)
_APP_OF_CALL: Final = re.compile(r"/api/apps/([^/]+)/sessions")


def file_of(folder: Path, nodeid: str) -> Path:
    """The recording of a test: a folder for its file, and in that a file for the test with its parameters.

    The name is the same on every system and in every process. A hash is added where the id of the test cannot
    be a file name as it is.

    Args:
        folder: Folder of the recordings.
        nodeid: The test's id.
    """
    module, _, test = nodeid.partition("::")
    name = test.replace("::", ".")
    plain = _FORBIDDEN.sub("_", name)[-_LONGEST:]
    # Some file systems ignore case, and parameters may differ in nothing else.
    _, _, parameters = name.partition("[")
    if plain != name or parameters != parameters.lower():
        plain += "-" + blake2b(nodeid.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
    parts = [
        _FORBIDDEN.sub("_", one) for one in module.removesuffix(".py").split("/") if one not in ("", ".")
    ]
    return folder.joinpath(*parts, plain + _SUFFIX)


@contextmanager
def recorded(item: pytest.Item) -> Generator[Path | None]:
    """The file that a test is recorded in; None if the run records nothing.

    What the test records takes the place of its earlier recording only if it passes. The recording of a
    failure is kept beside it.

    Args:
        item: The test.
    """
    folder = options.record_folder(item.config)
    if folder is None:
        yield None
        return
    file = file_of(folder, item.nodeid)
    file.parent.mkdir(parents=True, exist_ok=True)
    # The recorder appends to what it finds, such as the rest of a run that was killed.
    part = file.with_name(file.name + ".part")
    part.unlink(missing_ok=True)
    yield part
    if not part.exists():
        return
    failed = file.with_name(file.name.removesuffix(_SUFFIX) + ".failed" + _SUFFIX)
    with Troubles(item).attempt(f"write the recording {file}"):
        if item.stash.get(options.PASSED, False):
            part.replace(file)
            failed.unlink(missing_ok=True)
        elif item.stash.get(options.FAILED, False):
            part.replace(failed)
        else:
            # A skipped test has done nothing that is worth replaying.
            part.unlink()


def replays(item: pytest.Item) -> bool:
    """Whether a test may run against a recording: it is marked, or the run replays.

    Args:
        item: The test.
    """
    if options.text(item.config, options.RECORD):
        return False
    return bool(item.get_closest_marker(MARKER) or options.text(item.config, options.REPLAY))


def replayed_file(item: pytest.Item, *, embedded: Collection[str], models: Collection[str]) -> Path | None:
    """The recording that a test replays; None if it runs against a daemon.

    In a run that replays, a test that asks for the embedded daemon stays with it. So does one that scripts
    the model itself, unless there is a recording of it.

    Args:
        item: The test.
        embedded: Fixtures of the embedded daemon.
        models: Fixtures of the scripted model.

    Raises:
        pytest.fail.Exception: There is no recording.
    """
    if not replays(item):
        return None
    marker = item.get_closest_marker(MARKER)
    if marker is not None and marker.args:
        file = item.path.parent / str(marker.args[0])
    else:
        file = file_of(options.recordings_folder(item.config), item.nodeid)
    if marker is None:
        used: set[str] = set(getattr(item, "fixturenames", ()))
        if not used.isdisjoint(embedded) or (not used.isdisjoint(models) and not file.exists()):
            return None
    if not file.exists():
        pytest.fail(_missing(item, file), pytrace=False)
    return file


def _missing(item: pytest.Item, file: Path) -> str:
    marker = item.get_closest_marker(MARKER)
    if marker is not None and marker.args:
        return f"there is no recording {file}; make one with `client.record(path)`"
    folder = options.recordings_folder(item.config)
    failed = file.with_name(file.name.removesuffix(_SUFFIX) + ".failed" + _SUFFIX)
    why = f"; the test failed when it was recorded: {failed}" if failed.exists() else ""
    return (
        f"there is no recording {file}{why}\n"
        f"record it against a daemon: pytest {options.RECORD}={folder} --digitorn-url=URL "
        f'--digitorn-app=APP "{item.nodeid}"'
    )


def app_of(recording: Recording) -> str | None:
    """The app that a recorded test has used first; None if it has used none.

    Args:
        recording: The recording.
    """
    if recording.sessions:
        return recording.sessions[0].app_id
    called = (_APP_OF_CALL.match(one.path) for one in recording.exchanges)
    return next((found[1] for found in called if found is not None), None)
