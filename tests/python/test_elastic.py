"""One export for several budgets through the command: each is found, met, verified and evaluated by --budget."""
import json
import random
import unittest

from checkpoint_files import Weights, write_tensors
from support import CALIB, MODEL, TEST, Case, run

BUDGETS = ("0.5", "0.25", "0.12")
RECIPE = f"""
model: {{path: {MODEL}, dtype: fp32}}
output: OUT
calibration:
  dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 20}}
plan: {{budget: 0.25}}
export: {{budgets: [0.12, 0.5, 0.25]}}
search: {{evaluations: 30, samples: 20, questions: 2}}
evaluate: [{{benchmark: vqa, questions: {TEST.questions}, images: {TEST.images}, samples: 40, batch_size: 20}}]
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

    def check_scores(self, recipe, out, table):
        """The run has scored every budget, each with answers of its own, and shows them."""
        dense, default = json.loads((out / "eval.json").read_text())["results"]
        self.assertEqual((dense["pruned"], "budget" in dense), (False, False))
        self.assertEqual((default["pruned"], default["budget"]), (True, "0.25"))
        rows = [line.split() for line in table.splitlines()]
        answers = {}
        for budget in BUDGETS:
            suffix = "" if budget == "0.25" else f"-{budget}"
            results = json.loads((out / f"eval{suffix}.json").read_text())["results"]
            self.assertEqual(results[0], dense)
            self.assertEqual((results[1]["budget"], results[1]["count"]), (budget, 40))
            answers[budget] = (out / "answers" / f"vqa-pruned{suffix}.jsonl").read_text()
            self.assertEqual(answers[budget].count("\n"), 40)
            share = f"{100 * results[1]['score']:.1f}"
            self.assertTrue(any(row[:1] == [budget] and share in row for row in rows), (budget, share, table))
            if suffix:  # the answers are those of this budget's plan, asked alone
                alone = self.folder / f"alone{budget}"
                self.yopo("eval", "--model", MODEL, "--plan", out / f"plan{suffix}.json", *TEST.flags(), "--samples", 40,
                          "--batch-size", 20, "--dtype", "fp32", "--output", alone)
                self.assertEqual([json.loads(line)["text"] for line in (alone / "answers/vqa-pruned.jsonl").read_text().splitlines()],
                                 [json.loads(line)["text"] for line in answers[budget].splitlines()])
        self.assertEqual(len(set(answers.values())), 3, "three budgets, three sets of answers")
        shown = self.yopo_json("run", recipe, "--quiet")
        self.assertEqual([(one["budget"], one["default"]) for one in shown["budgets"]],
                         [("0.5", False), ("0.25", True), ("0.12", False)])
        self.assertEqual(shown["budgets"][2]["eval"], json.loads((out / "eval-0.12.json").read_text())["results"])
        asked = self.yopo("eval", recipe, "--quiet").stdout
        for budget in BUDGETS:
            self.assertIn(f"pruned {budget}", asked)
        self.yopo("report", out)
        page = (out / "report.html").read_text()
        self.assertIn("0.25 (default)", page)
        # Answers of one budget that a kill cut short are asked for again, and no others.
        journal = out / "answers" / "vqa-pruned-0.12.jsonl"
        journal.write_text("".join(answers["0.12"].splitlines(keepends=True)[:20]))
        others = {path: path.stat().st_mtime_ns for path in (out / "answers").glob("*.jsonl") if path != journal}
        self.yopo("run", recipe, "--quiet")
        self.assertEqual(journal.read_text(), answers["0.12"])
        self.assertEqual({path: path.stat().st_mtime_ns for path in others}, others)

    def test_one_export_three_budgets(self):
        recipe, out = self.recipe()
        table = self.yopo("run", recipe, "--quiet").stdout
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
            self.assertEqual((own["budget"], "budget" in other), (budget, False))
            self.assertTrue((self.folder / "eval" / "answers" / f"vqa-pruned-{budget}.jsonl").exists())
        self.assertGreater(flops[0], 1.05 * flops[1])
        self.assertGreater(flops[1], 1.05 * flops[2])
        self.check_traces(out)
        self.check_scores(recipe, out, table)
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
