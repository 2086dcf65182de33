"""Rows shared out among threads that each run torch on one thread.

torch's own threads meet after every operation, and spin until the last one is there. With thousands of small operations
an image, on a machine with something else to do, that costs more than the operations.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch


@cache
def one_thread_workers(count: int) -> ThreadPoolExecutor:
    """`count` threads in which torch uses one thread each; the caller's own number of threads stays `count`."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="strips")
    everybody = threading.Barrier(count)

    def start() -> None:
        # torch keeps the number for each thread, and takes the last one set when a thread first asks.
        torch.get_num_threads()
        torch.set_num_threads(1)
        everybody.wait()

    for future in [pool.submit(start) for _ in range(count)]:
        future.result()
    torch.set_num_threads(count)
    return pool


def in_row_chunks(work: Callable[[int, int], None], rows: int, step: int, threads: int) -> None:
    """Calls `work(begin, end)` for shares of `rows` that start at multiples of `step`, one share a thread.

    Raises:
        Exception: the first that `work` raised, after all shares have ended.
    """
    strips = -(-rows // step)
    count = min(threads, strips)
    if count < 2:
        work(0, rows)
        return
    bounds = [min(strips * k // count * step, rows) for k in range(count + 1)]
    workers = one_thread_workers(threads)
    futures = [workers.submit(work, *share) for share in pairwise(bounds)]
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
