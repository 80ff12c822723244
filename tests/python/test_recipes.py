"""The recipes in configs/ against the architectures in configs/models/: each passes a dry run with config.json alone, spends the
share of visual FLOPs that its comment states and the paper gives, and its architecture has the published number of parameters."""
import collections
import json
import re
import unittest

from support import CALIB, MODEL, ROOT, TEST, Case, run

# share: visual FLOPs kept in percent as the paper gives them (arXiv 2410.06169, Table 2 and its section on models without
# fine-tuning); slack: how far the recipe may be from it, in points. `settings` are overrides for the second check: where a
# threshold chooses the heads, a dry run counts all of them, so the number kept on average is put in its place.
Row = collections.namedtuple("Row", "recipe model share slack settings settings_share", defaults=(None, None, (), None))
ROWS = [
    Row("llava-1.5-7b", "llava-1.5-7b"),
    Row("llava-1.5-7b-25", "llava-1.5-7b", 100 * 1.91 / 7.63, 0.7),
    Row("llava-1.5-7b-12", "llava-1.5-7b", 100 * 0.92 / 7.63, 0.3),
    Row("llava-1.5-13b", "llava-1.5-13b", settings=["plan.heads={keep: 30}"], settings_share=(28.55, 28.65)),
    Row("llava-1.5-13b-25", "llava-1.5-13b", 100 * 3.72 / 14.89, 0.7),
    Row("llava-1.5-13b-12", "llava-1.5-13b", 100 * 1.79 / 14.89, 0.3),
    Row("qwen2-vl-7b", "qwen2-vl-7b", settings=["plan.heads={keep: 14, exempt_layers: 2}"], settings_share=(75, 78)),
    Row("qwen2.5-vl-7b", "qwen2.5-vl-7b"),
    Row("qwen3-vl-8b", "qwen3-vl-8b"),
    Row("internvl2-4b", "internvl2-4b", 100 * 18.42 / 25.68, 0.2),
    Row("internvl2-8b", "internvl2-8b", 100 * 33.19 / 44.25, 0.1),
    Row("internvl2-26b", "internvl2-26b", 100 * 64.7 / 129.4, 0.1),
    Row("internvl3-8b", "internvl3-8b"),
    Row("internvl3.5-8b", "internvl3.5-8b"),
    Row("llava-next-mistral-7b", "llava-next-mistral-7b"),
    Row("llava-onevision-7b", "llava-onevision-7b"),
]
# Billions, as the models are published; what the tower computes past the layer that is read is not counted by a dry run.
PARAMETERS = {"llava-1.5-7b": 7.06, "llava-1.5-13b": 13.35, "qwen2-vl-7b": 8.29, "qwen2.5-vl-7b": 8.29, "qwen3-vl-8b": 8.77, "internvl2-4b": 4.15, "internvl2-8b": 8.08,
              "internvl2-26b": 25.5, "internvl3-8b": 7.94, "internvl3.5-8b": 8.53, "llava-next-mistral-7b": 7.55,
              "llava-onevision-7b": 8.03}
# In TFLOPs for visual tokens, where the paper's image size is known.
DENSE = {"llava-1.5-7b": 7.63, "llava-1.5-13b": 14.89}
STATED = re.compile(r"Dry run: (\d+\.\d) % of the visual FLOPs")


