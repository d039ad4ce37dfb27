"""How turns ended of which no event says so."""

from digitorn_testing._turns.endings import TurnEndings


def test_a_listener_is_told_what_was_noted_before_and_since() -> None:
    endings, heard = TurnEndings(), list[tuple[str, str]]()
    endings.note("a", "failed")

    def listen(turn: str, ending: str) -> None:
        heard.append((turn, ending))

    endings.listen(listen)
    endings.note("b", "cancelled")
    endings.unlisten(listen)
    endings.note("c", "failed")
    assert heard == [("a", "failed"), ("b", "cancelled")]
    assert (endings.get("c"), "c" in endings) == ("failed", True)
    assert (endings.get("d"), "d" in endings) == (None, False)


def test_the_oldest_endings_are_forgotten_up_to_one_that_is_kept() -> None:
    endings = TurnEndings()
    for turn in ("a", "b", "c", "d"):
        endings.note(turn, "failed")
    endings.forget_oldest(2, keep={"b"})
    assert [turn in endings for turn in "abcd"] == [False, True, True, True]
    endings.forget_oldest(2, keep=())
    assert [turn in endings for turn in "abcd"] == [False, False, True, True]
