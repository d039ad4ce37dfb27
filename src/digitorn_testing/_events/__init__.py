"""One event: its envelope, its typed payload, and what it means.

`meaning` asks the questions, `daemon` answers them for the daemon's contract, `transitions` lists the changes
of state that it allows; `envelope` builds events, `selector` chooses them, `timeline` renders them.
Nothing here knows of a second event: turns are in `_turns`, order and duplicates in `_log`.
"""
