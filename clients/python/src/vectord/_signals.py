"""Ctrl-C while the library calls back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class CaughtSignals:
    """Within it, `raised` gets what Python's signal handlers raise, for a callback to see and the caller to raise.

    A handler runs with the next bytecode of the main thread. While the library works that is the start of a callback;
    from Python 3.11 on it comes before even a `try` that is all of the callback's body, and what it raises there is
    printed and dropped by ctypes. So for that time each handler is called through one that raises nothing. In other
    threads no handler runs, and nothing is done.
    """

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        self._replaced: dict[int, tuple[Any, Any]] = {}

    def _catching(self, handler: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def catch(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as exception:
                self.raised.append(exception)

        return catch

    def __enter__(self) -> CaughtSignals:
        if threading.current_thread() is not threading.main_thread():
            return self
        try:
            for number in signal.valid_signals():
                handler = signal.getsignal(number)
                if callable(handler):
                    mine = self._catching(handler)
                    self._replaced[number] = (handler, mine)
                    signal.signal(number, mine)
        except BaseException as exception:  # also Ctrl-C in the middle of this
            self._restore()
            if not isinstance(exception, ValueError):  # a part of a program where no handlers can be set
                raise
        return self

    def _restore(self) -> None:
        for number, (handler, mine) in self._replaced.items():
            if signal.getsignal(number) is mine:  # a handler that was called may have put another in its place
                signal.signal(number, handler)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._restore()
