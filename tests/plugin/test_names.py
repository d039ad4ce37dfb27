"""The plugin beside other fixtures, markers and plugins, and what may be overridden."""

import sys

import pytest

from digitorn_testing.fakes import FakeDaemon
from plugin.conftest import OPTIONS, Run

THEIR_PLUGIN = """
    import pytest

    @pytest.fixture(name="session")
    def a_session_of_a_database(): return "their session"

    @pytest.fixture
    def fake_model(): return "their model"
    """

THEIR_CONFTEST = """
    import pytest

    @pytest.fixture
    def approvals(): return ["their approval"]

    @pytest.fixture
    def dev_client(): return "their client"
    """

BOTH = """
    import pytest

    def test_theirs(session, fake_model, approvals, dev_client):
        assert (session, fake_model) == ("their session", "their model")
        assert (approvals, dev_client) == (["their approval"], "their client")

    def test_ours(
        session, fake_daemon, digitorn_session, digitorn_model, digitorn_client, digitorn_stream,
        digitorn_approvals, digitorn_daemon, digitorn_app_builder,
    ):
        assert session == "their session"
        assert digitorn_daemon is fake_daemon
        digitorn_model.will_call_tool("Bash", {}, result={}, requires_approval=True)
        digitorn_model.will_respond_with_text("done")
        assert digitorn_client.send(digitorn_session, "hi", timeout=10).content == "done"
        assert digitorn_stream.wait_for("message_done", timeout=10)
        assert digitorn_approvals.request_count == 1

    @pytest.mark.live
    def test_their_marker(session, approvals, dev_client): pass

    @pytest.mark.live
    def test_our_marker(digitorn_session): raise AssertionError

    @pytest.mark.live
    def test_our_marker_at_run_time(request):
        request.getfixturevalue("digitorn_session")
        raise AssertionError

    @pytest.mark.digitorn_live
    def test_our_own_marker(): raise AssertionError
    """


@pytest.fixture
def their_plugin(pytester: pytest.Pytester) -> tuple[str, ...]:
    """The options that load another plugin with a fixture `session`, before this one."""
    pytester.makepyfile(their_plugin=THEIR_PLUGIN)
    pytester.syspathinsert()
    return ("-p", "their_plugin")


def test_short_names_that_are_taken(
    pytester: pytest.Pytester, run: Run, their_plugin: tuple[str, ...]
) -> None:
    pytester.makeconftest(THEIR_CONFTEST)
    pytester.makepyfile(test_both=BOTH)
    result = pytester.runpytest(*their_plugin, *OPTIONS, "-rs", "--strict-markers", "test_both.py")
    result.assert_outcomes(passed=3, skipped=3)
    result.stdout.fnmatch_lines(
        ["SKIPPED *: needs a daemon: pass --digitorn-url or --digitorn-real, or set *"]
    )


