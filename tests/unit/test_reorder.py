"""Order out of any arrival."""

import random

from hypothesis import given
from hypothesis import strategies as st

from digitorn_testing._log.reorder import ReorderBuffer


def test_what_is_in_order_is_released_at_once() -> None:
    numbers: ReorderBuffer[str] = ReorderBuffer()
    assert [numbers.arrive(seq, str(seq)) for seq in (1, 2, 3)] == [["1"], ["2"], ["3"]]
    assert numbers.frontier == 3


def test_what_is_behind_a_missing_number_is_held_until_it_comes() -> None:
    numbers: ReorderBuffer[str] = ReorderBuffer(since=4)
    assert numbers.arrive(7, "7") == []
    assert numbers.arrive(6, "6") == []
    assert numbers.is_holding
    assert numbers.arrive(5, "5") == ["5", "6", "7"]
    assert not numbers.is_holding
    assert not numbers.has_gap(0)


def test_a_number_without_an_item_closes_its_gap() -> None:
    numbers: ReorderBuffer[str] = ReorderBuffer()
    assert numbers.arrive(2, "2") == []
    assert numbers.arrive(1, None) == ["2"]


def test_a_number_that_is_given_up_may_come_all_the_same() -> None:
    numbers: ReorderBuffer[str] = ReorderBuffer()
    for seq in (3, 5, 9):
        assert numbers.arrive(seq, str(seq)) == []
    assert numbers.give_up(5) == ["3", "5"]
    assert numbers.is_holding
    assert numbers.has_gap(0)
    assert numbers.give_up(9) == ["9"]
    assert numbers.has_gap(5)
    assert not numbers.has_gap(8)
    for seq in (7, 6, 8, 1, 4, 2):
        assert numbers.arrive(seq, str(seq)) == [str(seq)]
    assert not numbers.has_gap(0)


def test_what_is_below_a_new_beginning_is_no_gap() -> None:
    numbers: ReorderBuffer[str] = ReorderBuffer()
    assert numbers.arrive(5, "5") == []
    assert numbers.arrive(9, "9") == []
    assert numbers.arrive(12, "12") == []
    assert numbers.begin_at(10) == ["5", "9"]
    assert numbers.has_gap(0)
    assert numbers.arrive(11, "11") == ["11", "12"]
    assert not numbers.has_gap(0)


def test_a_huge_gap_costs_nothing() -> None:
    numbers: ReorderBuffer[str] = ReorderBuffer()
    assert numbers.arrive(10**18, "far") == []
    assert numbers.give_up(10**18) == ["far"]
    assert numbers.arrive(10**17, "near") == ["near"]
    assert numbers.has_gap(0)


@given(st.randoms(use_true_random=False), st.integers(1, 60), st.floats(0, 0.5), st.integers(1, 10))
def test_nothing_is_lost_nothing_comes_twice_and_order_breaks_only_for_the_given_up(
    chance: random.Random, count: int, missing: float, patience: int
) -> None:
    sent = [seq for seq in range(1, count + 1) if chance.random() >= missing]
    arrival = list(sent)
    chance.shuffle(arrival)
    numbers: ReorderBuffer[int] = ReorderBuffer()
    released: list[int] = []
    given_up = 0
    for place, seq in enumerate(arrival):
        late = seq <= given_up
        before = len(released)
        released.extend(numbers.arrive(seq, seq))
        assert not late or released[before:] == [seq]
        if place % patience == 0:
            given_up = max(given_up, seq)
            released.extend(numbers.give_up(seq))
    released.extend(numbers.give_up(count))
    assert sorted(released) == sent
    assert numbers.has_gap(0) == (len(sent) < max(sent, default=0))


@given(st.permutations(list(range(1, 30))))
def test_without_giving_up_the_order_is_complete(arrival: list[int]) -> None:
    numbers: ReorderBuffer[int] = ReorderBuffer()
    assert [one for seq in arrival for one in numbers.arrive(seq, seq)] == list(range(1, 30))
