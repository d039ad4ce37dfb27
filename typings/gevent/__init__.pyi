from collections.abc import Callable
from typing import TypeVarTuple

_Ts = TypeVarTuple("_Ts")

def signal_handler(signalnum: int, handler: Callable[[*_Ts], object], *args: *_Ts) -> object: ...
