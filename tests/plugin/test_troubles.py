"""What the plugin cannot do is a warning on the test, and never ends the run."""

import json
import sys
from pathlib import Path

import pytest

from digitorn_testing._plugin import artifacts
from digitorn_testing._plugin.artifacts import ArtifactsFolder
from digitorn_testing._plugin.troubles import Troubles
from digitorn_testing._secrets.redaction import Redactor
from digitorn_testing.fakes import FakeDaemon
from plugin.conftest import Run

HALF = "half \ud83d"

FOLDER_GOES_AWAY = """
    import pathlib, shutil
    from contextlib import suppress
    from digitorn.testing import NotFound

    def test_first(dev_client, session):
        with suppress(NotFound):
            dev_client.get_app("nope")
        shutil.rmtree("out")
        pathlib.Path("out").write_text("no folder any more")
        assert False

    def test_passes(): pass
    def test_fails(): assert False
    """

HALF_AN_EMOJI = r"""
    import logging
    from contextlib import suppress
    import pytest
    from digitorn.testing import EventTimeout
    from digitorn.testing.assertions import Check

    HALF = "half \ud83d"

    def test_events(dev_client, session, fake_model):
        fake_model.will_respond_with_text(HALF)
        with suppress(EventTimeout):
            dev_client.send(session, "hi", timeout=2)
        assert False

    def test_message(): raise AssertionError(HALF)
    def test_check():
        assert Check(False, HALF)
    def test_log():
        logging.getLogger("mine").error(HALF)
        assert False
    def test_property(record_property): record_property("name", HALF)
    def test_skipped(): pytest.skip(HALF)
    @pytest.mark.parametrize("text", [HALF])
    def test_parameter(text): assert not text
    """


def summary(result: pytest.RunResult) -> str:
    """The summary of the warnings."""
    return result.stdout.str().partition("warnings summary")[2]


