"""A recording of the released daemon as a page."""

from pathlib import Path

from digitorn_testing import DevClient, SessionHandle, write_page
from digitorn_testing.fakes import FakeModel
from real.turns import send
from support.pages import read_page
from support.secrets_scan import scan


def test_a_recording_of_the_released_daemon_is_a_page(
    dev_client: DevClient, session: SessionHandle, fake_model: FakeModel, tmp_path: Path
) -> None:
    fake_model.will_call_tool("Bash", {"command": "echo hi"})
    fake_model.will_respond_with_text("Done.")
    with dev_client.record(tmp_path / "run.jsonl"):
        version = dev_client.get_health().version
        result = send(dev_client, session, "say hi")
    page = read_page(write_page(tmp_path / "run.jsonl", tmp_path / "run.html"))
    assert [note for note in page.notes if note[0] != "info"] == []
    assert f"<dd>{version}, contract " in page.source
    assert {"Turns", "User", "Model text", "Tools", "REST", "Other"} <= set(page.column("lane"))
    assert ("Bash", "completed") in {(bar["name"], bar["state"]) for bar in page.index["bars"]}
    assert result.correlation_id in page.index["turns"]
    token = dev_client._get_auth_token()
    assert token is not None
    scan([token], {"the page": lambda: page.everything})
