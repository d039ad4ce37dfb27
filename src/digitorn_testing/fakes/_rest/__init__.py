"""The REST interface of the embedded daemon: routes, their checks, and state as the contract shows it.

Routes ask the store and the agent. Behaviour that a socket could ask for too belongs there, not here.
"""
