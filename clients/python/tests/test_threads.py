"""Several Python threads on one index, and a fork."""

from __future__ import annotations

import os
import signal
import threading
import time
import unittest
import warnings

import numpy as np
from support import DIMENSION, vectors

import vectord


def run_all(jobs: list) -> list[BaseException]:
    """Runs each job on a thread of its own, and returns what they raised."""
    raised: list[BaseException] = []

    def guarded(job) -> None:
        try:
            job()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


class Threads(unittest.TestCase):
    def setUp(self) -> None:
        self.base = vectors(1000)
        self.index = vectord.Index(DIMENSION)
        self.index.add(None, self.base)

    def test_searches_do_not_share_results(self) -> None:
        def search(first: int) -> None:
            for i in range(first, 1000, 8):
                ids, distances = self.index.search(self.base[i])
                assert ids[0] == i and distances[0] < 1e-6, (i, ids)
                ids, _ = self.index.search(self.base[i], 3, ef=20 + i % 3)
                assert len(ids) == 3 and ids[0] == i, (i, ids)

        self.assertEqual(run_all([lambda first=first: search(first) for first in range(8)]), [])

    def test_failures_do_not_share_texts(self) -> None:
        def fail(place: int) -> None:
            query = self.base[0].copy()
            query[place] = np.nan
            for _ in range(100):
                try:
                    self.index.search(query)
                except vectord.InvalidArgument as error:
                    assert f"vector[{place}]" in str(error), error
                else:
                    raise AssertionError("no error")

        self.assertEqual(run_all([lambda place=place: fail(place) for place in range(4)]), [])

    def test_searches_beside_writes(self) -> None:
        stop = threading.Event()

        def search() -> None:
            while not stop.is_set():
                ids, _ = self.index.search(self.base[:40], threads=2)
                assert (ids[:, 0] == np.arange(40)).all(), ids[:, 0]
                assert self.index.search(self.base[7])[0][0] == 7
                assert 7 in self.index and len(self.index) >= 1000

        def write() -> None:
            try:
                for _ in range(5):
                    numbers = self.index.add(None, vectors(300, seed=3))
                    assert self.index.delete(numbers) == 300
            finally:
                stop.set()

        self.assertEqual(run_all([search, search, write]), [])
        self.assertEqual(len(self.index), 1000)

    def test_the_first_str_while_others_search(self) -> None:
        stop = threading.Event()

        def search() -> None:
            while not stop.is_set():
                for queries in (self.base[3], self.base[3:5]):
                    first = self.index.search(queries, 5)[0].reshape(-1)[0]
                    assert first in (3, "3"), first

        def write() -> None:
            try:
                time.sleep(0.02)
                self.index.add([f"near-{i}" for i in range(50)], self.base[:50] * np.float32(1.001) + np.float32(1e-3))
                assert self.index.search(self.base[3], 5)[0].dtype == object
            finally:
                stop.set()

        self.assertEqual(run_all([search, search, write]), [])

    def test_the_interpreter_goes_on_meanwhile(self) -> None:
        """The lock of the interpreter is not held: another thread counts while one adds."""
        counted = []

        def count() -> None:
            while not done.is_set():
                counted.append(1)
                time.sleep(0.001)

        done = threading.Event()
        counter = threading.Thread(target=count)
        counter.start()
        before = len(counted)
        start = time.monotonic()
        while time.monotonic() - start < 0.1:
            self.index.add(None, vectors(500, seed=4), threads=1)
        done.set()
        counter.join()
        self.assertGreater(len(counted) - before, 5)

    def test_a_forked_child_searches_too(self) -> None:
        wanted = self.index.search(self.base, threads=2)[0]  # the pool has threads that the child has not
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # what it warns of is what is tested
            child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(60)
                code = 0 if np.array_equal(self.index.search(self.base, threads=2)[0], wanted) else 1
            finally:
                os._exit(code)
        self.assertEqual(os.waitpid(child, 0)[1], 0)


if __name__ == "__main__":
    unittest.main()
