"""Several events together: which turn runs, what a turn came to, and the operations that events report on.

`tracker` follows turns, `rules` judges the events of one, `collect` folds them into the records of `results`.
Pure functions and small classes: no waiting, no IO, and no payload class by name (ask `_events.meaning`).
"""
