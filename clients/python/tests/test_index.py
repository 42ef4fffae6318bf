"""Making an index, adding, searching, getting, deleting, optimizing: what comes back, and every refusal."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import threading
import time
import unittest
import unittest.mock

import numpy as np
from support import DIMENSION, nearest, vectors

import vectord


class Making(unittest.TestCase):
    def test_settings_are_kept(self) -> None:
        index = vectord.Index(
            5, "euclidean", 24, 120, "f32", keep_vectors=True, recall=0.9, ef_search=30, seed=2**64 - 1
        )
        self.assertEqual(
            (index.dimension, index.distance, index.m, index.ef_construction, index.encoding),
            (5, "euclidean", 24, 120, "f32"),
        )
        self.assertEqual((index.recall, index.ef_search, index.keep_vectors), (0.9, 30, True))
        codes = vectord.Index(5, keep_vectors=False)
        self.assertEqual((codes.recall, codes.ef_search, codes.keep_vectors), (0.95, 20, False))
        with self.assertRaises(AttributeError):
            index.recall = 0.5  # type: ignore[misc]
        self.assertEqual((len(index), 0 in index), (0, False))
        self.assertTrue(index)  # also when it is empty
        self.assertEqual(vectord.Index(3).distance, "cosine")
        self.assertEqual(vectord.Index(3).encoding, "auto")

    def test_bad_settings_are_refused_by_name(self) -> None:
        for wrong, name in [
            ({"dimension": 0}, "dimension"),
            ({"dimension": 16385}, "dimension"),
            ({"dimension": 3.0}, "dimension"),
            ({"dimension": True}, "dimension"),
            ({"dimension": "3"}, "dimension"),
            ({"dimension": np.array(3.0)}, "dimension"),
            ({"dimension": np.array([3, 4])}, "dimension"),
            ({"distance": "dot"}, "distance"),
            ({"distance": None}, "distance"),
            ({"distance": "cos\0ine"}, "distance"),
            ({"m": 1}, "m must"),
            ({"m": 129}, "m must"),
            ({"m": -1}, "m must"),
            ({"m": 2**32}, "m must"),
            ({"ef_construction": 7}, "ef_construction"),
            ({"ef_search": 4097}, "ef_search"),
            ({"encoding": "sq9"}, "encoding"),
            ({"encoding": 8}, "encoding"),
            ({"recall": 0}, "recall"),
            ({"recall": 1.5}, "recall"),
            ({"recall": float("nan")}, "recall"),
            ({"recall": "high"}, "recall"),
            ({"seed": -1}, "seed"),
            ({"encoding": "f32", "keep_vectors": False}, "f32"),
        ]:
            with self.subTest(**wrong):
                with self.assertRaises(vectord.InvalidArgument) as caught:
                    vectord.Index(**{"dimension": 3, **wrong})
                self.assertIn(name, str(caught.exception))

    def test_an_index_that_was_not_made_is_freed(self) -> None:
        with self.assertRaises(vectord.InvalidArgument):
            vectord.Index(0)
        index = vectord.Index.__new__(vectord.Index)
        del index
        gc.collect()

    def test_it_shows_what_it_is(self) -> None:
        index = vectord.Index(3)
        index.add(None, np.eye(3))
        self.assertEqual(
            repr(index), "<vectord.Index of 3 items, dimension=3, distance='cosine', encoding='auto', ids: ints>"
        )
        index.add(["x"], np.ones((1, 3)))
        self.assertIn("ids: strs", repr(index))

    def test_what_never_changes_is_not_asked_for(self) -> None:
        """The library would wait for a write that is going on."""
        index = vectord.Index(3)
        with unittest.mock.patch.object(vectord.Index, "_figures", side_effect=AssertionError):
            self.assertIn("cosine", repr(index))
            self.assertEqual((index.m, index.ef_construction, index.ef_search), (16, 200, 20))
            with self.assertRaises(AssertionError):
                index.memory_bytes  # noqa: B018

    def test_it_is_not_copied(self) -> None:
        index = vectord.Index(3)
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with self.assertRaisesRegex(TypeError, "save"):
                attempt(index)

    def test_errors_are_errors_of_python_too(self) -> None:
        for error, parent, status in [
            (vectord.InvalidArgument, ValueError, "INVALID_ARGUMENT"),
            (vectord.NotFound, LookupError, "NOT_FOUND"),
            (vectord.OutOfMemory, MemoryError, "OUT_OF_MEMORY"),
            (vectord.LibraryNotFound, ImportError, "UNAVAILABLE"),
        ]:
            self.assertTrue(issubclass(error, parent) and issubclass(error, vectord.Error))
            self.assertEqual(error.status, status)

    def test_codes_only(self) -> None:
        base = vectors(500, 64)
        for encoding in ("auto", "sq8", "sq4"):
            index = vectord.Index(64, encoding=encoding, keep_vectors=False)
            index.add(None, base)
            got = index.get(7)
            self.assertFalse(np.array_equal(got, base[7]))
            # 4 bits of 16 steps leave an error of a sixteenth of the largest value at most
            self.assertLess(np.abs(got - base[7]).max(), 0.3)
            self.assertIn(7, index.search(base[7], 3)[0])


class Searching(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.base = vectors(2000)
        cls.queries = vectors(50, seed=2)
        cls.index = vectord.Index(DIMENSION)
        cls.index.add(None, cls.base)

    def test_exact_answers_are_those_of_numpy(self) -> None:
        for distance in ("cosine", "euclidean"):
            index = vectord.Index(DIMENSION, distance)
            index.add(None, self.base)
            for query in self.queries[:10]:
                ids, distances = index.search(query, 7, exact=True)
                wanted_ids, wanted = nearest(self.base, query, 7, distance)
                np.testing.assert_array_equal(ids, wanted_ids)
                np.testing.assert_allclose(distances, wanted, rtol=1e-12, atol=1e-15)

    def test_shapes_and_types(self) -> None:
        for queries, shape in [
            (self.queries[0], (10,)),
            (self.queries[:1], (1, 10)),
            (self.queries, (50, 10)),
            (self.queries[:0], (0, 10)),
            (self.queries[0].tolist(), (10,)),
            (self.queries[:3].tolist(), (3, 10)),
        ]:
            ids, distances = self.index.search(queries)
            self.assertEqual((ids.shape, distances.shape), (shape, shape))
            self.assertEqual((ids.dtype, distances.dtype), (np.int64, np.float64))
        for k in (1, 3, 100, np.int64(5)):
            self.assertEqual(self.index.search(self.queries[0], k)[0].shape, (k,))

    def test_recall_is_what_was_asked_for(self) -> None:
        found = self.index.search(self.queries)[0]
        exact = self.index.search(self.queries, exact=True)[0]
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist())])
        self.assertGreaterEqual(recall, 0.9)

    def test_several_queries_are_as_many_single_ones(self) -> None:
        for settings in ({}, {"k": 3}, {"ef": 40}, {"recall": 0.8}, {"exact": True}, {"k": 70, "ef": 100}):
            for threads in (1, 2, 0):
                ids, distances = self.index.search(self.queries, threads=threads, **settings)
                for i, query in enumerate(self.queries):
                    one_ids, one_distances = self.index.search(query, **settings)
                    np.testing.assert_array_equal(ids[i], one_ids)
                    np.testing.assert_array_equal(distances[i], one_distances)

    def test_the_index_is_the_same_for_any_number_of_threads(self) -> None:
        wanted = self.index.search(self.queries, ef=12)
        for threads in (1, 2, 3):
            index = vectord.Index(DIMENSION)
            index.add(None, self.base, threads)
            for a, b in zip(wanted, index.search(self.queries, ef=12)):
                np.testing.assert_array_equal(a, b)

    def test_results_are_the_callers(self) -> None:
        ids, distances = self.index.search(self.queries[0])
        kept = ids.copy(), distances.copy()
        other = self.index.search(self.queries[1])
        np.testing.assert_array_equal(ids, kept[0])
        np.testing.assert_array_equal(distances, kept[1])
        ids[:], distances[:] = -7, -7
        np.testing.assert_array_equal(self.index.search(self.queries[1])[0], other[0])
        self.assertTrue(ids.flags.owndata and ids.flags.writeable)

    def test_every_form_of_a_query_has_the_same_answer(self) -> None:
        wanted = self.index.search(self.queries[0])[0]
        wide = np.repeat(self.queries, 2, axis=1)
        unaligned = np.frombuffer(b"x" + self.queries[0].tobytes(), np.uint8)[1:].view(np.float32)
        frozen = self.queries[0].copy()
        frozen.flags.writeable = False
        for name, query in {
            "float64": self.queries[0].astype(np.float64),
            "list": self.queries[0].tolist(),
            "tuple": tuple(self.queries[0].tolist()),
            "strided": wide[0, ::2],
            "backwards": self.queries[0, ::-1].copy()[::-1],
            "column": np.asfortranarray(self.queries)[0],
            "unaligned": unaligned,
            "big-endian": self.queries[0].astype(">f4"),
            "read-only": frozen,
            "longdouble": self.queries[0].astype(np.longdouble),
            "subclass": self.queries[0].view(type("Mine", (np.ndarray,), {})),
        }.items():
            with self.subTest(name):
                np.testing.assert_array_equal(self.index.search(query)[0], wanted)
                self.assertIs(type(self.index.search(query)[0]), np.ndarray)
        many = self.index.search(self.queries)[0]
        for name, queries in {
            "fortran": np.asfortranarray(self.queries),
            "float64": self.queries.astype(np.float64),
            "strided": wide[:, ::2],
            "every other": np.repeat(self.queries, 2, axis=0)[::2],
        }.items():
            with self.subTest(name):
                np.testing.assert_array_equal(self.index.search(queries)[0], many)
        half = self.queries[0].astype(np.float16)
        np.testing.assert_array_equal(self.index.search(half)[0], self.index.search(half.astype(np.float32))[0])
        whole = np.arange(DIMENSION)
        np.testing.assert_array_equal(self.index.search(whole)[0], self.index.search(whole.astype(np.float32))[0])

    def test_bad_queries_are_refused_by_name(self) -> None:
        bad = self.queries.copy()
        bad[3, 7] = np.nan
        for queries, text in [
            (bad[3], r"vector\[7\] is not finite"),
            (bad, r"queries\[3\]: vector\[7\] is not finite"),
            (np.full(DIMENSION, np.inf), "not finite"),
            (np.zeros(DIMENSION, np.float32), "zero"),
            (np.zeros(3, np.float32), r"shape \(3,\) must be \(16,\) or \(n, 16\)"),
            (np.zeros((2, 3), np.float32), r"shape \(2, 3\)"),
            (np.zeros((1, 1, DIMENSION), np.float32), "shape"),
            (np.float32(1), "shape"),
            ([], "shape"),
            (np.zeros((0, 3)), "shape"),
            ([[1.0], [1.0, 2.0]], "queries: "),
            ("text", "dtype"),
            (None, "dtype object"),
            (np.zeros(DIMENSION, complex), r"dtype complex128.*astype\(numpy.float32\)"),
            (np.zeros(DIMENSION, bool), "dtype bool"),
            (np.zeros(DIMENSION, object), "dtype object"),
            (np.full(DIMENSION, 1e300), "beyond what float32 holds"),
        ]:
            with self.subTest(text), self.assertRaisesRegex(vectord.InvalidArgument, text):
                self.index.search(queries)
        self.assertEqual(self.index.search(self.queries[0])[0].shape, (10,))  # and the next one is answered

    def test_bad_settings_are_refused_by_name(self) -> None:
        for settings, name in [
            ({"k": 0}, "k must"),
            ({"k": -1}, "k must"),
            ({"k": 2.0}, "k must"),
            ({"k": True}, "k must"),
            ({"k": None}, "k must"),
            ({"k": [1]}, "k must"),
            ({"k": 2**32}, "k must"),
            ({"k": np.array([5, 6])}, "k must"),
            ({"k": np.array(5.0)}, "k must"),
            ({"ef": 0}, "ef must"),
            ({"ef": 4097}, "ef must"),
            ({"ef": "x"}, "ef must"),
            ({"ef": [1]}, "ef must"),
            ({"recall": 0}, "recall must"),
            ({"recall": 1.1}, "recall must"),
            ({"recall": "x"}, "recall must"),
            ({"ef": 10, "recall": 0.5}, "ef and recall"),
            ({"threads": -1}, "threads must"),
            ({"threads": 1.5}, "threads must"),
        ]:
            for queries in (self.queries[0], self.queries):
                with self.subTest(**settings, dimensions=queries.ndim):
                    with self.assertRaisesRegex(vectord.InvalidArgument, name):
                        self.index.search(queries, **settings)
        with self.assertRaisesRegex(vectord.InvalidArgument, "threads must be 0..1024"):
            self.index.search(self.queries, threads=5000)
        with self.assertRaisesRegex((vectord.InvalidArgument, vectord.OutOfMemory, MemoryError), ""):
            self.index.search(self.queries, k=2**31 - 2)

    def test_short_answers_are_filled_up(self) -> None:
        index = vectord.Index(DIMENSION)
        ids, distances = index.search(self.queries[0], 3)
        self.assertEqual((ids.tolist(), distances.tolist()), ([-1] * 3, [np.inf] * 3))
        index.add(None, self.base[:2])
        for queries in (self.queries[:2], self.queries[0]):
            ids, distances = index.search(queries, 5)
            self.assertTrue((ids[..., 2:] == -1).all() and (ids[..., :2] >= 0).all())
            self.assertTrue(np.isinf(distances[..., 2:]).all() and np.isfinite(distances[..., :2]).all())
        index.add(["x"], self.base[2:3])
        for queries in (self.queries[:2], self.queries[0]):
            ids, distances = index.search(queries, 5)
            self.assertTrue(all(i is None for i in ids[..., 3:].reshape(-1)))
            self.assertTrue(all(isinstance(i, str) for i in ids[..., :3].reshape(-1)))
            self.assertEqual(distances.shape, ids.shape)

    def test_many_combinations_of_settings(self) -> None:
        for k in range(1, 200):
            ids, _ = self.index.search(self.base[k], k)
            self.assertEqual((len(ids), ids[0]), (k, k))


class Ids(unittest.TestCase):
    def setUp(self) -> None:
        self.base = vectors(20)
        self.index = vectord.Index(DIMENSION)

    def test_rows_are_numbered(self) -> None:
        self.assertEqual(self.index.add(None, self.base), range(20))
        self.assertEqual(self.index.add(None, self.base[0]), range(20, 21))
        self.assertEqual(self.index.add(None, self.base[:0]), range(0))
        self.assertIsNone(self.index.add([50, 3], self.base[:2]))
        self.assertEqual(self.index.add(None, self.base[:2]), range(51, 53))
        self.assertEqual(len(self.index), 24)

    def test_every_form_of_ids(self) -> None:
        for ids, wanted in [
            ([5, 6], [5, 6]),
            ((5, 6), [5, 6]),
            (range(5, 7), [5, 6]),
            (iter([5, 6]), [5, 6]),
            (np.array([5, 6], np.int32), [5, 6]),
            (np.array([5, 6], np.uint64), [5, 6]),
            (np.array([5, 9, 6])[::2], [5, 6]),
            (np.array([5, 6], object), [5, 6]),
            ([np.int64(5), 6], [5, 6]),
            ([2**63 - 1, 0], [2**63 - 1, 0]),
            (["a", "b"], ["a", "b"]),
            (["5", "6"], ["5", "6"]),
            ({"a": 1, "b": 2}.keys(), ["a", "b"]),
            (np.array(["a", "bc"]), ["a", "bc"]),
            (np.array(["a", "bc"], object), ["a", "bc"]),
            ([np.str_("a"), "b"], ["a", "b"]),
            (["é", "日本語", "🙂"][:2], ["é", "日本語"]),
            (["with\0NUL", "x"], ["with\0NUL", "x"]),
            (["\n", " "], ["\n", " "]),
            (["x" * 1024, "é" * 512], ["x" * 1024, "é" * 512]),
        ]:
            with self.subTest(ids=str(ids)):
                index = vectord.Index(DIMENSION)
                index.add(ids, self.base[:2])
                self.assertEqual(index.search(self.base[0], 2)[0].tolist()[0], wanted[0])
                self.assertEqual(index.search(self.base[:2], 1)[0].tolist(), [[wanted[0]], [wanted[1]]])
                for id_, vector in zip(wanted, self.base):
                    self.assertIn(id_, index)
                    np.testing.assert_array_equal(index.get(id_), vector)
                np.testing.assert_array_equal(index.get(wanted), self.base[:2])
                self.assertEqual(index.delete(wanted), 2)
                self.assertEqual(len(index), 0)

    def test_one_id_for_one_vector(self) -> None:
        for id_ in (7, np.int32(8), "x", np.str_("y"), np.array(9), np.array("z")):
            self.index.add(id_, self.base[0])
            self.index.add(id_, self.base[:1])
        self.assertEqual(len(self.index), 6)
        self.assertEqual(self.index.get("x").shape, (DIMENSION,))
        self.assertEqual(self.index.get(["x"]).shape, (1, DIMENSION))
        self.assertEqual(self.index.get([]).shape, (0, DIMENSION))

    def test_bad_ids_are_refused(self) -> None:
        for ids, text in [
            ([1, "a"], "ints and strs in one list"),
            ([1, 2.0], r"ids\[1\] is of type float"),
            ([True, 2], r"ids\[0\] is of type bool"),
            ([None, 2], r"ids\[0\] is of type NoneType"),
            ([b"a", b"b"], r"ids\[0\] is of type bytes"),
            (b"ab", "decode"),
            (bytearray(b"ab"), "decode"),
            (True, "bool"),
            (1.5, "float"),
            (np.array([1.0, 2.0]), "dtype float64"),
            (np.array([True, False]), "dtype bool"),
            (np.array([b"a", b"b"]), "dtype"),
            (np.array([[1, 2]]), r"shape \(1, 2\)"),
            (np.array([1, 2**63], np.uint64), "give it as a str"),
            ([1, 2**63], "give it as a str"),
            ([1, -1], r"ids\[1\] is -1"),
            (["a", ""], r"ids\[1\] must have 1..1024 bytes"),
            (["a", "x" * 1025], r"ids\[1\] must have 1..1024 bytes"),
            (["a", "é" * 513], r"ids\[1\] must have 1..1024 bytes"),
            (["a", "\ud800"], "not valid Unicode"),
            ([1], "1 ids for 2 vectors"),
            ([1, 2, 3], "3 ids for 2 vectors"),
            ([], "0 ids for 2 vectors"),
            (1, "1 ids for 2 vectors"),
        ]:
            with self.subTest(ids=str(ids)), self.assertRaisesRegex(vectord.InvalidArgument, text):
                self.index.add(ids, self.base[:2])
        self.assertEqual(len(self.index), 0)
        self.assertEqual(self.index.search(self.base[0])[0].dtype, np.int64)
        self.index.add([], self.base[:0])
        self.assertEqual(len(self.index), 0)

    def test_ints_until_the_first_str(self) -> None:
        self.index.add(None, self.base[:3])
        self.index.add([10], self.base[3:4])
        self.assertEqual(self.index.search(self.base[0], 1)[0].tolist(), [0])
        self.index.add(["x"], self.base[4:5])
        ids, _ = self.index.search(self.base[0], 1)
        self.assertEqual((ids.tolist(), ids.dtype), (["0"], object))
        self.index.add([11], self.base[5:6])  # an int is short for its text
        self.assertEqual(self.index.search(self.base[5], 1)[0].tolist(), ["11"])
        np.testing.assert_array_equal(self.index.get(11), self.index.get("11"))
        self.assertTrue(11 in self.index and "11" in self.index and "011" not in self.index)
        self.index.delete("x")
        self.assertEqual(self.index.search(self.base[0], 1)[0].dtype, object)

    def test_many_long_ids(self) -> None:
        ids = [f"{i:03d}" + "é" * 500 for i in range(20)]
        self.index.add(ids, self.base)
        for k in (1, 5, 20, 30):
            found = self.index.search(self.base[3], k)[0]
            self.assertEqual(found[0], ids[3])
            self.assertEqual(set(found) - {None}, set(found) & set(ids))
        self.assertEqual(sorted(self.index.search(self.base[:2], 20)[0][1]), ids)

    def test_an_id_is_replaced(self) -> None:
        self.index.add([1, 2, 1], self.base[:3])  # the last one counts
        np.testing.assert_array_equal(self.index.get(1), self.base[2])
        self.index.add([2], self.base[5:6])
        np.testing.assert_array_equal(self.index.get(2), self.base[5])
        self.assertEqual(len(self.index), 2)
        self.assertEqual(self.index.search(self.base[5], 1)[0].tolist(), [2])

    def test_all_or_none(self) -> None:
        bad = self.base.copy()
        bad[19, 5] = np.inf
        with self.assertRaisesRegex(vectord.InvalidArgument, r"items\[19\]: vector\[5\] is not finite"):
            self.index.add(None, bad)
        with self.assertRaisesRegex(vectord.InvalidArgument, "vectors: shape"):
            self.index.add(None, self.base[:, :5])
        with self.assertRaisesRegex(vectord.InvalidArgument, "vectors: dtype"):
            self.index.add(None, self.base.astype(complex))
        with self.assertRaisesRegex(vectord.InvalidArgument, "vectors: a value lies beyond"):
            self.index.add(None, self.base.astype(np.float64) * 1e300)
        with self.assertRaisesRegex(vectord.InvalidArgument, "threads"):
            self.index.add(None, self.base, -1)
        with self.assertRaisesRegex(vectord.InvalidArgument, "threads"):
            self.index.add(None, self.base, 5000)
        self.assertEqual(len(self.index), 0)
        self.assertEqual(self.index.add(None, self.base), range(20))

    def test_every_form_of_vectors(self) -> None:
        for name, array in {
            "fortran": np.asfortranarray(self.base),
            "float64": self.base.astype(np.float64),
            "list": self.base.tolist(),
            "strided": np.repeat(self.base, 2, axis=1)[:, ::2],
            "big-endian": self.base.astype(">f4"),
        }.items():
            with self.subTest(name):
                index = vectord.Index(DIMENSION)
                index.add(None, array)
                np.testing.assert_array_equal(index.get(range(20)), self.base)

    def test_no_more_numbers(self) -> None:
        self.index.add([2**63 - 1], self.base[:1])
        with self.assertRaisesRegex(vectord.OutOfRange, "give ids"):
            self.index.add(None, self.base[:1])

    def test_get_and_delete_what_is_not_there(self) -> None:
        self.index.add(None, self.base)
        for ids, text in [
            (20, "no item 20"),
            (-1, "no item -1"),
            ([1, 99], r"ids\[1\]: there is no item 99"),
            ("x", 'no item "x"'),
            (["1", "x"], r'ids\[1\]: there is no item "x"'),
            ("", 'no item ""'),
            ("é" * 2000, "no item"),
        ]:
            with self.subTest(ids=str(ids)[:20]), self.assertRaisesRegex(vectord.NotFound, text):
                self.index.get(ids)
        for none in (20, -1, "x", "", None, 1.0, True, (1,), 2**80, "\ud800", b"1"):
            self.assertNotIn(none, self.index)
        self.assertEqual(self.index.delete([1, 1, 99, -5, 2]), 2)
        self.assertEqual(self.index.delete(["3", "x", "", "x" * 3000]), 1)
        self.assertEqual(self.index.delete([]), 0)
        self.assertEqual(self.index.delete(4), 1)
        self.assertEqual(self.index.delete("4"), 0)
        self.assertEqual(len(self.index), 16)
        with self.assertRaisesRegex(vectord.InvalidArgument, "ids"):
            self.index.delete(1.5)
        with self.assertRaisesRegex(vectord.InvalidArgument, "threads"):
            self.index.delete([1], threads=5000)
        self.assertNotIn(1, self.index.search(self.base[1], 20)[0])

    def test_sets_and_masked_arrays(self) -> None:
        """A set has no order that belongs to rows; what is masked is not meant to be there."""
        for wrong in ({"a", "b"}, frozenset((1, 2))):
            with self.assertRaisesRegex(vectord.InvalidArgument, "no order"):
                self.index.add(wrong, self.base[:2])
            with self.assertRaisesRegex(vectord.InvalidArgument, "no order"):
                self.index.get(wrong)
        masked = np.ma.masked_greater(self.base, 1.0)
        with self.assertRaisesRegex(vectord.InvalidArgument, "masked"):
            self.index.add(None, masked)
        self.index.add(None, np.ma.masked_greater(self.base, 100.0))
        self.assertEqual(self.index.delete({0, 1}), 2)

    def test_all_ids_are_listed(self) -> None:
        self.assertEqual((self.index.ids().dtype, self.index.ids().shape), (np.int64, (0,)))
        self.index.add(None, self.base)
        self.index.delete([3, 11])
        self.assertEqual(self.index.ids().tolist(), [i for i in range(20) if i not in (3, 11)])
        self.assertEqual(self.index.ids().dtype, np.int64)
        self.index.add(["é", "a\0b"], self.base[:2])
        found = self.index.ids()
        self.assertEqual((found.dtype, found.shape), (np.object_, (20,)))
        wanted = [str(i) for i in range(20) if i not in (3, 11)] + ["é", "a\0b"]
        self.assertEqual(found.tolist(), sorted(wanted, key=str.encode))

    def test_numbers_in_arrays_of_their_own(self) -> None:
        self.index.add(None, self.base)
        for _ in range(3):
            ids, _ = self.index.search(self.base[3], np.array(4), ef=np.array(20))
            self.assertEqual((len(ids), ids[0]), (4, 3))
        self.assertEqual(len(self.index.search(self.base[3], np.int64(2))[0]), 2)


class Filtering(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.base = vectors(2000)
        cls.queries = vectors(30, seed=2)
        cls.index = vectord.Index(DIMENSION)
        cls.index.add(None, cls.base)

    def test_only_these_are_found(self) -> None:
        for step in (1, 3, 40, 500):
            allowed = np.arange(0, 2000, step)
            with self.subTest(step):
                exact, distances = self.index.search(self.queries, 7, exact=True, filter=allowed)
                for i, query in enumerate(self.queries):
                    wanted, wanted_distances = nearest(self.base[allowed], query, 7)
                    found = min(7, len(allowed))
                    np.testing.assert_array_equal(exact[i][:found], allowed[wanted])
                    np.testing.assert_allclose(distances[i][:found], wanted_distances, rtol=1e-9, atol=1e-12)
                    self.assertTrue((exact[i][found:] == -1).all() and np.isinf(distances[i][found:]).all())
                ids, _ = self.index.search(self.queries, 7, filter=allowed, threads=2)
                self.assertTrue(np.isin(ids, [*allowed, -1]).all())
                self.assertEqual((ids >= 0).sum(), len(self.queries) * min(7, len(allowed)))
                self.assertGreater((ids == exact).mean(), 0.9)

    def test_one_query(self) -> None:
        ids, distances = self.index.search(self.queries[0], 5, filter=[7, 9, 7, 123456, -4])
        self.assertEqual((ids.shape, distances.shape, ids.dtype), ((5,), (5,), np.int64))
        self.assertEqual((set(ids[:2].tolist()), ids[2:].tolist()), ({7, 9}, [-1, -1, -1]))
        many, _ = self.index.search(self.queries[:1], 5, filter={9, 7})
        np.testing.assert_array_equal(many[0], ids)

    def test_forms(self) -> None:
        for allowed, wanted in [
            (7, {7}),
            ("7", {7}),
            (range(5, 8), {5, 6, 7}),
            (("5", "6", "none", ""), {5, 6}),
            (np.array(["7"]), {7}),
            (np.flatnonzero(np.arange(2000) == 12), {12}),
            ([], set()),
            (["none"], set()),
        ]:
            with self.subTest(allowed=allowed):
                ids, _ = self.index.search(self.queries[0], 10, filter=allowed)
                self.assertEqual({i for i in ids.tolist() if i >= 0}, wanted)
        for wrong in (1.5, [1, "a"], np.ones(2000, bool), b"a"):
            with self.subTest(wrong=wrong), self.assertRaisesRegex(vectord.InvalidArgument, "filter"):
                self.index.search(self.queries[0], filter=wrong)

    def test_strs(self) -> None:
        index = vectord.Index(DIMENSION)
        index.add([f"item {i}" for i in range(300)], self.base[:300])
        allowed = [f"item {i}" for i in range(0, 300, 10)]
        ids, _ = index.search(self.queries, 4, filter=allowed)
        self.assertTrue(set(ids.reshape(-1).tolist()) <= set(allowed))
        one, distances = index.search(self.queries[0], 4, filter=["item 3", "5"])
        self.assertEqual(one.tolist(), ["item 3", None, None, None])
        self.assertTrue(np.isinf(distances[1:]).all())


class Care(unittest.TestCase):
    def setUp(self) -> None:
        self.base = vectors(3000)
        self.index = vectord.Index(DIMENSION, auto_calibrate=False)
        self.index.add(None, self.base)

    def test_optimize_tells_how_far_it_is(self) -> None:
        calls: list[tuple[int, int]] = []
        self.assertTrue(self.index.optimize(lambda done, total: calls.append((done, total))))
        self.assertGreater(len(calls), 0)
        self.assertEqual(calls, sorted(calls))
        self.assertEqual(calls[-1][0], calls[-1][1])
        self.assertEqual(self.index.stats.optimized, 3000)

    def test_optimize_ends_at_a_signal(self) -> None:
        """Ctrl-C while the library works, not while Python does: the handler runs as a callback begins."""
        rows = 20_000
        index = vectord.Index(DIMENSION, auto_calibrate=False)
        index.add(None, vectors(rows))
        handler = signal.getsignal(signal.SIGINT)

        def interrupt_when_under_way(before: int) -> None:
            while index.stats.optimized == before:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)

        for progress in (None, lambda done, total: None):
            before = index.stats.optimized
            helper = threading.Thread(target=interrupt_when_under_way, args=(before,))
            helper.start()
            try:
                with self.assertRaises(KeyboardInterrupt):
                    index.optimize(progress, threads=1)
            finally:
                helper.join()
            self.assertLess(before, index.stats.optimized)
            self.assertLess(index.stats.optimized, rows)
            self.assertIs(signal.getsignal(signal.SIGINT), handler)

    def test_optimize_leaves_other_handlers_as_they_were_set(self) -> None:
        calls: list[int] = []

        def once(number: int, frame: object) -> None:  # puts another in its place, as a first Ctrl-C may
            calls.append(number)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)

        old = signal.signal(signal.SIGUSR1, once)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        self.assertTrue(self.index.optimize(lambda done, total: os.kill(os.getpid(), signal.SIGUSR1)))
        self.assertEqual(calls, [signal.SIGUSR1])
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_IGN)

        done: list[bool] = []
        helper = threading.Thread(target=lambda: done.append(self.index.optimize()))
        helper.start()
        helper.join()
        self.assertEqual(done, [True])

    def test_optimize_can_be_ended(self) -> None:
        self.assertFalse(self.index.optimize(lambda done, total: False))
        self.assertLess(self.index.stats.optimized, 3000)

        def fail(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.index.optimize(fail)
        self.assertTrue(self.index.optimize(threads=2))
        self.assertEqual(self.index.stats.optimized, 3000)
        with self.assertRaisesRegex(vectord.InvalidArgument, "threads"):
            self.index.optimize(threads=5000)

    def test_calibrate(self) -> None:
        self.assertEqual(self.index.stats.calibrated_at, 0)
        self.index.calibrate()
        stats = self.index.stats
        self.assertEqual(stats.calibrated_at, 3000)
        self.assertTrue(0.9 <= stats.calibrated_recall <= 1.0)
        with self.assertRaisesRegex(vectord.InvalidArgument, "threads"):
            self.index.calibrate(threads=5000)

    def test_calibrates_by_itself(self) -> None:
        index = vectord.Index(DIMENSION)
        index.add(None, self.base)
        self.assertEqual(index.stats.calibrated_at, 3000)

    def test_figures(self) -> None:
        stats = self.index.stats
        self.assertEqual((stats.items, len(self.index)), (3000, 3000))
        self.assertGreater(self.index.memory_bytes, 3000 * DIMENSION * 4)
        self.assertIn(stats.encoding, ("f32", "sq8", "sq4", "f16", "bf16"))
        self.assertGreater(stats.distances, 0)
        with self.assertRaises(AttributeError):
            stats.items = 1  # type: ignore[misc]


if __name__ == "__main__":
    unittest.main()
