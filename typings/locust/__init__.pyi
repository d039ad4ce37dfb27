# What is used of Locust here. It is not installed for the checks, since it brings a pytest plugin.
from collections.abc import Callable
from typing import Any, TypeVar

from locust.env import Environment

_F = TypeVar("_F", bound=Callable[..., object])

class User:
    abstract: bool
    host: str | None
    wait_time: Callable[..., float]
    environment: Environment
    def __init__(self, environment: Environment) -> None: ...
    def on_start(self) -> None: ...
    def on_stop(self) -> None: ...
    def context(self) -> dict[str, Any]: ...

def between(min_wait: float, max_wait: float) -> Callable[[User], float]: ...
def task(weight: int) -> Callable[[_F], _F]: ...