class RecipesTest(Case):
    def model(self, name):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_bytes((ROOT / "configs" / "models" / f"{name}.json").read_bytes())
        return folder

    def dry_run(self, row, *settings):
        flags = [part for setting in settings for part in ("--set", setting)]
        result = run("run", ROOT / "configs" / f"{row.recipe}.yaml", "--dry-run", "--json", "--set",
                     f"model.path={self.model(row.model)}", *flags)
        self.assertEqual(result.returncode, 1, result.stderr)  # the questions of these recipes are not in the repository
        dry_run = json.loads(result.stdout)
        self.assertTrue(dry_run["problems"] and all("data/" in text for text in dry_run["problems"]),
                        dry_run["problems"])
        return dry_run

    def test_every_recipe_and_model_is_covered(self):
        demos = {"demo", "demo_tower"}
        budgets = {f"{model}-budget" for model in PARAMETERS}
        self.assertEqual({path.stem for path in (ROOT / "configs").glob("*.yaml")} - demos - budgets, {row.recipe for row in ROWS})
        self.assertEqual({path.stem for path in (ROOT / "configs" / "models").glob("*.json")}, set(PARAMETERS))
        self.assertEqual(sorted(path.name for path in (ROOT / "configs" / "models").iterdir() if path.is_dir()), [])

    def test_share_of_the_flops(self):
        for row in ROWS:
            with self.subTest(recipe=row.recipe):
                share = 100 * self.dry_run(row)["flops"]["paper"]["fraction"]
                comment = " ".join(line.lstrip("# ") for line in
                                   (ROOT / "configs" / f"{row.recipe}.yaml").read_text().splitlines() if line.startswith("#"))
                stated = STATED.findall(comment)
                self.assertEqual(len(stated), 1, "the comment states the share of the FLOPs once")
                self.assertAlmostEqual(share, float(stated[0]), delta=0.0501)
                if row.share is not None:
                    self.assertAlmostEqual(share, row.share, delta=row.slack)
                if row.settings:
                    share = 100 * self.dry_run(row, *row.settings)["flops"]["paper"]["fraction"]
                    low, high = row.settings_share
                    self.assertTrue(low <= share <= high, f"{share} outside [{low}, {high}]")

    def test_recipes_by_budget(self):
        for model in PARAMETERS:
            with self.subTest(model=model):
                row = Row(f"{model}-budget", model)
                result = self.dry_run(row)
                self.assertEqual(result["budget"], 0.25)
                self.assertFalse(result["plan_known"])
                flops = result["flops"]["exact"]
                self.assertAlmostEqual(flops["pruned"], 0.25 * flops["dense"], delta=1e-6 * flops["dense"])
                # What the search will choose is not known; nothing is said of it.
                for cost in (result["flops"]["paper"], result["flops"]["prefill"], result["kv_bytes"]):
                    self.assertGreater(cost["dense"], 0)
                    self.assertIsNone(cost["pruned"])
                self.assertIn("budgets: [0.5, 0.25, 0.12]", result["settings"])
        recipe = ROOT / "configs" / "llava-1.5-7b-budget.yaml"
        settings = ["--set", f"model.path={self.model('llava-1.5-7b')}"]
        text = run("run", recipe, "--dry-run", *settings).stdout
        self.assertIn("FLOP pruned (25.0 %)", text)
        self.assertNotIn("100.0 %", text)
        self.assertIn("budget 0.25: a search chooses", text)
        kv = json.loads(run("run", ROOT / "configs" / "demo.yaml", "--dry-run", "--json", "--set", "plan.budget.kv=600KB").stdout)
        self.assertEqual(kv["kv_bytes"]["pruned"], 600_000)
        self.assertIsNone(kv["flops"]["exact"]["pruned"])

    def test_sizes_of_the_models(self):
        for row in ROWS:
            with self.subTest(model=row.model):
                result = self.dry_run(row)
                self.assertAlmostEqual(result["parameters"] / 1e9, PARAMETERS[row.model], delta=0.004 * PARAMETERS[row.model])
                if row.model in DENSE:
                    self.assertAlmostEqual(result["flops"]["paper"]["dense"] / 1e12, DENSE[row.model], delta=0.005)

    def test_heads_by_threshold_are_not_known_before_calibration(self):
        for row in ROWS:
            with self.subTest(recipe=row.recipe):
                threshold = "threshold:" in (ROOT / "configs" / f"{row.recipe}.yaml").read_text()
                self.assertEqual(self.dry_run(row)["plan_known"], not threshold)


RECIPE = """\
model: {model}
output: {output}
calibration:
  dataset: {{questions: {calib.questions}, images: {calib.images}, samples: 8}}
plan:
  window: {{size: 3}}
  heads: {{keep: 60, scope: model}}
  ffn: {{keep: 0.5, scope: model}}
  visual_layers: 0.75
verify: {{samples: 2}}
evaluate:
  - {{benchmark: vqa, questions: {test.questions}, images: {test.images}, samples: 25, batch_size: 5}}
"""


