"""Names of a module that are loaded when somebody uses them (PEP 562)."""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def lazily(
    module: str, names: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a module.

    Args:
        module: Its `__name__`.
        names: Its names by the module that has them, which is given relative to its package. A name that is
            the module's own stands for that module.
    """
    sources = {name: source for source, listed in names.items() for name in listed}

    def get(name: str) -> object:
        here = sys.modules[module]
        source = sources.get(name)
        if source is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name, obj=here)
        found = import_module(source, here.__package__)
        value: object = found if source == f".{name}" else getattr(found, name)
        # From now on it is found without this function. Threads that race store the same object.
        setattr(here, name, value)
        return value

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[module]), *sources})

    return get, names_of
