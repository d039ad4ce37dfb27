"""Faults that hit by chance, for runs that disturb everything a little."""

import random
from typing import Any

from digitorn_testing.fakes import EventFaults, Fault
from digitorn_testing.fakes._faults.rules import Rule


def by_chance(fault: Fault, probability: float, chance: random.Random) -> Fault:
    """Lets a fault hit only some of what fits it.

    Args:
        fault: The fault, which has hit nothing so far.
        probability: From 0 to 1.
        chance: Where the random numbers come from.
    """
    rule: Rule[Any] = fault._rule
    fits = rule.fits
    rule.fits = lambda what: chance.random() < probability and fits(what)
    return fault


def shuffled(faults: EventFaults, probability: float, chance: random.Random) -> list[Fault]:
    """Delays some events by different times, so that they come in another order.

    Args:
        faults: The events.
        probability: From 0 to 1.
        chance: Where the random numbers come from.
    """
    return [by_chance(faults.delay(seconds), probability / 3, chance) for seconds in (0.004, 0.012, 0.03)]
