"""Fixtures and options of the pytest plugin."""

import sys

import pytest

from digitorn_testing import _tracking
from digitorn_testing.fakes import FakeDaemon
from plugin.conftest import OPTIONS, Run


def of(daemon: FakeDaemon) -> tuple[str, ...]:
    """The options that name a daemon."""
    return ("--digitorn-url", daemon.url, "--digitorn-token", daemon.token(), "--digitorn-app", "their-app")


def test_the_fixtures_are_of_one_daemon(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        from digitorn.testing import Decision, DevClient, RecordingApprovals
        from digitorn.testing.events import MessageDone, ToolCall

        def test_together(dev_client, fake_daemon, fake_model, session, live_stream, approvals):
            assert isinstance(dev_client, DevClient)
            assert isinstance(approvals, RecordingApprovals)
            assert dev_client.approvals is approvals
            assert fake_daemon.url == dev_client.daemon_url == session.daemon_url
            assert fake_daemon.model is fake_model
            approvals.will_decide(Decision(False, "no"))
            fake_model.will_call_tool("Bash", {}, result={}, requires_approval=True)
            fake_model.will_respond_with_text("denied")
            assert dev_client.send(session, "go", timeout=10).content == "denied"
            assert not live_stream.wait_for(ToolCall, timeout=10).payload.success
            assert live_stream.wait_for(MessageDone, timeout=10)
            assert approvals.decisions == [Decision(False, "no")]

        def test_without_naming_the_fakes(dev_client, session):
            assert dev_client.list_sessions(session.app_id).total == 0

        urls = []

        def test_a_daemon_is_one_tests_alone(fake_daemon, fake_model, dev_client):
            assert fake_model.request_count == 0
            assert dev_client.list_sessions(fake_daemon.add_app("x").app_id).total == 0
            urls.append(fake_daemon.url)

        test_and_another_ones = test_a_daemon_is_one_tests_alone
        """
    )
    run().assert_outcomes(passed=4)
    # Nobody watches any more.
    assert _tracking._trackers == ()


def test_what_the_script_does_not_answer_fails_the_test(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        def test_it(dev_client, fake_model, session):
            dev_client.send(session, "hello?", timeout=10)
        """
    )
    result = run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ScriptMismatch*"])
    assert "hello?" in result.stdout.str()


def test_builders_are_of_the_tests_app(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest
        from digitorn.testing import assertions

        @pytest.fixture
        def digitorn_app(fake_daemon, app_builder):
            return fake_daemon.deploy(app_builder.with_system_prompt("Rhyme."))

        def test_apps(dev_client, fake_model, session):
            fake_model.will_respond_with_text("So be it, sit.")
            dev_client.send(session, "Hi", timeout=10)
            assert fake_model.last_request.system_prompt == "Rhyme."

        def test_turns(turn_builder, session_builder, session):
            events = turn_builder.user("hi").tool("Bash", {}).text("done").build()
            assert assertions.tool_called(events, "Bash")
            log = session_builder.turn(turn_builder.user("hi").text("done")).log()
            assert {one.app_id for one in [*events, *log]} == {session.app_id}
        """
    )
    run().assert_outcomes(passed=2)


def test_a_daemon_that_is_given(
    pytester: pytest.Pytester, run: Run, given: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        f"""
        def test_it(dev_client, session, live_stream):
            assert dev_client.daemon_url == {given.url!r}
            assert session.app_id == "their-app"
            assert dev_client.send(session, "hi", timeout=10).content == "theirs"

        def test_a_test_of_the_embedded_one_stays_one(fake_model, dev_client, session):
            fake_model.will_respond_with_text("ours")
            assert dev_client.daemon_url != {given.url!r}
            assert dev_client.send(session, "hi", timeout=10).content == "ours"
        """
    )
    result = run(*of(given))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"digitorn: daemon at {given.url}"])
    result.stdout.no_fnmatch_line(f"*{given.token()[:20]}*")
    monkeypatch.setenv("DIGITORN_DAEMON_URL", given.url)
    monkeypatch.setenv("DIGITORN_TOKEN", given.token())
    monkeypatch.setenv("DIGITORN_APP", "their-app")
    run().assert_outcomes(passed=2)


def test_sessions_on_a_given_daemon_are_deleted_unless_their_test_failed(
    pytester: pytest.Pytester, run: Run, given: FakeDaemon
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(autouse=True)
        def begun(dev_client, session):
            dev_client.send(session, "hi", timeout=10)

        def test_passes(): pass
        def test_deletes_it_itself(dev_client, session): dev_client.delete(session)
        def test_fails(session): raise AssertionError("left=" + session.session_id)
        """
    )
    result = run(*of(given))
    result.assert_outcomes(passed=2, failed=1)
    with given.client() as client:
        (left,) = client.list_sessions("their-app").sessions
    result.stdout.fnmatch_lines([f"*left={left.session_id}"])


