"""Events taken together: the running turn, the result of a turn, and the operations that events report on.

`tracker` follows turns, `rules` checks the events of one, `texts` adds up what it streams,
`collect` folds them into the records of `results`.
Pure functions and small classes: no waiting, no IO, and no payload class by name (ask `_events.meaning`).
"""
