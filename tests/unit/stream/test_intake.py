"""Frames enter a stream in one place."""

from digitorn_testing import ContractViolation
from digitorn_testing._stream.intake import Intake
from support.frames import token
from support.stream_parts import stream_core


def test_every_machine_is_told_of_what_is_new_and_of_no_copy() -> None:
    core, heard = stream_core(), list[tuple[str, int]]()
    intake = Intake(core.log, core.redact)
    intake.listeners = (
        lambda event: heard.append(("first", event.seq)),
        lambda event: heard.append(("second", event.seq)),
    )
    intake.take(token("x", seq=1))
    intake.take(token("x", seq=1))
    assert heard == [("first", 1), ("second", 1)]


def test_what_breaks_the_contract_closes_a_strict_log_and_shows_no_secret() -> None:
    core = stream_core(strict=True, redact=lambda text: text.replace("sec-ret", "***"))
    Intake(core.log, core.redact).take({**token("x", seq=1), "type": "sec-ret"})
    violation = core.log.closed
    assert isinstance(violation, ContractViolation)
    assert "***" in str(violation) and "sec-ret" not in f"{violation} {violation.reasons}"
    assert violation.__traceback__ is None
