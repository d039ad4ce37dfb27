"""The embedded daemon does what the released one does, apart from the differences in `allowed.toml`."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from digitorn_testing._plugin import options, real
from digitorn_testing.fakes import FakeDaemon, FakeModel, FakeModelServer

from .allowed import judge, read_allowed
from .compare import Difference, compare
from .scenarios import SCENARIOS, Recorded, record, write_script

# The first test waits for all recordings.
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True, slots=True)
class Both:
    """The recordings of both daemons.

    Attributes:
        real: Those of the released daemon.
        embedded: Those of the embedded daemon.
    """

    real: Recorded
    embedded: Recorded

    def differences(self, scenario: str) -> list[Difference]:
        """How the daemons differ.

        Args:
            scenario: In which scenario.
        """
        return compare(scenario, self.real[scenario], self.embedded[scenario])


@pytest.fixture(scope="module")
def both(pytestconfig: pytest.Config) -> Iterator[Both]:
    """Both daemons' recordings of all scenarios, made at the same time."""
    access = real.access(pytestconfig)
    if access is None:
        pytest.skip(f"needs the released daemon: {options.REAL}")
    run = secrets.token_hex(4)
    models = FakeModel(), FakeModel()
    for model in models:
        write_script(model)

    async def record_both(server: FakeModelServer, embedded: FakeDaemon) -> Both:
        recording = record(access["url"], access["token"], server.base_url, run, SCENARIOS)
        other = record(embedded.url, embedded.token(), server.base_url, run, SCENARIOS)
        return Both(*await asyncio.gather(recording, other))

    with FakeModelServer(models[0]) as server, FakeDaemon(model=models[1]) as embedded:
        yield asyncio.run(record_both(server, embedded))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_daemons_do_the_same(both: Both, scenario: str) -> None:
    forbidden = judge(both.differences(scenario), read_allowed()).forbidden
    assert not forbidden, "\n".join(map(str, forbidden))


def test_every_allowed_difference_still_occurs(
    both: Both, record_property: Callable[[str, object], None]
) -> None:
    allowed = read_allowed()
    found = [one for scenario in SCENARIOS for one in both.differences(scenario)]
    verdict = judge(found, allowed)
    theirs, ours = sum(map(len, both.real.values())), sum(map(len, both.embedded.values()))
    record_property(
        "comparison",
        f"{len(SCENARIOS)} scenarios; {theirs} lines of the released daemon, {ours} of the embedded one;\n"
        f"{len(found)} differences, of which {len(found) - len(verdict.forbidden)} are allowed by "
        f"{len(allowed)} entries:\n" + "\n".join(map(str, allowed)),
    )
    assert not verdict.stale, "remove from allowed.toml:\n" + "\n".join(map(str, verdict.stale))
