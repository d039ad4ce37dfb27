"""The daemon's own OpenAPI document against the contract's."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from contract.document import openapi
from digitorn_testing._generated.operations import OPERATIONS
from digitorn_testing.fakes import FakeDaemon
from digitorn_testing.fakes._rest.fallback import ANSWERED_BY_EXAMPLE

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")

Node = dict[str, Any]


class Document:
    """An OpenAPI document, read the same way whoever wrote it."""

    def __init__(self, root: Node) -> None:
        self.root = root

    def operations(self) -> Iterator[tuple[tuple[str, str], Node, list[Node]]]:
        """Each operation with its key and its parameters, those of its path included."""
        for path, item in self.root["paths"].items():
            for method in METHODS:
                if method in item:
                    operation = item[method]
                    shared = [*item.get("parameters", ()), *operation.get("parameters", ())]
                    yield (method, path), operation, [self.resolved(one) for one in shared]

    def resolved(self, node: Node) -> Node:
        """A node with its reference followed; what stands beside the reference wins."""
        if "$ref" not in node:
            return node
        found: Any = self.root
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        base = self.resolved(found)
        properties = {**base.get("properties", {}), **beside.pop("properties", {})}
        return {**base, **beside, "properties": properties} if properties else {**base, **beside}

    def properties(self, node: Node) -> dict[str, Node]:
        """The members of a shape, those of its bases included."""
        node = self.resolved(node)
        found: dict[str, Node] = {}
        for part in node.get("allOf", ()):
            found.update(self.properties(part))
        found.update(node.get("properties", {}))
        return found

    def required(self, node: Node) -> set[str]:
        """The members that a shape must have."""
        node = self.resolved(node)
        found = set(node.get("required", ()))
        for part in node.get("allOf", ()):
            found |= self.required(part)
        return found

    def branches(self, node: Node) -> list[Node]:
        """A shape's alternatives, null left out."""
        node = self.resolved(node)
        options = node.get("oneOf") or node.get("anyOf")
        if not options:
            return [node]
        return [leaf for one in options for leaf in self.branches(one) if leaf.get("type") != "null"]

    def shape(self, node: Node) -> object:
        """The names in a shape, as deep as objects and lists go; None where anything may stand."""
        shapes = [self._shape(one) for one in self.branches(node)]
        named = [one for one in shapes if one is not None]
        return named[0] if len(named) == 1 else (named or None)

    def _shape(self, node: Node) -> object:
        if node.get("type") == "array":
            return [self.shape(node.get("items", {}))]
        properties = self.properties(node)
        return sorted(properties) if properties else None


def parameters(found: list[Node]) -> set[tuple[str, str, bool]]:
    return {(one["name"], one["in"], bool(one.get("required", False))) for one in found}


def body(document: Document, operation: Node) -> tuple[object, ...] | None:
    """Media type, members and needed members of a request body."""
    if "requestBody" not in operation:
        return None
    request = document.resolved(operation["requestBody"])
    ((media, content),) = request["content"].items()
    (schema,) = document.branches(content["schema"])
    members = sorted(document.properties(schema))
    return bool(request.get("required", False)), media, members, sorted(document.required(schema))


def result(document: Document, operation: Node) -> object:
    """The shape of an answer; of `data` where there is an envelope."""
    content = operation["responses"]["200"]["content"]["application/json"]["schema"]
    for branch in document.branches(content):
        properties = document.properties(branch)
        if "success" not in properties or "data" not in properties:
            return document.shape(branch)
        shape = document.shape(properties["data"])
        if shape is not None:
            return shape
    return None


@pytest.fixture(scope="module")
def contract() -> Document:
    return Document(openapi())


@pytest.fixture(scope="module")
def embedded() -> Document:
    with FakeDaemon() as daemon:
        return Document(httpx.get(f"{daemon.url}/openapi.json").json())


Key = tuple[str, str]
Operations = dict[Key, tuple[Node, list[Node]]]


def operations_of(document: Document) -> Operations:
    return {key: (operation, found) for key, operation, found in document.operations()}


def by_example(operation: Node) -> bool:
    """Whether the daemon has no behaviour for an operation of its document."""
    return ANSWERED_BY_EXAMPLE in operation


def differences(wanted: dict[Key, object], found: dict[Key, object]) -> dict[Key, tuple[object, object]]:
    return {key: (wanted[key], found[key]) for key in wanted if wanted[key] != found[key]}


def test_the_operations_are_the_same(contract: Document, embedded: Document) -> None:
    def ids(document: Document) -> dict[tuple[str, str], str]:
        return {key: operation["operationId"] for key, operation, _ in document.operations()}

    assert ids(embedded) == ids(contract)


def served(embedded: Document) -> Operations:
    """The operations of the daemon that have a behaviour."""
    return {key: one for key, one in operations_of(embedded).items() if not by_example(one[0])}


def test_the_core_is_served_really(contract: Document, embedded: Document) -> None:
    real = {operation["operationId"] for operation, _ in served(embedded).values()}
    tags = {"messages", "approvals", "queue"}
    core = {one["operationId"] for one, _ in operations_of(contract).values() if tags & set(one["tags"])}
    assert {*core, "get_health", "get_liveness", "get_readiness"} <= real
    assert len(real) == 89


def test_parameters(contract: Document, embedded: Document) -> None:
    wanted: dict[Key, object] = {k: parameters(found) for k, (_, found) in operations_of(contract).items()}
    found: dict[Key, object] = {k: parameters(found) for k, (_, found) in operations_of(embedded).items()}
    assert differences(wanted, found) == {}


def needs_token(security: Any) -> bool:
    """Whether there is no way in without one; an empty requirement is such a way."""
    return bool(security) and {} not in security


def test_security(contract: Document, embedded: Document) -> None:
    wanted: dict[Key, object] = {
        key: needs_token(one.get("security", contract.root["security"]))
        for key, (one, _) in operations_of(contract).items()
    }
    found: dict[Key, object] = {
        key: needs_token(one.get("security", [])) for key, (one, _) in operations_of(embedded).items()
    }
    assert differences(wanted, found) == {}


def test_request_bodies(contract: Document, embedded: Document) -> None:
    real = served(embedded)
    wanted: dict[Key, object] = {key: body(contract, operations_of(contract)[key][0]) for key in real}
    found: dict[Key, object] = {key: body(embedded, one) for key, (one, _) in real.items()}
    assert differences(wanted, found) == {}


def test_results(contract: Document, embedded: Document) -> None:
    json = {one.id for one in OPERATIONS if one.reading == "json"}
    real = {key: one for key, one in served(embedded).items() if one[0]["operationId"] in json}
    wanted: dict[Key, object] = {key: result(contract, operations_of(contract)[key][0]) for key in real}
    assert None not in wanted.values()
    found: dict[Key, object] = {key: result(embedded, served(embedded)[key][0]) for key in wanted}
    assert differences(wanted, found) == {}
