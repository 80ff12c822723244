"""A budget through the command: it is met, comes to the same bytes again, and bad input is named."""
import json
import os
import signal
import subprocess
import sys
import time
import unittest

from support import CALIB, MODEL, ROOT, TEST, Case, command, run

sys.path.insert(0, str(ROOT / "tests" / "faults"))
from faults import copy_cut  # noqa: E402

# The demo's model and calibration images, and a search so small that it takes seconds.
RECIPE = f"""
model: {{path: {MODEL}}}
output: OUT
calibration:
  dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 20}}
plan: {{budget: 0.2}}
search: {{evaluations: 40, samples: 20, questions: 3}}
verify: {{samples: 4}}
"""
FILES = ("plan.json", "plan.safetensors", "pruned/model.safetensors", "pruned/config.json", "pruned/yopo.safetensors")


class Search(Case):
    def recipe(self, name, text=RECIPE):
        path = self.folder / f"{name}.yaml"
        path.write_text(text.replace("OUT", str(self.folder / name)))
        return path, self.folder / name

    def files(self, folder):
        found = {}
        for name in FILES:
            data = (folder / name).read_bytes()
            found[name] = data
        return found

    def test_equal_plans_are_measured_once(self):
        """In two layers some are. A search that goes on finds them in its journal, so one that was not disturbed must, too."""
        copy_cut(MODEL, self.folder / "model", 2)
        recipe, output = self.recipe("twice", RECIPE.replace(str(MODEL), str(self.folder / "model")).replace("budget: 0.2", "budget: 0.5")
                                     .replace("evaluations: 40, samples: 20", "evaluations: 4, samples: 2"))
        for stage in ("calibrate", "plan"):
            self.yopo(stage, recipe, "--threads", 1, "--quiet")
        keys = [json.loads(line)["key"] for line in (output / "search.jsonl").read_text().splitlines()[1:]]
        self.assertGreater(len(keys), 0)
        self.assertEqual(len(keys), len(set(keys)), keys)

    def test_the_budget_is_met_and_every_way_ends_with_the_same_bytes(self):
        recipe, whole = self.recipe("whole")
        result = self.yopo("run", recipe, "--threads", 2, "--quiet")
        expected = self.files(whole)
        verify = json.loads((whole / "verify.json").read_text())
        self.assertTrue(verify["passed"], verify)
        self.assertIn("visual FLOPs (exact)", result.stdout)
        plan = json.loads((whole / "plan.json").read_text())
        self.assertTrue(any("compensation" in layer for layer in plan["layers"]))
        search = plan["provenance"]["search"]
        self.assertLessEqual(search["visual_flops"], 0.2)
        self.assertGreater(search["visual_flops"], 0.2 * 0.99)
        # What the runtime counts, on other questions.
        bench = self.yopo_json("run", recipe, "--threads", 2)
        visual = bench["comparison"]
        self.assertAlmostEqual(visual["pruned"]["visual_flops"] / visual["dense"]["visual_flops"], 0.2, delta=0.002)

        # Again: nothing is searched for. In one thread: the same plan.
        journal = (whole / "search.jsonl").read_bytes()
        self.yopo("run", recipe, "--quiet")
        self.assertEqual((whole / "search.jsonl").read_bytes(), journal)
        recipe, alone = self.recipe("alone")
        self.yopo("run", recipe, "--threads", 1, "--quiet")
        self.assertEqual(self.files(alone), expected)

        # Killed again and again while it searches.
        recipe, killed = self.recipe("killed")
        kills = 0
        for attempt in range(40):
            process = subprocess.Popen(command("run", recipe, "--quiet"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            journal = killed / "search.jsonl"
            before = journal.stat().st_size if journal.exists() else 0
            while process.poll() is None and kills < 10:
                if journal.exists() and journal.stat().st_size > before + 400:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.01)
            process.communicate()
            if process.returncode == 0:
                break
        self.assertEqual(process.returncode, 0)
        self.assertGreaterEqual(kills, 3)
        self.assertEqual(self.files(killed), expected)

    def test_a_sweep_shows_what_budgets_buy(self):
        recipe, folder = self.recipe("sweep", RECIPE.replace("evaluations: 40", "evaluations: 15"))
        self.assertEqual(run("plan", recipe, "--sweep", "0.4").returncode, 2, "statistics first")
        self.yopo("calibrate", recipe, "--quiet")
        points = self.yopo_json("plan", recipe, "--sweep", "0.4,0.15")["points"]
        self.assertEqual([point["budget"] for point in points], [0.4, 0.15])
        for point in points:
            self.assertLessEqual(point["visual_flops"], point["budget"])
            self.assertGreater(point["visual_flops"], 0.98 * point["budget"])
            plan = json.loads((folder / "sweep" / f"plan-{point['budget']}.json").read_text())
            self.assertEqual(plan["provenance"]["search"]["visual_flops"], point["visual_flops"])
        self.assertLess(points[0]["loss"], points[1]["loss"])
        self.assertEqual(json.loads((folder / "sweep" / "sweep.json").read_text())["points"], points)
        # A budget more: what is there is neither searched for again nor timed anew. As a table: a line a budget.
        again = self.yopo_json("plan", recipe, "--sweep", "0.4,0.15,0.25")["points"]
        self.assertEqual(again[:2], points)
        table = self.yopo("plan", recipe, "--sweep", "0.15").stdout.splitlines()
        self.assertIn("visual FLOPs", table[0])
        self.assertEqual(sum(line.strip().startswith("0.15") for line in table), 1)
        result = run("plan", recipe, "--sweep", "0.4,7")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--sweep", result.stderr)

    def test_a_budget_of_milliseconds(self):
        table = self.folder / "table.json"
        self.yopo("bench", "--model", MODEL, "--visual", 81, "--text", 20, "--dtype", "fp32", "--table", table, "--quiet")
        times = json.loads(table.read_text())
        self.assertEqual((times["format"], times["device"], times["dtype"], times["model"]["hidden_size"]), ("yopo times", "cpu", "fp32", 128))
        self.assertIn(101, times["rows"])
        for name in ("out", "in"):
            self.assertTrue(all(time > 0 for line in times[name] for time in line))
        # Times of this table's own, so that nothing depends on the machine: products take what they multiply, of which text alone is a part.
        times.update({name: [[rows * width * 1e-6 for width in times["widths"]] for rows in times["rows"]] for name in ("out", "in")})
        times.update({name: 0 for name in ("norm", "rope", "store", "gated", "text_pair", "visual_pair", "window_query", "window_pair", "fixed")}, layer_scale=1)
        table.write_text(json.dumps(times))
        small = RECIPE.replace("budget: 0.2", "budget: {ms: 1.5}").replace("evaluations: 40", f"evaluations: 15, times: {table}")
        recipe, folder = self.recipe("timed", small)
        result = self.yopo("run", recipe, "--threads", 1)
        self.assertIn("times with 0 threads (0: all); this run has 1", result.stderr)
        search = json.loads((folder / "plan.json").read_text())["provenance"]["search"]
        self.assertEqual(search["budget"], {"ms": 1.5})
        self.assertLessEqual(search["spent"], 1.5)
        self.assertGreater(search["spent"], 0.99 * 1.5)
        self.assertFalse((folder / "times.json").exists())
        self.refused("text alone takes", settings=["plan.budget.ms=0.1", f"search.times={table}"])
        table.write_text(json.dumps(dict(times, device="cuda")))
        self.refused(str(table), "times of cuda", recipe=self.recipe("other")[0], settings=["plan.budget.ms=1.5", f"search.times={table}"])
        self.refused("no-such-table.json", recipe=self.recipe("none")[0], settings=["plan.budget.ms=1.5", "search.times=no-such-table.json"])
        # Without a table it is measured once, and the next run counts with the same.
        recipe, folder = self.recipe("measured", RECIPE.replace("budget: 0.2", "budget: {ms: 50}").replace("evaluations: 40", "evaluations: 5"))
        self.yopo("calibrate", recipe, "--quiet")
        self.yopo("plan", recipe, "--quiet")
        measured, plan = (folder / "times.json").read_bytes(), (folder / "plan.json").read_bytes()
        self.yopo("plan", recipe, "--quiet")
        self.assertEqual(((folder / "times.json").read_bytes(), (folder / "plan.json").read_bytes()), (measured, plan))

    def refused(self, *parts, recipe=None, settings=()):
        result = run("run", recipe or self.recipe("refused")[0], *[x for s in settings for x in ("--set", s)], "--quiet")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        for part in parts:
            self.assertIn(part, result.stderr)

    def test_bad_input_is_named(self):
        self.refused("budget", "0.000", settings=["plan.budget=0.0001", "compensate=none"])
        self.refused("budget", settings=["plan.budget=1.5"])
        self.refused("plan.budget chooses everything", "plan.heads", settings=["plan.heads.keep=4"])
        self.refused("search.evaluation", "evaluations", settings=["search.evaluation=5"])
        self.refused("most_rank", settings=["compensate.most_rank=2"])
        result = run("plan", "--model", MODEL, "--budget", "0.2", "--output", self.folder / "p.json")
        self.assertEqual(result.returncode, 2)
        self.assertIn("recipe", result.stderr)


if __name__ == "__main__":
    unittest.main()
