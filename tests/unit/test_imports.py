"""What importing the library brings along."""

import inspect
import subprocess
import sys

import pytest


def imported_by(statement: str) -> set[str]:
    """The top-level modules that a statement imports in a fresh interpreter."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return {name.partition(".")[0] for name in ran.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import digitorn_testing",
        "import digitorn_testing.events, digitorn_testing.models, digitorn_testing.assertions",
        "import digitorn_testing.builders",
        "import digitorn.testing",
        "import digitorn.testing.events, digitorn.testing.client",
    ],
)
def test_the_core_imports_no_extra(statement: str) -> None:
    found = imported_by(statement)
    assert "digitorn_testing" in found
    extras = {
        "fastapi",
        "uvicorn",
        "jwt",
        "pytest",
        "_pytest",
        "digitorn_codegen",
        "yaml",
        "jinja2",
        "starlette",
        "anthropic",
        "openai",
        "opentelemetry",
        # Of the event socket, with the first connection.
        "aiohttp",
        "engineio",
        "socketio",
    }
    assert found.isdisjoint(extras)


def test_every_public_name_is_there() -> None:
    import digitorn_testing
    from digitorn_testing import builders, events

    for module in (digitorn_testing, events, builders, builders.payloads):
        for name in module.__all__:
            assert hasattr(module, name), name


def test_what_builders_are_made_of_is_none_of_them() -> None:
    from digitorn_testing.builders import payloads

    public = {name for name in dir(payloads) if not name.startswith("_")}
    assert "built" not in public


def test_the_options_of_a_client_are_its_arguments() -> None:
    from digitorn_testing import AsyncDevClient, ClientOptions, DevClient

    for client in (DevClient, AsyncDevClient):
        assert set(inspect.signature(client).parameters) == set(ClientOptions.__annotations__)


def test_digitorn_is_a_namespace_that_others_may_share() -> None:
    import digitorn

    assert getattr(digitorn, "__file__", None) is None
