"""The Socket.IO interface of the embedded daemon: commands, and connections within the process.

Commands ask the store and the agent. What events say, and who gets them, is decided there.
"""