def test_without_short_names(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize(
            "name", ["session", "fake_model", "fake_daemon", "dev_client", "approvals", "live_stream"]
        )
        def test_short(request, name):
            with pytest.raises(pytest.FixtureLookupError):
                request.getfixturevalue(name)

        def test_long(digitorn_client, digitorn_session, digitorn_model):
            digitorn_model.will_respond_with_text("hello")
            assert digitorn_client.send(digitorn_session, "hi", timeout=10).content == "hello"
        """
    )
    run("-o", "digitorn_short_names=false").assert_outcomes(passed=7)


def test_both_names_are_the_same(pytester: pytest.Pytester, run: Run) -> None:
    pairs = {
        "fake_model": "digitorn_model",
        "fake_model_server": "digitorn_model_server",
        "fake_daemon": "digitorn_daemon",
        "approvals": "digitorn_approvals",
        "dev_client": "digitorn_client",
        "session": "digitorn_session",
        "app_builder": "digitorn_app_builder",
        "turn_builder": "digitorn_turn_builder",
        "session_builder": "digitorn_session_builder",
    }
    checks = "\n".join(f"    assert {short} is {long}" for short, long in pairs.items())
    pytester.makepyfile(f"def test_it({', '.join([*pairs, *pairs.values()])}):\n{checks}")
    run().assert_outcomes(passed=1)


ASKS = """
    def test_it(dev_client, session, fake_model, live_stream):
        fake_model.will_respond_with_text("hello")
        assert dev_client.send(session, "hi", timeout=10).content == "hello"

    async def test_it_async(async_dev_client, session, fake_model, fake_daemon):
        fake_model.will_respond_with_text("hello")
        assert async_dev_client.daemon_url == fake_daemon.url
        assert (await async_dev_client.send(session, "hi", timeout=10)).content == "hello"

    def test_that_does_not_name_it(dev_client, session): pass
    """


@pytest.mark.parametrize(
    ("decorator", "keyword", "passed"),
    [
        ("@pytest.fixture(params=[True, False])", "", 6),
        ("@pytest.fixture(scope='module')", "", 3),
        ("@pytest.fixture(scope='session', params=[True, False])", "", 6),
        ("@pytest.fixture", "async ", 3),
        (
            "@pytest_asyncio.fixture(loop_scope='module', scope='module', params=[True, False])",
            "async ",
            6,
        ),
    ],
    ids=["parametrized", "wider", "parametrized-wider", "async", "async-parametrized-wider"],
)
def test_an_override_of_the_daemon(
    pytester: pytest.Pytester, run: Run, decorator: str, keyword: str, passed: int
) -> None:
    pytester.makeconftest(
        f"""
        import pytest, pytest_asyncio
        from digitorn.testing.fakes import FakeDaemon

        {decorator}
        {keyword}def fake_daemon(request):
            with FakeDaemon(listen=getattr(request, "param", True)) as daemon:
                yield daemon
        """
    )
    pytester.makepyfile(ASKS)
    run("-o", "asyncio_mode=auto").assert_outcomes(passed=passed)


def test_overrides_are_what_other_fixtures_use(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest(
        """
        import pytest
        from digitorn.testing import Decision, DevClient
        from digitorn.testing.fakes import FakeDaemon, FakeModel

        @pytest.fixture
        def fake_model(fake_model):
            return fake_model.will_call_tool("Bash", {}, requires_approval=True).will_respond_with_text("no")

        @pytest.fixture
        def approvals(): return lambda request: Decision(False, "never")
        """
    )
    pytester.makepyfile(
        """
        import pytest
        from digitorn.testing import SessionHandle
        from digitorn.testing.fakes import FakeDaemon, FakeModel

        def test_script_and_approvals(dev_client, session, live_stream):
            assert dev_client.send(session, "hi", timeout=10).content == "no"
            assert not live_stream.wait_for("tool_call", timeout=10).payload.success

        class TestInner:
            @pytest.fixture
            def fake_daemon(self, fake_daemon):
                with FakeDaemon(model=FakeModel().will_respond_with_text("inner")) as daemon:
                    yield daemon

            @pytest.fixture
            def session(self, dev_client, digitorn_app):
                return dev_client.new_session(digitorn_app.app_id)

            def test_it(self, dev_client, session, digitorn_session, live_stream, fake_daemon):
                assert dev_client.daemon_url == fake_daemon.url
                assert live_stream.session_id == session.session_id != digitorn_session.session_id
        """
    )
    run().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("options", "scheme"),
    [
        ((), "http"),
        (("-o", "digitorn_daemon=in-process"), "other"),
        (("--digitorn-daemon=in-process",), "other"),
        (("-o", "digitorn_daemon=real", "--digitorn-daemon=sockets"), "http"),
    ],
)
def test_which_daemon_is_an_option(
    pytester: pytest.Pytester, run: Run, options: tuple[str, ...], scheme: str
) -> None:
    pytester.makepyfile(
        f"""
        def test_it(dev_client, session, fake_model, fake_daemon):
            fake_model.will_respond_with_text("hello")
            assert dev_client.send(session, "hi", timeout=10).content == "hello"
            assert fake_daemon.url.startswith("http://127.0.0.1:") is {scheme == "http"}
        """
    )
    run(*options).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--digitorn-daemon=in-process", "--digitorn-real"),
            "*in-process and --digitorn-real name two daemons",
        ),
        (("--digitorn-daemon=real", "--digitorn-url=http://x"), "*-url and --digitorn-real name two daemons"),
        (("-o", "digitorn_daemon=docker"), "*digitorn_daemon is 'docker', not sockets, in-process or real"),
    ],
)
def test_options_that_contradict_each_other(
    pytester: pytest.Pytester, run: Run, options: tuple[str, ...], said: str
) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_the_setting_gives_way_to_a_running_daemon(
    pytester: pytest.Pytester, run: Run, given: FakeDaemon
) -> None:
    pytester.makepyfile(f"def test_it(dev_client): assert dev_client.daemon_url == {given.url!r}")
    run("-o", "digitorn_daemon=real", "--digitorn-url", given.url).assert_outcomes(passed=1)


LEFTOVER = """
    import pytest

    @pytest.fixture(autouse=True)
    def script(fake_model):
        return fake_model.will_respond_with_text("unused")

    def test_leaves_it(): pass

    def test_takes_it(dev_client, session):
        dev_client.send(session, "hi", timeout=10)

    @pytest.mark.digitorn_assert_exhausted
    def test_must_take_it(): pass

    @pytest.mark.digitorn_assert_exhausted(False)
    def test_may_leave_it(): pass

    def test_that_fails_says_nothing_of_it(): raise AssertionError("first of all")
    """


@pytest.mark.parametrize(
    ("options", "errors"),
    [
        ((), 1),
        (("--digitorn-assert-exhausted",), 2),
        (("-o", "digitorn_assert_exhausted=true"), 2),
    ],
)
def test_answers_that_nobody_asked_for(
    pytester: pytest.Pytester, run: Run, options: tuple[str, ...], errors: int
) -> None:
    pytester.makepyfile(LEFTOVER)
    result = run(*options)
    result.assert_outcomes(passed=4, failed=1, errors=errors)
    result.stdout.fnmatch_lines(["*ScriptMismatch: never asked for:*", "*unused*"])


def test_a_run_without_it_imports_nothing_for_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            heavy = {"aiohttp", "engineio", "socketio", "httpx", "httpcore2", "pydantic", "fastapi", "anyio"}
            assert not heavy & set(sys.modules)
        """
    )
    pytester.makeini("[pytest]")
    only = ("-p", "digitorn_testing.pytest_plugin", "-p", "no:cacheprovider", "-c", "tox.ini")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.run(sys.executable, "-m", "pytest", *only).assert_outcomes(passed=1)