def test_a_page_that_cannot_be_written(
    pytester: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> bytes:
        raise OSError("no space left")

    monkeypatch.setattr(artifacts, "page", full)
    pytester.makepyfile("def test_it(dev_client): dev_client.get_app('nope')")
    result = run("--digitorn-artifacts", "out")
    result.assert_outcomes(failed=1, warnings=1)
    assert "report.html: OSError: no space left" in summary(result)
    result.stdout.no_fnmatch_line("*digitorn: page*")
    (folder,) = (pytester.path / "out").iterdir()
    assert any(folder.glob("*.jsonl")) and (folder / "report.txt").is_file()


def test_a_folder_that_goes_away(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_one=FOLDER_GOES_AWAY)
    result = run("--digitorn-artifacts", "out")
    result.assert_outcomes(failed=2, passed=1, warnings=2)
    for name in ("test_first", "test_fails"):
        assert f"test_one.py::{name}\n" in summary(result)
    assert "digitorn could not write artifacts to " in summary(result)
    # The report has its sections all the same.
    result.stdout.fnmatch_lines(["*- digitorn: last exchanges -*", "* GET /api/apps/nope *404*"])
    result.stdout.no_fnmatch_line("*- digitorn: artifacts -*")


@pytest.mark.timeout(300)  # processes take their time on a busy machine
def test_under_xdist(pytester: pytest.Pytester, run: Run, xdist: tuple[str, ...]) -> None:
    pytester.makepyfile(test_one=FOLDER_GOES_AWAY, test_two=HALF_AN_EMOJI)
    # One worker, so that the folder goes away before the other tests.
    result = run(*xdist, "-n", "1", "-rA", "--digitorn-artifacts", "out")
    result.assert_outcomes(failed=7, passed=2, skipped=1, warnings=7)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "test_one.py::test_first\n" in summary(result)
    for line in ("*- digitorn: events -*", r"E*AssertionError: half \ud83d", r"*mine:*half \ud83d"):
        result.stdout.fnmatch_lines([line])


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_one_is_a_usage_error(
    pytester: pytest.Pytester, run: Run, folder: str
) -> None:
    if folder.startswith("/proc") and not sys.platform.startswith("linux"):
        pytest.skip("there is no /proc")
    (pytester.path / "file").write_text("", encoding="utf-8")
    pytester.makepyfile("def test_it(): pass")
    result = run("--digitorn-artifacts", folder)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --digitorn-artifacts: nothing can be written to *{folder}: *"])
    result.stdout.no_fnmatch_line("*passed*")
    run("--digitorn-artifacts", folder, "--collect-only").stdout.fnmatch_lines(["*test_it*"])


@pytest.mark.skipif(sys.platform == "win32", reason="without limits of processes")
def test_a_full_disk(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_one="""
        import resource
        import pytest

        @pytest.fixture
        def full():
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        def scenario_it(full):
            full()
            return False, "no", {"first": "x" * 100_000, "second": "small"}
        """
    )
    result = run("--digitorn-scenarios", "test_one.py", "--digitorn-artifacts", "out")
    result.assert_outcomes(failed=1, warnings=1)
    assert "could not write " in summary(result)
    assert "first: OSError: [Errno 27]" in summary(result)
    (second,) = pytester.path.rglob("artifacts/second.txt")
    assert second.read_text(encoding="utf-8") == "small"


def test_what_tests_leave_to_the_hooks_may_be_broken(
    pytester: pytest.Pytester, run: Run, given: FakeDaemon
) -> None:
    pytester.makepyfile(
        test_one="""
        from digitorn.testing import assertions

        class Broken:
            def __repr__(self): raise RuntimeError("no text")
            @property
            def __class__(self): raise RuntimeError("no class")

        def scenario_artifact():
            return True, "", {"broken": Broken(), "whole": "kept"}

        def scenario_check():
            broken = Broken()
            assert 1 == 2

        def scenario_session(client, session):
            client.close()
            return True, ""
        """
    )
    options = ("--digitorn-url", given.url, "--digitorn-token", given.token(), "--digitorn-app", "their-app")
    result = run(
        "--digitorn-scenarios", "test_one.py", "--digitorn-artifacts", "out", "--showlocals", *options
    )
    result.assert_outcomes(passed=2, failed=1, warnings=3)
    said = summary(result)
    for name, what in (
        ("artifact", "digitorn could not write *broken: RuntimeError"),
        ("check", "digitorn could not show the detail of a check: RuntimeError"),
        ("session", "digitorn could not delete the session *"),
    ):
        result.stdout.re_match_lines([f"test_one.py::scenario_{name}$"])
        result.stdout.fnmatch_lines([f"*DigitornWarning: {what}*"])
    assert given.token() not in said
    assert [one.name for one in pytester.path.rglob("artifacts/*")] == ["whole.txt"]


def written(folder: ArtifactsFolder, artifacts: object) -> dict[str, bytes]:
    """The files that artifacts become, by name."""
    folder.write_given(artifacts, Redactor())
    return {file.name: file.read_bytes() for file in (folder.path / "artifacts").iterdir()}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactsFolder:
    """The folder of a test whose id is long and can be no name of a file."""
    test = f"test_it.py::test[{'long/' * 100}{HALF}:<>|?*\0]"
    return ArtifactsFolder(tmp_path, test, None, Troubles(request.node).attempt)


def test_half_an_emoji_is_read_back(folder: ArtifactsFolder) -> None:
    files = written(folder, {"text": HALF, "json": {"said": HALF, HALF: 1}, HALF: "name"})
    assert files["text.txt"] == rb"half \ud83d"
    assert json.loads(files["json.json"]) == {"said": HALF, HALF: 1}
    assert files["half__.txt"] == b"name"


def test_names_that_some_systems_refuse(folder: ArtifactsFolder) -> None:
    names = ["CON", "nul.log", "com1.tar.gz", "a:b", "a?b", "A_B.txt", "end. ", "..", "x" * 300]
    files = written(folder, dict.fromkeys(names, "content"))
    assert sorted(files) == sorted(
        [
            *("_CON.txt", "_nul.log", "_com1.tar.gz", "a_b.txt", "a_b-2.txt", "A_B-3.txt", "end._"),
            *("_.txt", f"{'x' * 76}.txt"),
        ]
    )
    assert set(files.values()) == {b"content"}


def test_files_of_one_name_are_all_kept(folder: ArtifactsFolder, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.log").write_text(name, encoding="utf-8")
    files = written(folder, [tmp_path / "one" / "same.log", tmp_path / "two" / "same.log"])
    assert files == {"same.log": b"one", "same-2.log": b"two"}
