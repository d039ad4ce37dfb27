"""Tests that are recorded against a daemon and replayed without it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from digitorn_testing import Recording
from digitorn_testing._plugin.recordings import file_of
from digitorn_testing.fakes import FakeDaemon, FakeModel
from plugin.conftest import Run

TESTS = """
    import pytest

    @pytest.mark.parametrize("word", ["a", "A", "b/c"])
    def test_says(dev_client, session, live_stream, word):
        assert dev_client.send(session, f"say {word}", timeout=10).content == f"theirs {word}"
        assert live_stream.wait_for("message_done", timeout=10)

    class TestGroup:
        @pytest.mark.asyncio
        async def test_two(self, async_dev_client, digitorn_app, session):
            other = await async_dev_client.new_session(digitorn_app.app_id)
            for one in (other, session, other):
                assert (await async_dev_client.send(one, "say x", timeout=10)).content == "theirs x"
            assert len((await async_dev_client.get_history(other)).messages) == 4

    @pytest.mark.live
    def test_live(dev_client, session):
        dev_client.send(session, "say y", timeout=10)

    def test_embedded(dev_client, fake_model, session):
        fake_model.will_respond_with_text("ours")
        assert dev_client.send(session, "say z", timeout=10).content == "ours"

    @pytest.mark.live
    def test_skips(dev_client, session):
        dev_client.send(session, "say y", timeout=10)
        pytest.skip("not today")
"""
NAMES = [
    "recordings/test_them/TestGroup.test_two.jsonl",
    "recordings/test_them/test_live.jsonl",
    "recordings/test_them/test_says[A]-df0c6dc0.jsonl",
    "recordings/test_them/test_says[a].jsonl",
    "recordings/test_them/test_says[b_c]-eb77eb7a.jsonl",
]


@pytest.fixture
def theirs() -> Iterator[tuple[str, ...]]:
    """The options for a daemon that is not the plugin's own."""
    model = FakeModel()
    for word in ("a", "A", "b/c", "x", "y", "z"):
        model.when(contains=f"say {word}").will_respond_with_text(f"theirs {word}", times=None)
    with FakeDaemon(model=model) as daemon:
        daemon.add_app("their-app")
        yield "--digitorn-url", daemon.url, "--digitorn-token", daemon.token(), "--digitorn-app", "their-app"


def recordings(folder: Path) -> list[str]:
    """The files below a folder."""
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*.jsonl*"))


def test_tests_are_recorded_and_replayed(
    pytester: pytest.Pytester, run: Run, theirs: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_them=TESTS)
    result = run("--digitorn-record=recordings", *theirs)
    result.assert_outcomes(passed=6, skipped=1)
    result.stdout.fnmatch_lines([f"digitorn: daemon at *, recorded in {pytester.path}/recordings"])
    assert recordings(pytester.path) == NAMES
    for name in NAMES:
        recording = Recording.load(pytester.path / name, damaged="raise")
        assert recording.is_complete
        assert {one.app_id for one in recording.sessions} == {"their-app"}
    result = run("--digitorn-replay=recordings", "--deselect=test_them.py::test_skips")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines([f"digitorn: replaying the recordings in {pytester.path}/recordings"])


def test_workers_record_under_the_same_names(
    pytester: pytest.Pytester, run: Run, theirs: tuple[str, ...], xdist: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_them=TESTS.replace("@pytest.mark.asyncio\n", "@pytest.mark.anyio\n"))
    only = ("-p", "anyio", "-k", "says or two and asyncio", "-n", "2")
    run(*xdist, *only, "--digitorn-record=recordings", *theirs).assert_outcomes(passed=4)
    assert [name for name in recordings(pytester.path) if "test_two" not in name] == NAMES[2:]


