"""stats.h5: the documented layout, the same bytes from run to run, and parts that merge to the whole's bytes."""
import unittest

import h5py
import numpy as np

from support import CALIB, MODEL, Case

LAYERS, HEADS, NEURONS, VISUAL = 11, 8, 384, 81


class LayoutTest(Case):
    def test_layout(self):
        stats = self.folder / "stats.h5"
        self.yopo("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 7, "--output", stats)
        shapes = {
            "/attention/ratio": ((7, LAYERS, HEADS), "f8"),
            "/ffn/abs_sum": ((LAYERS, NEURONS), "f8"),
            "/ffn/square_sum": ((LAYERS, NEURONS), "f8"),
            "/ffn/active": ((LAYERS, NEURONS), "f8"),
            "/ffn/column_norm": ((LAYERS, NEURONS), "f8"),
            "/ffn/rows": ((LAYERS,), "i8"),
        }
        with h5py.File(stats, "r") as file:
            for name, (shape, kind) in shapes.items():
                self.assertEqual((file[name].shape, file[name].dtype.str[1:]), (shape, kind), name)
                self.assertTrue(np.isfinite(file[name][()]).all(), name)
            ids = [int(i) for i in file["/samples/id"].asstr()[()]]
            self.assertEqual(ids, sorted(ids))
            self.assertEqual(len(set(ids)), 7)
            self.assertLessEqual(set(ids), {s["question_id"] for s in CALIB.samples()})
            np.testing.assert_array_equal(file["/ffn/rows"][()], 7 * VISUAL)
            self.assertTrue((file["/ffn/active"][()] <= 7 * VISUAL).all())
            self.assertTrue((file["/attention/ratio"][()] > 0).all())
            for name in ("format", "version", "tool_version", "fingerprint", "queries", "state"):
                self.assertIn(name, file.attrs)
            self.assertEqual(bytes(file.attrs["format"]), b"yopo-statistics")

    def test_deterministic(self):
        files = [self.folder / "a.h5", self.folder / "b.h5"]
        for file in files:
            self.yopo("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 5, "--threads", 1, "--output", file)
        self.assertEqual(files[0].read_bytes(), files[1].read_bytes())

    def test_halves_merge_to_the_whole(self):
        whole, merged = self.folder / "whole.h5", self.folder / "merged.h5"
        halves = [self.folder / "half0.h5", self.folder / "half1.h5"]
        common = ["calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 31, "--threads", 1]
        self.yopo(*common, "--output", whole)
        for part, half in enumerate(halves, start=1):
            self.yopo(*common, "--part", f"{part}/2", "--output", half)
            with h5py.File(half, "r") as file:
                self.assertEqual(len(file["/samples/id"]), 17 - part)
        for order in (halves, halves[::-1], [f"{halves[0]},{halves[1]}"]):
            self.yopo("merge", *order, "--output", merged)
            self.assertEqual(merged.read_bytes(), whole.read_bytes())
            merged.unlink()


if __name__ == "__main__":
    unittest.main()
