"""Answers made up from the contract's types, always the same for an operation."""

import threading
import zlib
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import create_model

from digitorn_testing._generated._runtime import Model, RestOperation

if TYPE_CHECKING:
    from polyfactory.factories.pydantic_factory import ModelFactory

_RESULT: Final = "result"

# The library's generator of random values is shared, and so is what pydantic builds.
_MAKING = threading.Lock()


def example_of(operation: RestOperation[Any]) -> Any:
    """A result that keeps to the contract, as a JSON value.

    Everything that may be there is there, and no error where there need be none.

    Args:
        operation: The operation; it must have a result that is read as JSON.
    """
    with _MAKING:
        return _made(operation.id, operation)


@cache
def _made(name: str, operation: RestOperation[Any]) -> Any:
    fields: dict[str, Any] = {_RESULT: (operation.result, ...)}
    model = create_model(f"Example_{name}", __base__=Model, **fields)
    model.model_rebuild()
    factory = _factory()
    factory.seed_random(zlib.crc32(name.encode()))
    return factory.create_factory(model).build().to_wire()[_RESULT]


@lru_cache(maxsize=1)
def _factory() -> "type[ModelFactory[Any]]":
    # Imported late: many tests never ask for an example.
    from polyfactory.factories.pydantic_factory import ModelFactory
    from polyfactory.field_meta import FieldMeta
    from polyfactory.utils.predicates import is_optional

    class Example(ModelFactory[Model]):
        """Makes one example of a class: every member, every list with one item."""

        __is_base_factory__ = True
        __by_name__ = True
        __allow_none_optionals__ = False
        __use_defaults__ = False

        @classmethod
        def process_kwargs(cls, **kwargs: Any) -> dict[str, Any]:
            found = super().process_kwargs(**kwargs)
            # An error that is not there need not be allowed to be null.
            fields = cls.__model__.model_fields
            return {n: v for n, v in found.items() if v is not None or fields[n].is_required()}

        @classmethod
        def get_field_value(cls, field_meta: FieldMeta, *args: Any, **kwargs: Any) -> Any:
            # It is the answer of an operation that did what it should.
            if field_meta.name.endswith("error") and is_optional(field_meta.annotation):
                return None
            # Values that can be read in a failing test's output; a count of one is right for every list.
            if not field_meta.constraints:
                if field_meta.annotation in (str, Any):
                    return field_meta.name or "text"
                if field_meta.annotation in (int, float):
                    return field_meta.annotation(1)
            return super().get_field_value(field_meta, *args, **kwargs)

    return Example
