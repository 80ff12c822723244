"""Recipes and where they write: first tries that fail, folders that move, paths, and what a dry run says beforehand."""
import json
import shutil
import unittest

from refusals import IMAGE, BadInput
from support import CALIB, MODEL, ROOT, TEST, run

RECIPE = """\
model: {model}
output: {output}
calibration:
  dataset: {{questions: {calib.questions}, images: {calib.images}, samples: 6}}
plan: {{ffn: {{keep: 0.25}}}}
verify: {{samples: 2}}
evaluate:
  - {{benchmark: vqa, questions: {test.questions}, images: {test.images}, samples: 12, batch_size: 6}}
"""


class RecipeCase(BadInput):
    def setUp(self):
        super().setUp()
        self.out = self.folder / "out"
        self.recipe = self.folder / "recipe.yaml"
        self.recipe.write_text(RECIPE.format(model=MODEL, output=self.out, calib=CALIB, test=TEST))


class OutputFolderTest(RecipeCase):
    def test_a_first_try_that_fails_leaves_the_folder_free(self):
        for change, name in ((f"model={self.folder / 'nope'}", "nope"), ("plan.ffn.keep=385", "384"),
                             (f"evaluate.0.questions={self.folder / 'none.jsonl'}", "none.jsonl"),
                             (f"calibration.dataset.images={self.folder / 'nowhere'}", "nowhere")):
            with self.subTest(change=change):
                self.refused("run", self.recipe, "--set", change, naming=[name])
        # One that held nothing but a recipe changes it.
        self.out.mkdir()
        (self.out / "recipe.yaml").write_text("model: {path: 'nope'}\n")
        self.yopo("calibrate", self.recipe)
        self.assertIn(str(MODEL), (self.out / "recipe.yaml").read_text())
        self.refused("calibrate", self.recipe, "--set", "calibration.dataset.samples=7", naming=[self.out, "another recipe"])

    def test_a_moved_folder_is_taken_up(self):
        self.yopo("run", self.recipe)
        moved = self.folder / "moved"
        self.out.rename(moved)
        shown = self.yopo("run", self.recipe, "--set", f"output={moved}").stderr
        for line in ("verify: as in", "vqa (dense): as answered in", "vqa (pruned): as answered in", "times: as in"):
            self.assertIn(line, shown)
        self.assertFalse(self.out.exists())
        self.assertIn(f"output: '{moved}'", (moved / "recipe.yaml").read_text().replace('"', "'"))

    def test_planning_anew_beside_the_folder(self):
        self.yopo("calibrate", self.recipe)
        self.yopo("plan", self.recipe)
        before = {path.name: path.read_bytes() for path in self.out.iterdir()}
        change, elsewhere = ["--set", "plan.ffn.keep=0.5"], self.folder / "elsewhere" / "plan.json"
        self.refused("plan", self.recipe, *change, "--output", elsewhere, naming=["another recipe", "--stats"])
        self.yopo("plan", self.recipe, *change, "--stats", self.out / "stats.h5", "--output", elsewhere)
        self.assertEqual(len(json.loads(elsewhere.read_text())["layers"][0]["neurons"]), 192)
        self.assertEqual({path.name: path.read_bytes() for path in self.out.iterdir()}, before)

    def test_a_relative_path_says_to_what(self):
        self.recipe.write_text(RECIPE.format(model="examples/digitgrid/model", output="out", calib=CALIB, test=TEST))
        for command in (["run", self.recipe], ["run", self.recipe, "--dry-run"], ["calibrate", self.recipe], ["eval", self.recipe]):
            self.refused(*command, naming=["examples/digitgrid/model", f"relative to the working directory, {self.folder}"],
                         cwd=self.folder)
        self.recipe.write_text(RECIPE.format(model=MODEL, output="out", calib=CALIB, test=TEST))
        self.refused("run", self.recipe, "--set", "calibration.dataset.questions=calib.jsonl", cwd=self.folder,
                     naming=["calib.jsonl", f"relative to the working directory, {self.folder}"])


class DryRunTest(RecipeCase):
    def problems(self, *flags):
        return self.run_dry(*flags)["problems"]

    def run_dry(self, *flags):
        result = run("run", self.recipe, "--dry-run", "--json", *flags)
        self.assertIn(result.returncode, (0, 1), result.stderr)
        found = json.loads(result.stdout)
        self.assertEqual(result.returncode, 1 if found["problems"] else 0)
        return found

    def test_an_architecture_alone(self):
        file = ROOT / "configs" / "models" / "llava-1.5-7b.json"
        found = self.run_dry("--set", f"model.path={file}")
        self.assertAlmostEqual(found["parameters"] / 1e9, 7.06, delta=0.01)
        self.assertEqual(found["problems"], [])

    def test_damaged_images_are_named(self):
        self.assertEqual(self.problems(), [])
        images, questions = self.folder / "images", self.folder / "questions.jsonl"
        images.mkdir()
        shutil.copy(IMAGE, images / "good.png")
        (images / "cut.png").write_bytes(IMAGE.read_bytes()[:200])
        (images / "text.png").write_text("xx")
        for bad, count in (("cut.png", 1), ("text.png", 1)):
            questions.write_text("".join(json.dumps({"question_id": i, "image": image, "text": "What?", "answer": "6"}) + "\n"
                                         for i, image in enumerate(["good.png", bad])))
            for section in ("calibration.dataset", "evaluate.0"):
                with self.subTest(image=bad, section=section):
                    problems = self.problems("--set", f"{section}.questions={questions}", "--set", f"{section}.images={images}")
                    self.assertEqual(len(problems), count, problems)
                    self.assertIn(bad, problems[0])
                    self.assertIn("questions.jsonl:2", problems[0])

    def test_everything_that_is_missing_is_named(self):
        questions, images = self.folder / "none.jsonl", self.folder / "nowhere"
        problems = self.problems("--set", f"calibration.dataset.questions={questions}", "--set",
                                 f"calibration.dataset.images={images}")
        self.assertEqual(len(problems), 2, problems)
        self.assertTrue(str(questions) in problems[0] and str(images) in problems[1], problems)


class CacheSizeTest(RecipeCase):
    def test_every_command_counts_the_type_that_runs(self):
        self.yopo("run", self.recipe)
        counted = json.loads((self.out / "comparison.json").read_text())["pruned"]["kv_bytes"]
        plan, pruned = self.out / "plan.json", self.out / "pruned"
        dry = self.yopo_json("run", self.recipe, "--dry-run")
        reports = [self.yopo_json("plan", self.recipe)["report"], self.yopo_json("inspect", pruned)["report"],
                   self.yopo_json("inspect", plan, "--model", MODEL)["report"],
                   self.yopo_json("inspect", plan, "--model", MODEL / "config.json")["report"]]
        for report in reports:
            self.assertAlmostEqual(report["kv_bytes"]["plan"], counted, delta=1)
            self.assertEqual(report["kv_dtype"], dry["kv_dtype"])
        self.assertAlmostEqual(dry["kv_bytes"]["pruned"], counted, delta=1)
        named = f"KV cache after prefill, {dry['kv_dtype']} "
        self.assertIn(named, self.yopo("inspect", plan, "--model", MODEL).stdout)
        self.assertIn(f"KV cache, {dry['kv_dtype']} ", self.yopo("run", self.recipe, "--dry-run").stdout)


if __name__ == "__main__":
    unittest.main()
