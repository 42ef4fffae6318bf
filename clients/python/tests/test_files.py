"""Saving and loading, and snapshots of the service with their metadata."""

from __future__ import annotations

import json
import os
import unittest

import numpy as np
from support import DIMENSION, FRAMES, FolderTest, vectors

import vectord


class Files(FolderTest):
    def test_an_index_comes_back(self) -> None:
        base, queries = vectors(500), vectors(20, seed=2)
        for ids in (None, range(1000, 1500), [f"é{i}" for i in range(500)]):
            for distance in ("cosine", "euclidean"):
                index = vectord.Index(DIMENSION, distance, 12, 80)
                index.add(ids, base)
                path = self.folder / "a.lhv1"
                index.save(path)
                loaded = vectord.Index.load(path)
                self.assertIs(type(loaded), vectord.Index)
                self.assertEqual(
                    (len(loaded), loaded.dimension, loaded.distance, loaded.m, loaded.ef_construction),
                    (500, DIMENSION, distance, 12, 80),
                )
                for exact in (True, False):
                    a, b = index.search(queries, exact=exact), loaded.search(queries, exact=exact)
                    if exact:
                        np.testing.assert_array_equal(a[0], b[0])
                        np.testing.assert_array_equal(a[1], b[1])
                    self.assertEqual(a[0].dtype, b[0].dtype)
                first = index.search(base[3], 1)[0][0]
                np.testing.assert_array_equal(loaded.get(first), base[3])

    def test_rows_go_on_above_the_ids_of_the_file(self) -> None:
        index = vectord.Index(DIMENSION)
        index.add(None, vectors(10))
        index.save(self.folder / "a")
        self.assertEqual(vectord.Index.load(self.folder / "a").add(None, vectors(2)), range(10, 12))

    def test_strs_that_are_numbers(self) -> None:
        index = vectord.Index(DIMENSION)
        index.add(["1", "2"], vectors(2))
        index.save(self.folder / "a")
        self.assertEqual(vectord.Index.load(self.folder / "a").search(vectors(1)[0], 1)[0].tolist(), [1])
        loaded = vectord.Index.load(self.folder / "a", ids="str")
        self.assertEqual(loaded.search(vectors(1)[0], 1)[0].tolist(), ["1"])
        self.assertEqual(loaded.search(vectors(2), 1)[0].tolist(), [["1"], ["2"]])
        with self.assertRaisesRegex(vectord.InvalidArgument, "ids must be"):
            vectord.Index.load(self.folder / "a", ids="int")

    def test_settings_of_a_load(self) -> None:
        index = vectord.Index(64)
        index.add(None, vectors(300, 64))
        index.save(self.folder / "a")
        loaded = vectord.Index.load(self.folder / "a", encoding="f32", recall=0.9, seed=3, threads=1)
        self.assertEqual((loaded.encoding, loaded.stats.encoding), ("f32", "f32"))
        small = vectord.Index.load(self.folder / "a", encoding="sq8", keep_vectors=False)
        self.assertFalse(np.array_equal(small.get(0), index.get(0)))
        for wrong, text in [
            ({"encoding": "sq9"}, "encoding"),
            ({"recall": 2}, "recall"),
            ({"seed": -1}, "seed"),
            ({"threads": -1}, "threads"),
            ({"threads": 5000}, "threads"),
        ]:
            with self.assertRaisesRegex(vectord.InvalidArgument, text):
                vectord.Index.load(self.folder / "a", **wrong)

    def test_paths(self) -> None:
        index = vectord.Index(DIMENSION)
        index.add(None, vectors(3))
        for path in (str(self.folder / "str"), self.folder / "é path", os.fsencode(self.folder / "bytes")):
            index.save(path)
            self.assertEqual(len(vectord.Index.load(path)), 3)
        index.save(self.folder / "named", name="other")
        for path, name, error, text in [
            (self.folder / "no" / "a", None, vectord.NotFound, "no/a"),
            (self.folder / ("n" * 201), None, vectord.InvalidArgument, "name"),
            (self.folder / "a", "", vectord.InvalidArgument, "name"),
            (self.folder / "a", "a\0b", vectord.InvalidArgument, "name"),
            (self.folder / "a", 3, vectord.InvalidArgument, "name"),
            ("", None, vectord.InvalidArgument, "path"),
            ("a\0b", None, vectord.InvalidArgument, "path"),
            (None, None, vectord.InvalidArgument, "path"),
            (5, None, vectord.InvalidArgument, "path"),
        ]:
            with self.subTest(path=path, name=name), self.assertRaisesRegex(error, text):
                index.save(path, name)
        self.assertFalse((self.folder / "a").exists())

    def test_what_cannot_be_loaded(self) -> None:
        (self.folder / "empty").write_bytes(b"")
        for path, error, text in [
            (self.folder / "none", vectord.NotFound, "none"),
            (self.folder / "empty", vectord.DataLoss, ""),
            (self.folder, vectord.Internal, "directory"),
            (None, vectord.InvalidArgument, "path"),
            *(
                (FRAMES / entry["file"], vectord.DataLoss, "")
                for entry in json.loads((FRAMES / "manifest.json").read_text())["corrupt"]
                if entry["expect"] == "reject"
            ),
        ]:
            with self.subTest(path=path), self.assertRaisesRegex(error, text):
                vectord.Index.load(path)

    def test_a_subclass_loads_itself(self) -> None:
        class Mine(vectord.Index):
            pass

        index = Mine(DIMENSION)
        index.add(None, vectors(2))
        index.save(self.folder / "a")
        self.assertIs(type(Mine.load(self.folder / "a")), Mine)


