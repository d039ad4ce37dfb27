"""A test on the released daemon is recorded, replayed without it, and compared."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from digitorn_testing import Recording, compare
from digitorn_testing._cli.app import app
from digitorn_testing._log.recorded import line_of
from plugin.conftest import OPTIONS

TEST = """
    import pytest

    @pytest.mark.parametrize("name", ["one", "other"])
    def test_tidies(dev_client, fake_model, session, name):
        fake_model.when(contains="tidy").will_call_tool("Bash", {"command": "echo one"})
        fake_model.when(tool_result_of="Bash", contains="one").will_call_tool("Bash", {"command": "echo two"})
        fake_model.when(tool_result_of="Bash", contains="two").will_respond_with_text("It is tidy.")
        fake_model.when(contains="again").will_respond_with_text("It was tidy.")
        result = dev_client.send(session, "tidy up", timeout=60)
        assert result.content == "It is tidy."
        assert [one.params["command"] for one in result.tool_calls] == ["echo one", "echo two"]
        assert dev_client.send(session, "again", timeout=60).content == "It was tidy."
        with dev_client.open_event_stream(session) as stream:
            assert len(stream.log.turns) == 2
        listed = dev_client.list_sessions(session.app_id).sessions
        assert session.session_id in [one.session_id for one in listed]
"""


def without_call(recording: Path, command: str, edited: Path) -> None:
    """Removes the events of a tool call from a recording, as somebody with an editor would."""
    records = [json.loads(line) for line in recording.read_bytes().splitlines()]
    ids = {
        record["frame"]["payload"]["id"]
        for record in records
        if record["record"] == "event"
        and record["frame"].get("payload", {}).get("params") == {"command": command}
    }
    assert ids
    kept = [
        {name: value for name, value in record.items() if name != "crc"}
        for record in records
        if not any(json.dumps(one) in json.dumps(record) for one in ids) or record["record"] == "header"
    ]
    edited.write_bytes(b"".join(map(line_of, kept)))


@pytest.mark.timeout(300)  # It starts a daemon of its own.
def test_a_recording_of_the_real_daemon_replays_and_compares(
    pytester: pytest.Pytester, pytestconfig: pytest.Config
) -> None:
    pytester.makepyfile(test_it=TEST)
    folder = pytestconfig.invocation_params.dir / str(pytestconfig.getoption("--digitorn-real-dir"))
    recorded = pytester.runpytest_subprocess(
        *OPTIONS, "--digitorn-real", f"--digitorn-real-dir={folder}", "--digitorn-record=recordings"
    )
    recorded.assert_outcomes(passed=2)
    pytester.runpytest_subprocess(*OPTIONS, "--digitorn-replay=recordings").assert_outcomes(passed=2)

    # Two runs of the same test differ in nothing but what they took.
    kept, again = (
        pytester.path / f"recordings/test_it/test_tidies[{name}].jsonl" for name in ("one", "other")
    )
    compare(kept, again).raise_for_changes(ignore=["tokens", "cost", "time"])

    edited = pytester.path / "edited.jsonl"
    without_call(kept, "echo two", edited)
    found = compare(kept, Recording.load(edited, damaged="raise"))
    (change,) = found.without("tokens", "cost", "time")
    assert (change.kind, change.what, change.before) == ("tool_lost", "Bash", {"command": "echo two"})
    done = CliRunner().invoke(app, ["diff", str(kept), str(edited)])
    assert done.exit_code == 1
    assert "1 tool_lost" in done.output
