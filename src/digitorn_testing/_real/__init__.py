"""The released daemon as a process of its own: its Python, its environment, its auth service, its life.

Nothing here knows pytest, a client, an app or a model, and nothing imports the daemon's distribution.
`auth_service.py` and `guard.py` run by themselves as scripts, so they import nothing of this package.
"""