def test_an_app_is_needed_for_a_session(pytester: pytest.Pytester, run: Run, given: FakeDaemon) -> None:
    pytester.makepyfile("def test_it(session): pass")
    result = run("--digitorn-url", given.url, "--digitorn-token", given.token())
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pass --digitorn-app, set $DIGITORN_APP, or override*"])
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def digitorn_app(dev_client):
            return dev_client.app("their-app")
        """
    )
    run("--digitorn-url", given.url, "--digitorn-token", given.token()).assert_outcomes(passed=1)


def test_live_tests_are_skipped_without_a_daemon(
    pytester: pytest.Pytester, run: Run, given: FakeDaemon
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.live
        def test_live(dev_client):
            dev_client.list_sessions("their-app")

        def test_other(dev_client): pass
        """
    )
    result = run("-rs", "--strict-markers")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["SKIPPED * test_live_tests*: needs a daemon: pass --digitorn-url or --digitorn-real, or set *"]
    )
    run(*of(given)).assert_outcomes(passed=2)


ASYNCHRONOUS = """
    import pytest
    from digitorn.testing import AsyncDevClient

    {mark}
    async def test_it(async_dev_client, fake_model, session, approvals):
        assert isinstance(async_dev_client, AsyncDevClient)
        assert async_dev_client.approvals is approvals
        fake_model.will_call_tool("Bash", {{}}, result={{}}, requires_approval=True)
        fake_model.will_respond_with_text("hello")
        async with await async_dev_client.open_event_stream(session) as stream:
            assert (await async_dev_client.send(session, "hi", timeout=10)).content == "hello"
            assert await stream.wait_for("message_done", timeout=10)
        assert approvals.request_count == 1

    {fixture}
    async def greeted(async_dev_client, fake_model, session):
        fake_model.will_respond_with_text("hello").will_respond_with_text("bye")
        await async_dev_client.send(session, "hi", timeout=10)
        yield session
        # The client is still there, and in the same loop.
        assert (await async_dev_client.send(session, "bye", timeout=10)).content == "bye"

    {mark}
    async def test_with_a_fixture_of_ones_own(async_dev_client, greeted):
        assert (await async_dev_client.get_session(greeted)).message_count == 3
"""


@pytest.mark.parametrize(
    ("mark", "fixture", "options"),
    [
        ("@pytest.mark.asyncio", "@__import__('pytest_asyncio').fixture", ["-o", "asyncio_mode=strict"]),
        ("", "@pytest.fixture", ["-o", "asyncio_mode=auto"]),
        (
            "@pytest.mark.asyncio(loop_scope='module')",
            "@__import__('pytest_asyncio').fixture(loop_scope='module')",
            ["-o", "asyncio_mode=strict"],
        ),
        (
            "@pytest.mark.asyncio",
            "@__import__('pytest_asyncio').fixture(loop_scope='session')",
            ["-o", "asyncio_mode=strict", "-o", "asyncio_default_test_loop_scope=session"],
        ),
        ("@pytest.mark.anyio", "@pytest.fixture", ["-o", "asyncio_mode=strict"]),
        ("@pytest.mark.anyio", "@pytest.fixture", ["-p", "no:asyncio", "-c", "/dev/null", "-W", "error"]),
    ],
    ids=[
        "asyncio-strict",
        "asyncio-auto",
        "asyncio-module-loop",
        "asyncio-session-loop",
        "anyio",
        "anyio-alone",
    ],
)
def test_the_asynchronous_client(
    pytester: pytest.Pytester, run: Run, mark: str, fixture: str, options: list[str]
) -> None:
    pytester.makepyfile(ASYNCHRONOUS.format(mark=mark, fixture=fixture))
    run(*options, "--rootdir=.").assert_outcomes(passed=2)


def test_the_asynchronous_client_needs_something_that_runs_it(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile("def test_it(async_dev_client): pass")
    result = run("-p", "no:asyncio", "-c", "/dev/null", "--rootdir=.")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*async_dev_client needs pytest-asyncio, or a test that anyio runs*"])


def test_without_the_extra_of_the_embedded_daemon(pytester: pytest.Pytester, given: FakeDaemon) -> None:
    pytester.makepyfile("def test_it(dev_client): assert dev_client.list_sessions('their-app')")
    pytester.makeconftest("import sys; sys.modules['fastapi'] = None")
    command = [sys.executable, "-m", "pytest", *OPTIONS]
    result = pytester.run(*command)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*digitorn.testing.fakes needs the extra*daemon*; to use another daemon, pass --digitorn-url*"]
    )
    pytester.run(*command, *of(given)).assert_outcomes(passed=1)


def test_the_plugin_may_be_named_more_than_once(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest("pytest_plugins = ['digitorn_testing.pytest_plugin']")
    pytester.makepyfile("def test_it(dev_client): pass")
    run().assert_outcomes(passed=1)
