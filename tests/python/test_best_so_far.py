"""The best plan of an interrupted search: `yopo plan RECIPE --best-so-far` measures nothing, and the search goes on after it."""
import json
import shutil
import unittest

from support import CALIB, MODEL, Case, run

RECIPE = f"""
model: {{path: {MODEL}}}
output: OUT
calibration:
  dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 20}}
plan: {{budget: 0.3}}
search: {{evaluations: 48, samples: 15, questions: 7}}
"""
SEVERAL = RECIPE.replace("evaluations: 48, samples: 15, questions: 7", "evaluations: 8, samples: 10, questions: 1") + "export: {budgets: [0.3, 0.12]}\n"


class BestSoFar(Case):
    def recipe(self, name, text=RECIPE):
        path = self.folder / f"{name}.yaml"
        path.write_text(text.replace("OUT", str(self.folder / name)))
        return path, self.folder / name

    def searched(self, name, text=RECIPE):
        recipe, out = self.recipe(name, text)
        self.yopo("calibrate", recipe, "--quiet")
        self.yopo("plan", recipe, "--threads", 1, "--quiet")
        return out

    def interrupted(self, name, whole, journal, lines, text=RECIPE, without=("plan.json", "plan.safetensors")):
        """The folder of a search as a kill leaves it behind so many lines of the journal, the next one cut."""
        recipe, out = self.recipe(name, text)
        shutil.copytree(whole, out, ignore=shutil.ignore_patterns(*without, "recipe.yaml"))
        (out / "recipe.yaml").write_text((whole / "recipe.yaml").read_text().replace(str(whole), str(out)))
        written = (whole / journal).read_text().splitlines(keepends=True)
        (out / journal).write_text("".join(written[:lines]) + written[lines][:20])
        return recipe, out, [json.loads(line) for line in written[1:lines]], "".join(written[:lines])

    def search_of(self, plan):
        return json.loads(plan.read_text())["provenance"]["search"]

    def test_an_interrupted_search(self):
        whole = self.searched("whole")
        expected = {name: (whole / name).read_bytes() for name in ("plan.json", "plan.safetensors", "search.jsonl")}
        ended = self.search_of(whole / "plan.json")
        self.assertNotIn("unfinished", ended)
        records = [json.loads(line) for line in expected["search.jsonl"].splitlines()[1:]]
        first_whole = next(i for i, record in enumerate(records) if " /1 " in record["key"])
        self.assertGreater(first_whole, 3)

        # Nothing but a first look on few samples; then plans on all of them.
        for name, lines, quick in (("early", 4, True), ("later", len(records) - 2, False)):
            recipe, out, known, text = self.interrupted(name, whole, "search.jsonl", lines)
            result = self.yopo("plan", recipe, "--best-so-far", "--threads", 1)
            self.assertIn("the best plan so far of an unfinished search", result.stdout)
            self.assertEqual((out / "search.jsonl").read_text(), text, "something was measured")
            found = self.search_of(out / "plan.json")
            self.assertIs(found["unfinished"], True)
            self.assertEqual(found.get("quick", False), quick)
            self.assertLessEqual(found["visual_flops"], 0.3)
            self.assertGreater(found["visual_flops"], 0.25)
            comparable = [record for record in known if quick or " /1 " in record["key"]]
            self.assertIn((found["loss"], found["kl"]), [(record["loss"], record["kl"]) for record in comparable])
            if quick:
                self.assertEqual(found["loss"], min(record["loss"] for record in comparable), "uniform plans all fit")
                continue
            before = (out / "plan.json").read_bytes()
            again = self.yopo_json("plan", recipe, "--best-so-far", "--quiet")
            self.assertEqual((again["unfinished"], (out / "plan.json").read_bytes()), (True, before), "other bytes in more threads")

            # It is a plan like any other, with its compensation.
            self.assertTrue((out / "plan.safetensors").exists())
            self.yopo("export", "--model", MODEL, "--plan", out / "plan.json", "--output", out / "export", "--quiet")

            # The search goes on where it was, and replaces the plan.
            self.yopo("plan", recipe, "--threads", 1, "--quiet")
            for file, data in expected.items():
                self.assertEqual((out / file).read_bytes(), data, f"{name}: {file}")
            result = self.yopo("plan", recipe, "--best-so-far")
            self.assertIn("the search has ended", result.stderr)
            self.assertNotIn("unfinished", result.stdout)
            self.assertEqual((out / "plan.json").read_bytes(), expected["plan.json"])

    def test_several_budgets(self):
        whole = self.searched("whole", SEVERAL)
        expected = (whole / "plan-0.12.json").read_bytes()  # searched for first: the middle one of two is the second

        # The second search was interrupted: the first one's plan stays as it is.
        cut = ("plan.json", "plan.safetensors")
        recipe, out, _, _ = self.interrupted("second", whole, "search.jsonl", 3, SEVERAL, cut)
        self.yopo("plan", recipe, "--best-so-far", "--quiet")
        self.assertTrue(self.search_of(out / "plan.json")["unfinished"])
        self.assertEqual((out / "plan-0.12.json").read_bytes(), expected)
        # The first one: the second has no order yet, whatever its journal holds.
        cut += ("plan-0.12.json", "plan-0.12.safetensors")
        recipe, out, _, _ = self.interrupted("first", whole, "search-0.12.jsonl", 3, SEVERAL, cut)
        result = self.yopo("plan", recipe, "--best-so-far")
        self.assertIn("plan-0.12.json", result.stdout)
        self.assertIn("budget 0.3: its search has not begun", result.stderr)
        self.assertTrue(self.search_of(out / "plan-0.12.json")["unfinished"])
        self.assertFalse((out / "plan.json").exists())
        self.yopo("plan", recipe, "--threads", 1, "--quiet")
        for name in ("plan.json", "plan-0.12.json", "plan-0.12.safetensors"):
            self.assertEqual((out / name).read_bytes(), (whole / name).read_bytes(), name)

    def test_bad_input_is_named(self):
        recipe, out = self.recipe("none")
        self.yopo("calibrate", recipe, "--quiet")
        for arguments, part in (((recipe,), "no search has begun"), ((recipe, "--sweep", "0.2"), "not both"),
                                (("--model", MODEL, "--output", self.folder / "p.json"), "a recipe"),
                                ((self.recipe("plain", RECIPE.replace("{budget: 0.3}", "{visual_layers: 8}"))[0],), "no budget")):
            result = run("plan", *arguments, "--best-so-far", "--quiet")
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(part, result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertFalse((out / "search.jsonl").exists(), "a search was begun")
        (out / "search.jsonl").write_text('{"search": "another"}\n{"key": "x", "loss": 1, "kl": 1, "same": 1}\n')
        result = run("plan", recipe, "--best-so-far", "--quiet")
        self.assertEqual(result.returncode, 2)
        self.assertIn("of another search", result.stderr)
        self.assertEqual((out / "search.jsonl").read_text().count("\n"), 2, "the other search's journal is gone")


if __name__ == "__main__":
    unittest.main()
