"""The modules of the package import each other in no circle, not even for types or through packages."""

from collections.abc import Iterator, Mapping

import grimp


def circles(package: str) -> list[list[str]]:
    """The circles of modules that a package has.

    An import counts wherever it stands, also under `if TYPE_CHECKING` and inside a function. Importing a
    module also imports the packages that it lies in, unless the importing module lies in them as well.
    """
    graph = grimp.build_graph(package, exclude_type_checking_imports=False)
    imports: dict[str, set[str]] = {}
    for module in graph.modules:
        found = set(graph.find_modules_directly_imported_by(module))
        faces = {face for one in found for face in packages_of(one, package) if not is_inside(module, face)}
        imports[module] = (found | faces) - {module}
    return sorted(strongly_connected(imports))


def packages_of(module: str, root: str) -> Iterator[str]:
    """The packages that a module lies in, without the root."""
    parts = module.split(".")
    for length in range(len(root.split(".")) + 1, len(parts)):
        yield ".".join(parts[:length])


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def strongly_connected(edges: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The groups of two or more nodes that lead to each other."""
    reached = {node: reachable(edges, node) for node in edges}
    seen: set[str] = set()
    for node in edges:
        if node not in seen and node in reached[node]:
            group = {other for other in reached[node] if node in reached.get(other, set())}
            seen |= group
            yield sorted(group)


def reachable(edges: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for node in edges.get(waiting.pop(), ()):
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


def test_the_modules_have_no_circles() -> None:
    assert circles("digitorn_testing") == []


def test_a_circle_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert list(strongly_connected(edges)) == [["a", "b", "c"]]