def test_a_marked_test_replays_by_itself(
    pytester: pytest.Pytester, run: Run, theirs: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        test_them="""
        import pytest

        @pytest.mark.digitorn_live(repeats=3)
        @pytest.mark.digitorn_replay
        def test_by_name(dev_client, session):
            assert dev_client.send(session, "say a", timeout=10).content == "theirs a"

        @pytest.mark.digitorn_replay("recordings/test_them/test_by_name.jsonl")
        def test_by_path(dev_client, session, fake_model):
            fake_model.will_respond_with_text("never asked for")
            assert dev_client.send(session, "say a", timeout=10).content == "theirs a"
        """
    )
    run("--digitorn-record=recordings", *theirs, "-k", "by_name").assert_outcomes(passed=1)
    run("--digitorn-assert-exhausted").assert_outcomes(passed=2)
    run("--digitorn-assert-exhausted", "--digitorn-daemon=in-process").assert_outcomes(passed=2)


def test_a_missing_recording_says_how_to_make_it(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_them="""
        import pytest

        @pytest.mark.digitorn_replay
        def test_it(dev_client): pass

        @pytest.mark.digitorn_replay("mine.jsonl")
        def test_by_path(dev_client): pass
        """
    )
    result = run()
    result.assert_outcomes(errors=2)
    folder = pytester.path
    result.stdout.fnmatch_lines(
        [
            f"there is no recording {folder}/recordings/test_them/test_it.jsonl",
            f"record it against a daemon: pytest --digitorn-record={folder}/recordings --digitorn-url=URL "
            '--digitorn-app=APP "test_them.py::test_it"',
            f"there is no recording {folder}/mine.jsonl; make one with `client.record(path)`",
        ]
    )


def test_what_was_not_recorded_is_refused(
    pytester: pytest.Pytester, run: Run, theirs: tuple[str, ...]
) -> None:
    source = """
        def test_it(dev_client, session):
            dev_client.send(session, "say a", timeout=10)
    """
    pytester.makepyfile(test_them=source)
    run("--digitorn-record=recordings", *theirs).assert_outcomes(passed=1)
    pytester.makepyfile(test_them=source.replace("say a", "say b"))
    result = run("--digitorn-replay=recordings")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *Conflict: the recording *test_it.jsonl has no further answer to * 'say b'; it has 'say a'*"]
    )
    result.stdout.fnmatch_lines(["E *The test asks for something else than when it was recorded: record it*"])


def test_a_failure_does_not_replace_a_recording(
    pytester: pytest.Pytester, run: Run, theirs: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        test_them="""
        import os

        def test_it(dev_client, session):
            dev_client.send(session, "say a", timeout=10)
            assert "FAILS" not in os.environ
        """
    )
    run("--digitorn-record=recordings", *theirs).assert_outcomes(passed=1)
    good = Path("recordings/test_them/test_it.jsonl").read_bytes()
    os.environ["FAILS"] = "1"
    try:
        run("--digitorn-record=recordings", *theirs).assert_outcomes(failed=1)
    finally:
        del os.environ["FAILS"]
    assert recordings(pytester.path / "recordings/test_them") == ["test_it.failed.jsonl", "test_it.jsonl"]
    assert Path("recordings/test_them/test_it.jsonl").read_bytes() == good
    run("--digitorn-record=recordings", *theirs).assert_outcomes(passed=1)
    assert recordings(pytester.path / "recordings/test_them") == ["test_it.jsonl"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--digitorn-record=x",), "--digitorn-record needs a daemon: pass --digitorn-url or *"),
        (("--digitorn-record=x", "--digitorn-replay=x"), "--digitorn-record and --digitorn-replay exclude *"),
        (
            ("--digitorn-replay=x", "--digitorn-url=http://127.0.0.1:1"),
            "--digitorn-replay needs no daemon: *",
        ),
        (("--digitorn-replay=none",), "--digitorn-replay: there is no folder */none"),
    ],
)
def test_options_that_do_not_fit(
    pytester: pytest.Pytester, run: Run, args: tuple[str, ...], said: str
) -> None:
    result = run(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_names_of_recordings_differ_where_file_systems_do_not_tell_them_apart() -> None:
    root = Path("r")
    assert file_of(root, "a/test_x.py::T::test_y[1-2]") == root / "a/test_x/T.test_y[1-2].jsonl"
    ids = [f"test_x.py::test_y[{one}]" for one in ("a", "A", "a/b", "a:b", "é", "è", "a" * 300, "b" * 300)]
    names = [str(file_of(root, one)).lower() for one in ids]
    assert len(set(names)) == len(ids)
    assert all(name.isascii() and len(name) < 140 for name in names)