class DryRunTest(Case):
    def setUp(self):
        super().setUp()
        self.recipe = self.folder / "recipe.yaml"
        self.recipe.write_text(RECIPE.format(model=MODEL, output=self.folder / "out", calib=CALIB, test=TEST))

    def dry_run(self, *flags):
        return self.yopo_json("run", self.recipe, "--dry-run", *flags)

    def test_counts_across_the_model(self):
        """As `plan` takes them; a count above what the layers have is refused alike."""
        result = self.dry_run()
        self.assertTrue(result["plan_known"] and result["plan_spread"])
        self.assertIn("visual_layers: 0.75", result["settings"])
        refused = run("run", self.recipe, "--dry-run", "--set", "plan.heads.keep=65")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("65 heads are above the 64 that 8 layers have", refused.stderr)

    def test_figures_are_those_of_run_and_inspect(self):
        dry = self.dry_run()
        self.assertEqual(dry["prompt"]["name"], f"20 samples of {TEST.questions}")
        result = self.yopo_json("run", self.recipe)
        self.assertEqual(result["prompts"], dry["prompt"]["name"])
        comparison = result["comparison"]
        for name in ("paper", "exact"):
            self.assertAlmostEqual(dry["flops"][name]["fraction"], comparison["visual_flops_fraction"][name], delta=1e-3)
        self.assertAlmostEqual(dry["flops"]["prefill"]["dense"], comparison["dense"]["prefill_flops"], delta=1)
        planned = self.yopo_json("plan", self.recipe)["report"]
        self.assertEqual(planned["prompt"], dry["prompt"])
        for name in ("paper", "exact"):
            self.assertAlmostEqual(planned["flops"][f"{name}_visual"]["kept"], comparison["visual_flops_fraction"][name], places=12)
        inspected = self.yopo_json("inspect", self.folder / "out" / "pruned", *TEST.flags())["report"]
        self.assertIn(str(TEST.questions), inspected["prompt"]["name"])
        self.assertGreater(inspected["prompt"]["count"], 20)
        # What is in the recipe's folder is shown on the recipe's samples; a plan that is elsewhere on a typical prompt.
        out, elsewhere = self.folder / "out", self.folder / "elsewhere.json"
        for path in (("inspect", out / "pruned"), ("inspect", f"{out / 'pruned'}/"), ("inspect", out / "plan.json", "--model", MODEL)):
            inspected = self.yopo_json(*path)["report"]
            self.assertEqual(inspected["prompt"], dry["prompt"])
            self.assertEqual(inspected["flops"], planned["flops"])
            self.assertEqual(inspected["kv_bytes"], planned["kv_bytes"])
        again = run("run", self.recipe, "--dry-run", "--set", f"model.path={out / 'pruned'}")
        self.assertEqual(again.returncode, 1)
        self.assertIn("is an exported checkpoint already", again.stdout)
        elsewhere.write_bytes((out / "plan.json").read_bytes())
        (self.folder / "recipe.yaml").rename(self.folder / "moved.yaml")
        inspected = self.yopo_json("inspect", elsewhere, "--model", MODEL)["report"]
        self.assertEqual(inspected["prompt"], {"name": "a typical prompt", "count": 1, "text": 99, "visual": 81})

    def test_disk_is_what_a_run_writes(self):
        """Within what HDF5 adds: also where all samples are used, and where fewer are there than were asked for."""
        self.recipe.write_text(self.recipe.read_text().replace("samples: 25", "samples: 5"))
        for samples in (8, 0, 100000):
            output = self.folder / f"of-{samples}"
            flags = [self.recipe, "--set", f"calibration.dataset.samples={samples}", "--set", f"output={output}"]
            promised = self.yopo_json("run", *flags, "--dry-run")["disk_bytes"]["statistics"]
            self.yopo("calibrate", *flags)
            self.assertAlmostEqual((output / "stats.h5").stat().st_size / promised, 1, delta=0.1)

    def test_units_fit_the_model(self):
        shown = self.yopo("run", self.recipe, "--dry-run").stdout
        self.assertRegex(shown, r"visual FLOPs, paper\s+\d+\.\d\d MFLOP dense, \d+\.\d\d MFLOP pruned \(")
        self.assertIn(f"20 samples of {TEST.questions}: ", shown)
        self.assertNotIn("0.000", shown)

    def test_what_is_missing_is_named(self):
        for key, value, words in (("calibration.dataset.questions", self.folder / "none.jsonl", ["none.jsonl"]),
                                  ("calibration.dataset.images", self.folder / "nowhere", ["nowhere"]),
                                  ("evaluate.0.questions", self.folder / "none.jsonl", ["none.jsonl"]),
                                  ("evaluate.0.annotations", self.folder / "key.json", ["key.json"]),
                                  ("plan.semantics", "llava", ["only 'skip' plans can be exported"])):
            with self.subTest(key=key):
                result = run("run", self.recipe, "--dry-run", "--set", f"{key}={value}")
                self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                problems = [line for line in result.stdout.splitlines() if line.startswith("problem: ")]
                self.assertEqual(len(problems), 1, problems)
                for word in words:
                    self.assertIn(word, problems[0])

    def test_what_cannot_be_exported_is_not_calibrated(self):
        other = self.folder / "other"
        refused = run("run", self.recipe, "--set", "plan.semantics=llava", "--set", f"output={other}")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("only 'skip' plans can be exported", refused.stderr)
        self.assertFalse((other / "stats.h5").exists())

    def test_memory(self):
        """LLaVA-1.5-7B in bf16 on a machine of 24 GiB, of which four fifths are taken: measured 14.1 GB to calibrate and 19.7 GB to
        verify (docs/results.md)."""
        model = self.folder / "7b"
        model.mkdir()
        config = json.loads((ROOT / "configs" / "models" / "llava-1.5-7b.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "torch_dtype": "bfloat16"}))
        sizes = lambda memory: json.loads(run("run", self.recipe, "--dry-run", "--json", "--set", f"model.path={model}", "--set",
                                              "plan.heads=null", "--set", "verify.samples=4", "--memory", memory).stdout)["memory_bytes"]
        wide = sizes("20.6GB")
        self.assertAlmostEqual(wide["calibrate"] / 1e9, 14.1, delta=0.3)
        self.assertAlmostEqual(wide["verify"] / 1e9, 19.7, delta=1)
        self.assertFalse(wide["calibrate_streams"])
        self.assertTrue(wide["verify_streams"])
        narrow = sizes("8GB")
        self.assertTrue(narrow["calibrate_streams"] and narrow["verify_streams"])
        self.assertLessEqual(max(narrow["calibrate"], narrow["verify"]), 8e9)
        vast = sizes("400GB")  # under a limit one engine at a time, in fp32
        self.assertAlmostEqual(vast["verify"] / 1e9, 4 * 7.06 + 1, delta=0.5)
        self.assertFalse(vast["verify_streams"])


if __name__ == "__main__":
    unittest.main()
