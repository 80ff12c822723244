"""scripts/shape_plan.py: plans of given sizes, their kept heads first or spread."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/models/qwen2-vl-7b.json"  # 28 heads, 4 KV heads, 18944 neurons


class ShapePlanTest(unittest.TestCase):
    def plan(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder) / "plan.json"
            run = subprocess.run([sys.executable, "-B", ROOT / "scripts/shape_plan.py", "--config", CONFIG, "--layers", "4", "--output", output,
                                  *arguments], capture_output=True, text=True)
            if run.returncode:
                return run.stderr
            return json.loads(output.read_text())

    def test_first_heads(self):
        plan = self.plan("--heads", "0.75", "--ffn", "0.5", "--window", "5", "--visual-layers", "2", "--updates", "0.25")
        self.assertEqual(len(plan["layers"]), 4)
        self.assertEqual([layer.get("alive", True) for layer in plan["layers"]], [True, True, False, False])
        layer = plan["layers"][0]
        self.assertEqual(layer["heads"], [1] * 21 + [0] * 7)
        self.assertEqual(layer["updates"], [1] * 7 + [0] * 21)
        self.assertEqual(layer["neurons"], list(range(9472)))
        self.assertEqual(layer["window"], {"size": 5, "causal": False})

    def test_spread_heads(self):
        for heads, updates in ((0.75, None), (0.5, 0.25), (0.25, 0.25), (1, 0.1), (0.1, 0)):
            more = [] if updates is None else ["--updates", str(updates)]
            layer = self.plan("--heads", str(heads), "--spread", *more)["layers"][0]
            kept = [head for head, flag in enumerate(layer["heads"]) if flag]
            self.assertEqual(len(kept), round(heads * 28))
            gaps = [b - a for a, b in zip(kept, kept[1:])]
            self.assertLessEqual(max(gaps) - min(gaps), 1, kept)
            if updates is not None:
                self.assertEqual(sum(layer["updates"]), round(updates * 28))
                self.assertTrue(all(layer["heads"][head] for head, flag in enumerate(layer["updates"]) if flag))
        self.assertEqual([sum(self.plan("--heads", "0.5", "--spread")["layers"][0]["heads"][7 * g:7 * g + 7]) for g in range(4)], [3, 4, 3, 4],
                         "every group loses some")

    def test_mistakes(self):
        self.assertIn("fraction in [0, 1]", self.plan("--heads", "1.5"))
        self.assertIn("--updates is at most --heads", self.plan("--heads", "0.25", "--updates", "0.5"))


if __name__ == "__main__":
    unittest.main()
