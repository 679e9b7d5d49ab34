"""The libraries for matrices below NumPy (BLAS), kept to one thread each for a while.

How a product is shared out among threads can change its last bits. And threads of OpenBLAS wait for
each other in a busy loop: where other processes want the cores, too, it takes three times the CPU.
"""

import threading
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # ships no types


class OneThread:
    """A context: while anybody is inside, in any thread, products are made by one thread each.

    It holds for the whole process; the last one out restores what was.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._libraries: Any = None
        self._before: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._libraries is None:  # a millisecond, and not before there are some
                self._libraries = ThreadpoolController()
            if self._inside == 0:
                self._before = self._libraries.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._before.restore_original_limits()


one_thread = OneThread()
"""The process's own."""
