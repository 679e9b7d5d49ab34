"""The libraries for matrices below NumPy (BLAS), kept to one thread each.

How a product is shared out among threads can change its last bits. And threads of OpenBLAS wait for
each other in a busy loop: where other processes want the cores, too, that costs several times more.
"""

from functools import lru_cache

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # ships no types


@lru_cache(maxsize=1)
def one_thread_a_product() -> None:
    """From now on, in this process.

    For good: given back between two questions, the threads were woken by the next small product,
    and waited busily for another, which took five times the CPU of the question.
    """
    ThreadpoolController().limit(limits=1, user_api="blas")
