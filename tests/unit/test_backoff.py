"""The pauses of a loop of attempts."""

import random

from digitorn_testing._concurrency.backoff import Backoff, Pauses


def test_pauses_grow_to_the_longest_and_begin_again() -> None:
    pauses = Pauses(Backoff(first_pause=0.5, growth=2, longest_pause=3, jitter=0))
    assert [pauses.next() for _ in range(4)] == [0.5, 1, 2, 3]
    assert pauses.made == 4
    pauses.restart()
    assert (pauses.made, pauses.next(), pauses.made) == (0, 0.5, 1)


def test_each_pause_has_its_own_jitter() -> None:
    chances = iter([0.0, 0.5, 1.0])
    pauses = Pauses(
        Backoff(first_pause=1, growth=1, longest_pause=1, jitter=0.5), chance=lambda: next(chances)
    )
    assert [pauses.next() for _ in range(3)] == [1, 0.75, 0.5]


def test_jitter_leaves_the_random_numbers_of_tests_alone() -> None:
    random.seed(1)
    before = random.getstate()
    Pauses(Backoff(first_pause=1.0, growth=2.0, longest_pause=10.0, jitter=1.0)).next()
    assert random.getstate() == before
