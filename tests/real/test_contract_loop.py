"""The contract against the released daemon: its own document, and what a client records."""

from pathlib import Path

import pytest

from digitorn_codegen._cli import main
from digitorn_codegen._learn import learn
from digitorn_codegen._sides import read_side
from digitorn_testing import DevClient, SessionHandle
from digitorn_testing.fakes import FakeModel
from real.turns import send

SCHEMA = Path(__file__).parents[2] / "schema"


def test_the_daemon_has_no_document_to_pull(
    dev_client: DevClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", dev_client.daemon_url]) == 2
    assert "answers 500 Internal Server Error, not its document" in capsys.readouterr().err


def test_what_a_client_records_fits_the_contract(
    dev_client: DevClient, session: SessionHandle, fake_model: FakeModel, tmp_path: Path
) -> None:
    fake_model.will_respond_with_text("Done.", times=None)
    recording = tmp_path / "session.jsonl"
    with dev_client.record(recording):
        send(dev_client, session, "Hello.")
        dev_client.get_history(session)
    learned = learn(read_side(SCHEMA), [recording])
    harmless = ("undeclared", "unseen", "default")
    misfits = {
        title: kinds
        for title, kinds in learned.differences.items()
        if any(kind not in harmless for kind in kinds)
    }
    assert (misfits, learned.drafts, learned.unknown, learned.skipped) == ({}, {}, [], [])
    assert learned.counts["events"] > 3
    assert learned.counts["calls"] > 1
