"""A run of the suite fails if a library underneath complains, wherever it does."""

import os

import pytest

TESTS = r"""
    import atexit, logging, os, subprocess, sys
    import pytest

    ENDS_BADLY = [sys.executable, "-S", "-c", "raise ValueError"]

    def test_stderr(): print("packet queue is empty, aborting", file=sys.stderr)
    def test_descriptor(): os.write(2, b"Unclosed client session\n")
    def test_log(): logging.getLogger("asyncio").error("Task exception was never retrieved")
    def test_process(): subprocess.run(ENDS_BADLY, capture_output=True, text=True)
    def test_process_that_inherits(): subprocess.run(ENDS_BADLY)

    @pytest.mark.noisy("Traceback")
    def test_that_is_about_it(): subprocess.run(ENDS_BADLY, capture_output=True)

    def test_our_log(): logging.getLogger("digitorn.testing").error("Traceback (most recent call last):")
    def test_end_of_the_process(): atexit.register(os.write, 2, b"at the very end\n")
    """


@pytest.mark.timeout(300)  # processes take their time on a busy machine
def test_complaints_fail_the_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest("from support import quiet\n\ndef pytest_configure(config): quiet.watch(config)")
    pytester.makepyfile(TESTS)
    options = ("-p", "xdist.plugin", "-n", "1", "-c", os.devnull, "--rootdir=.", "-p", "no:cacheprovider")
    result = pytester.runpytest(*options)
    result.assert_outcomes(failed=5, passed=3)
    result.stdout.fnmatch_lines(["*= stderr outside of tests, which should be empty =*", "at the very end"])
    # Even if it is all that there is.
    result = pytester.runpytest(*options, "-k", "test_end")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
