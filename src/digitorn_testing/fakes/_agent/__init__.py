"""What the embedded daemon does: takes messages, runs turns, asks for approvals, publishes events.

What it says in a turn is written in `digitorn_testing._events`, which the builders use too; this room decides
when it is said. HTTP routes and socket commands do not belong here.
"""
