"""The parts of the pytest plugin: scenarios, evidence for reports, artifacts, and the daemon under test.

Hooks and fixtures are in `pytest_plugin`, which alone imports this room. Nothing else in the package may
import pytest.
"""
