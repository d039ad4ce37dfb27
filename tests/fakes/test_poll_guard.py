"""Clients that go on asking for what is not there."""

from digitorn_testing.fakes import FakeDaemon, FakeModel
from digitorn_testing.fakes._rest.poll_guard import PollGuard
from support.recorder import APP, http


async def test_the_thirty_first_question_for_a_missing_path_is_refused() -> None:
    with FakeDaemon(model=FakeModel()) as daemon:
        daemon.add_app(APP)
        async with http(daemon) as client:
            path = f"/api/apps/{APP}/sessions/none"
            statuses = [(await client.get(path)).status_code for _ in range(30)]
            assert statuses == [404] * 30
            refused = await client.get(path)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
            assert refused.json()["error"].startswith("zombie_poll_blocked: ")
            assert (await client.get(f"{path}-other")).status_code == 404


def test_misses_are_forgotten_after_a_minute() -> None:
    now = 0.0
    guard = PollGuard(lambda: now)
    for _ in range(30):
        guard.missed("here", "/path")
    assert guard.refuses("here", "/path")
    assert not guard.refuses("there", "/path")
    now = 59.9
    assert guard.refuses("here", "/path")
    now = 60.0
    assert not guard.refuses("here", "/path")