class Snapshots(FolderTest):
    """Files that the original service wrote."""

    def test_they_answer_as_they_must(self) -> None:
        manifest = json.loads((FRAMES / "manifest.json").read_text())
        answered = 0
        for entry in manifest["good"]:
            with self.subTest(entry["file"]):
                index = vectord.Index.load(FRAMES / entry["file"], ids="str")
                self.assertEqual(len(index), entry["nodes"])
                self.assertEqual(
                    (index.dimension, index.distance), (entry["params"]["dimension"], entry["params"]["distance"])
                )
                queries = [json.loads(line) for line in (FRAMES / entry["queries"]).read_text().splitlines()]
                for query, wanted in zip(queries, entry["answers_exact"]):
                    ids, distances = index.search(query["vector"], max(1, query["k"]), exact=True)
                    self.assertEqual([i for i in ids if i is not None], [hit["id"] for hit in wanted])
                    np.testing.assert_allclose(
                        distances[: len(wanted)], [hit["distance"] for hit in wanted], rtol=1e-9, atol=1e-12
                    )
                    answered += 1
        self.assertGreater(answered, 5)

    def test_metadata_stays(self) -> None:
        wanted = {}
        for line in (FRAMES / "cosine200x8.decode.jsonl").read_text().splitlines()[1:]:
            item = json.loads(line)
            wanted[item["id"]] = item.get("metadata")
        index = vectord.Index.load(FRAMES / "cosine200x8.lhv1")
        self.assertEqual({id_: index.metadata(id_) for id_ in wanted}, wanted)
        index.add(["<tag>&amp;", "new", "<tag>&amp;"], vectors(3, 8))
        index.save(self.folder / "again.lhv1")
        loaded = vectord.Index.load(self.folder / "again.lhv1")
        self.assertEqual({id_: loaded.metadata(id_) for id_ in wanted}, wanted)
        self.assertIsNone(loaded.metadata("new"))
        np.testing.assert_array_equal(loaded.get("<tag>&amp;"), vectors(3, 8)[2])
        with self.assertRaisesRegex(vectord.NotFound, "none"):
            loaded.metadata("none")
        with self.assertRaisesRegex(vectord.NotFound, "7"):
            loaded.metadata(7)
        for bad in (["new"], 1.5, True, None):
            with self.assertRaises(vectord.InvalidArgument):
                loaded.metadata(bad)


if __name__ == "__main__":
    unittest.main()
