"""Garbage collection of a process that goes on for long."""

import gc


def settle_garbage_collection() -> None:
    """Leave what start-up made out of every collection, and collect less often.

    With the interpreter's defaults, looking through it is a sixth of the CPU of a hop.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
