"""Compares a contract with the OpenAPI document of a server."""

import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ._errors import SettingsError
from ._sides import Operation, Side, body_members, operations_of, parameters_of

_SECONDS = 15.0


@contextmanager
def fetched(source: str) -> Generator[Path]:
    """The file or folder that a source names; a URL is fetched first.

    Args:
        source: A path, or the URL of an OpenAPI document or of a server that has one at `/openapi.json`.

    Raises:
        SettingsError: Nothing can be fetched there.
    """
    if not re.match(r"https?://", source):
        yield Path(source)
        return
    # A comparison of two files does without it.
    import httpx

    url = source if re.search(r"\.(json|ya?ml)$", source) else f"{source.rstrip('/')}/openapi.json"
    try:
        answer = httpx.get(url, timeout=_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SettingsError(f"{url}: {error}") from error
    if not answer.is_success:
        raise SettingsError(
            f"{url}: the server answers {answer.status_code} {answer.reason_phrase}, not its document; "
            "get the document in another way and pass its file instead of the URL"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"openapi{Path(url).suffix}"
        path.write_bytes(answer.content)
        yield path


def disagreements(contract: Side, server: Side) -> list[str]:
    """Differences between a contract and a server, one per line. Ignores more precise types in the contract.

    Operations are matched by method and path, whatever path parameters are called; parameters and members
    of bodies by name.

    Args:
        contract: The curated contract.
        server: What the server's own document says.
    """
    ours = {_key(*key): (key, operation) for key, operation in operations_of(contract).items()}
    theirs = {_key(*key): (key, operation) for key, operation in operations_of(server).items()}
    lines = [f"only in the contract: {' '.join(ours[key][0])}" for key in ours if key not in theirs]
    lines += [f"only on the server: {' '.join(theirs[key][0])}" for key in theirs if key not in ours]
    for key in [key for key in ours if key in theirs]:
        title = " ".join(ours[key][0])
        mine, other = ours[key][1], theirs[key][1]
        for what, left, right in (
            ("parameter", _parameters(contract, mine), _parameters(server, other)),
            ("member of the body", body_members(contract, mine), body_members(server, other)),
        ):
            lines += _named(title, what, left, right)
    return lines


def _parameters(side: Side, operation: Operation) -> dict[str, bool]:
    """The parameters of an operation but those of its path, and whether each is required."""
    return {
        name: parameter.value.get("required") is True
        for name, parameter in parameters_of(side, operation).items()
        if not name.startswith("path ")
    }


def _named(title: str, what: str, ours: dict[str, bool], theirs: dict[str, bool]) -> list[str]:
    lines = [f"{title}: {what} only in the contract: {name}" for name in ours if name not in theirs]
    lines += [f"{title}: {what} only on the server: {name}" for name in theirs if name not in ours]
    for name in [name for name in ours if name in theirs and ours[name] != theirs[name]]:
        says = "required" if theirs[name] else "optional"
        lines.append(f"{title}: {what} {name} is {says} on the server, not in the contract")
    return lines


def _key(method: str, path: str) -> tuple[str, str]:
    return method, re.sub(r"\{[^}]*\}", "{}", path)
