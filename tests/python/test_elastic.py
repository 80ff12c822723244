"""One export for several budgets through the command: each is found, met, verified and evaluated by --budget."""
import json
import random
import unittest

from checkpoint_files import Weights, write_tensors
from support import CALIB, MODEL, TEST, Case, run

BUDGETS = ("0.5", "0.25", "0.12")
RECIPE = f"""
model: {{path: {MODEL}}}
output: OUT
calibration:
  dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 20}}
plan: {{budget: 0.25}}
export: {{budgets: [0.12, 0.5, 0.25]}}
search: {{evaluations: 30, samples: 20, questions: 2}}
verify: {{samples: 3}}
"""


class Elastic(Case):
    def recipe(self, text=RECIPE):
        path = self.folder / "recipe.yaml"
        path.write_text(text.replace("OUT", str(self.folder / "out")))
        return path, self.folder / "out"

    def trace(self, name, *arguments):
        """Hidden rows and logits of five text rows, a picture and seven more."""
        inputs, output = self.folder / "inputs.safetensors", self.folder / f"{name}.safetensors"
        if not inputs.exists():
            draw, rows, width = random.Random(5), 5 + 81 + 7, 128
            write_tensors(inputs, {"embeds": ([rows, width], [draw.gauss(0, 0.5) for _ in range(rows * width)]),
                                   "spans": ([1, 3], [5, 9, 9]), "position_ids": ([rows], list(range(rows)))})
        self.yopo("trace", "--inputs", inputs, "--output", output, "--threads", 1, "--decode", "3,14,15,92", *arguments)
        found = Weights(output)
        return {tensor: found.floats(tensor) for tensor in ("hidden", "logits", "decode_logits")}

    def assert_near(self, found, expected, limit):
        for tensor, values in expected.items():
            self.assertEqual(len(found[tensor]), len(values))
            most = max(map(abs, values))
            self.assertLessEqual(max(abs(a - b) for a, b in zip(found[tensor], values)), limit * most, tensor)

    def check_traces(self, out):
        """A trace of each budget is that of the original under the budget's plan file, and of no other budget's."""
        pruned = out / "pruned"
        traces = {}
        for budget in BUDGETS:
            plan = out / ("plan.json" if budget == "0.25" else f"plan-{budget}.json")
            for engine in ("runtime", "torch"):
                expected = self.trace("plan", "--model", MODEL, "--plan", plan, "--engine", engine)
                found = traces[budget] = self.trace("budget", "--model", pruned, "--budget", budget, "--engine", engine)
                self.assert_near(found, expected, 1e-5)
        for one, other in ((0, 1), (1, 2), (0, 2)):
            with self.assertRaises(AssertionError):
                self.assert_near(traces[BUDGETS[one]], traces[BUDGETS[other]], 1e-2)
        self.assertEqual(self.trace("default", "--model", pruned, "--engine", "torch"), traces["0.25"], "without a budget: the default")
        self.assertNotEqual(self.trace("dense", "--model", pruned, "--engine", "torch", "--dense"), traces["0.5"])
        self.assertEqual(self.trace("same", "--model", pruned, "--engine", "torch", "--budget", "0.120"), traces["0.12"])

    def test_one_export_three_budgets(self):
        recipe, out = self.recipe()
        self.yopo("run", recipe, "--quiet")
        pruned = out / "pruned"
        yopo = json.loads((pruned / "config.json").read_text())["yopo"]
        self.assertEqual(list(yopo["plans"]), list(BUDGETS))
        self.assertEqual(yopo["default"], "0.25")
        flops = []
        for budget in BUDGETS:
            suffix = "" if budget == "0.25" else f"-{budget}"
            plan = json.loads((out / f"plan{suffix}.json").read_text())
            met = plan["provenance"]["search"]["visual_flops"]
            self.assertLessEqual(met, float(budget))
            self.assertGreater(met, 0.99 * float(budget))
            self.assertTrue(json.loads((out / f"verify{suffix}.json").read_text())["passed"])
            self.assertTrue((out / f"search{suffix}.jsonl").exists())
            proof = self.yopo_json("verify", "--model", pruned, "--original", MODEL, *CALIB.flags(), "--samples", 3, "--budget", budget)
            self.assertTrue(proof["passed"])
            flops.append(proof["flops"]["prefill"]["counted"])
            # The reordered checkpoint answers as the original under that plan.
            own = self.yopo_json("eval", "--model", pruned, *TEST.flags(), "--samples", 40, "--batch-size", 20, "--budget", budget,
                                 "--output", self.folder / "eval", "--dtype", "fp32")["results"][0]
            other = self.yopo_json("eval", "--model", MODEL, "--plan", out / f"plan{suffix}.json", *TEST.flags(), "--samples", 40,
                                   "--batch-size", 20, "--output", self.folder / f"plan{budget}", "--dtype", "fp32")["results"][0]
            self.assertEqual(own["score"], other["score"])
            self.assertTrue((self.folder / "eval" / "answers" / f"vqa-pruned-{budget}.jsonl").exists())
        self.assertGreater(flops[0], 1.05 * flops[1])
        self.assertGreater(flops[1], 1.05 * flops[2])
        self.check_traces(out)
        facts = self.yopo_json("inspect", pruned)["model"]
        self.assertEqual(facts["budgets"], list(BUDGETS))
        self.assertIn("--budget picks another", run("inspect", pruned).stderr)

        # Again: the same bytes, and nothing is searched for.
        files = [p for p in out.rglob("*") if p.suffix in (".json", ".safetensors", ".jsonl") and p.name != "comparison.json"]
        before = {p: p.read_bytes() for p in files}
        self.yopo("run", recipe, "--quiet")
        self.assertEqual({p: p.read_bytes() for p in files}, before)

        for arguments in (("eval", "--model", pruned, *TEST.flags(), "--output", self.folder / "x"),
                          ("verify", "--model", pruned, *CALIB.flags()),
                          ("generate", "--model", pruned, "--prompt", "x"),
                          ("trace", "--model", pruned, "--inputs", self.folder / "inputs.safetensors", "--output", self.folder / "t"),
                          ("bench", "--model", pruned), ("inspect", pruned)):
            result = run(*arguments, "--budget", "0.3")
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn("no plan for budget 0.3; there are 0.5, 0.25, 0.12", result.stderr)

    def test_bad_budgets_are_named(self):
        recipe, _ = self.recipe()
        for setting, part in (("export.budgets=[0.5, 0.5]", "comes twice"), ("export.budgets=[0.5, 0.1]", "is not among them"),
                              ("export.budgets=[]", "a list"), ("export.budgets=[2]", "budgets"), ("export.budget=[1]", "budgets")):
            result = run("run", recipe, "--set", setting)
            self.assertEqual(result.returncode, 2, setting)
            self.assertIn(part, result.stderr)


if __name__ == "__main__":
    unittest.main()
