"""Tests that run several times and pass if enough of the repeats do."""

import pytest

from digitorn_testing.fakes import FakeDaemon
from plugin.conftest import Run

TESTS = """
    import pytest
    from digitorn.testing import digitorn_live

    runs = []
    made = []

    @pytest.fixture(scope="module")
    def wide():
        made.append("wide")

    @pytest.fixture
    def number(wide, session):
        runs.append(session.session_id)
        return len(set(runs))

    @digitorn_live(repeats=5, at_least=4)
    def test_often(number, dev_client, session):
        dev_client.send(session, "hi", timeout=10)
        assert made == ["wide"]
        assert len(dev_client.get_history(session).messages) == 2
        assert number not in FAILING, f"the agent has failed\\nin run {number}"

    def test_once():
        assert made == ["wide"]
        assert len(set(runs)) == 5
"""


@pytest.fixture
def theirs(given: FakeDaemon) -> tuple[str, ...]:
    """The options for a daemon that is not the plugin's own."""
    return "--digitorn-url", given.url, "--digitorn-token", given.token(), "--digitorn-app", "their-app"


def test_enough_repeats_pass(pytester: pytest.Pytester, run: Run, theirs: tuple[str, ...]) -> None:
    pytester.makepyfile(TESTS.replace("FAILING", "{2}"))
    result = run("-v", "-rP", *theirs)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_often PASSED *",
            "repeat 2: AssertionError: the agent has failed",
            "*digitorn: pass rates*",
            "*::test_often: 4 of 5 passed, at least 4 needed",
        ]
    )


@pytest.mark.parametrize("more", [(), ("-x", "-k", "often")], ids=["all", "stops at the first failure"])
def test_too_few_repeats_pass(
    pytester: pytest.Pytester, run: Run, theirs: tuple[str, ...], more: tuple[str, ...]
) -> None:
    pytester.makepyfile(TESTS.replace("FAILING", "{2, 5}"))
    result = run(*more, *theirs, "--digitorn-artifacts=artifacts")
    result.assert_outcomes(failed=1, passed=0 if more else 1)
    result.stdout.fnmatch_lines(
        [
            "3 of 5 passed, at least 4 needed",
            "repeat 2: AssertionError: the agent has failed",
            "repeat 5: AssertionError: the agent has failed",
            "*digitorn: the first failure, repeat 2*",
            "E * the agent has failed",
            "*digitorn: events*",
            "FAILED *::test_often - Failed: 3 of 5 passed*",
        ]
    )
    kept = [one.name.rpartition("-")[0] for one in (pytester.path / "artifacts").iterdir()]
    assert sorted(kept) == [f"test_too_few_repeats_pass.py__test_often_repeat_{one}" for one in (2, 5)]


def test_repeats_in_every_kind_of_test(
    pytester: pytest.Pytester, run: Run, theirs: tuple[str, ...], xdist: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        """
        import pytest

        runs, ended = [], []

        @pytest.fixture
        def fails_once():
            yield
            ended.append(None)
            assert len(ended) != 2, "the teardown has failed"

        @pytest.mark.digitorn_live(repeats=3)
        @pytest.mark.asyncio
        async def test_async(async_dev_client, session):
            assert (await async_dev_client.send(session, "hi", timeout=10)).content == "theirs"

        @pytest.mark.digitorn_live(repeats=2)
        @pytest.mark.anyio
        async def test_anyio(async_dev_client, session):
            assert (await async_dev_client.send(session, "hi", timeout=10)).content == "theirs"

        @pytest.mark.digitorn_live(repeats=2, at_least=1)
        @pytest.mark.parametrize("number", [1, 2])
        class TestThem:
            def test_it(self, number, session):
                runs.append(number)
                assert runs.count(2) != 1, "two"

        @pytest.mark.digitorn_live(repeats=3, at_least=2)
        def test_skips(session):
            runs.append(None)
            if len(runs) % 3 == 0:
                pytest.skip("no quota")

        @pytest.mark.digitorn_live(repeats=3, at_least=3)
        def test_teardown(fails_once):
            pass

        @pytest.mark.digitorn_live(repeats=3, at_least=3)
        def test_all_skip(session):
            pytest.skip("never")
        """
    )
    plugins = ("-p", "anyio", "-p", "pytest_asyncio.plugin", "-W", "ignore::pytest.PytestDeprecationWarning")
    result = run(*xdist, *plugins, "-k", "not trio", "-n", "1", *theirs)
    result.assert_outcomes(passed=5, failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["2 of 3 passed, at least 3 needed", "repeat 2 (teardown): AssertionError: the teardown has failed"]
    )
    result.stdout.fnmatch_lines(["*digitorn: pass rates*", "*::test_async: 3 of 3 passed, at least 3 needed"])


def test_without_a_daemon_nothing_is_repeated(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(TESTS.replace("FAILING", "{2}"))
    result = run("-k", "often")
    result.assert_outcomes(skipped=1)
    result.stdout.no_fnmatch_line("*pass rates*")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("repeats=0", "repeats must be a whole number of 1 or more, not 0"),
        ("repeats=3, at_least=4", "at_least must be a whole number from 1 to repeats (3), not 4"),
        ("5, times=3", "unknown arguments: 5, times"),
    ],
)
def test_a_marker_that_says_nothing_sensible(
    pytester: pytest.Pytester, run: Run, arguments: str, said: str
) -> None:
    pytester.makepyfile(f"""
        import pytest

        @pytest.mark.digitorn_live({arguments})
        def test_it(): pass
    """)
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *::test_it: digitorn_live(repeats=…, at_least=…): {said}"])
