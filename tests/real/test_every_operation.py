"""Each operation of the contract, called on the released daemon by its stub: the answer has its type, or is an error."""

import pytest

from digitorn_testing import DevClient
from digitorn_testing._generated.operations import OPERATIONS
from digitorn_testing._plugin import real
from digitorn_testing._real.daemon import RealDaemon
from digitorn_testing.fakes import FakeModel, FakeModelServer
from real.every_operation import NOT_CALLED, REFUSED, call_every_operation, table

APP = "every"
CALL_SECONDS = 30.0


@pytest.mark.timeout(600)
def test_every_operation(own_daemon: RealDaemon) -> None:
    model = FakeModel().will_respond_with_text("Hello.", times=None)
    token = own_daemon.token("alice", is_admin=True)
    with (
        FakeModelServer(model) as server,
        DevClient(own_daemon.url, token=token, timeout=CALL_SECONDS) as client,
    ):
        app = real.app_of(APP, server)
        for module in ("memory", "workspace", "preview"):
            app = app.with_module(module)
        client.deploy_app(app, secrets={real.KEY_SECRET: server.api_key})
        session = client.new_session(APP)
        client.send(session, "Hello.", timeout=CALL_SECONDS)
        known = {"app_id": APP, "session_id": session.session_id}
        outcomes = list(call_every_operation(client, known))
    print(*table(outcomes, with_seconds=True), sep="\n")
    called = [one for one in outcomes if one.name not in NOT_CALLED]
    refused = {one.name: one.status for one in called if one.status}
    print(
        f"{len(outcomes)} operations: {len(called) - len(refused)} answers of their type, "
        f"{len(refused)} errors of the API, {len(NOT_CALLED)} not called"
    )
    assert sorted(one.name for one in outcomes) == sorted(one.id for one in OPERATIONS)
    assert [one for one in called if one.is_fault] == []
    expected = {name: status for name, (status, _) in REFUSED.items()}
    assert {one.name: (one.status, one.told) for one in called if expected.get(one.name, 0) != one.status} == {}
