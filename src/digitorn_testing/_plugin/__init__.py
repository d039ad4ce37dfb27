"""The parts of the pytest plugin: fixtures, options, scenarios, evidence for reports, and artifacts.

Hooks are in `pytest_plugin`, which alone imports this room. Nothing else in the package may
import pytest.
"""
