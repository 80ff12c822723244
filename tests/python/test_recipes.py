"""The recipes in configs/ against the architectures in configs/models/: each passes a dry run with config.json alone, spends the
share of visual FLOPs that its comment states and the paper gives, and its architecture has the published number of parameters."""
import collections
import re
import unittest

from support import ROOT, Case

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
    Row("internvl2-4b", "internvl2-4b", 100 * 18.42 / 25.68, 0.2),
    Row("internvl2-8b", "internvl2-8b", 100 * 33.19 / 44.25, 0.1),
    Row("internvl2-26b", "internvl2-26b", 100 * 64.7 / 129.4, 0.1),
]
# Billions, as the models are published; what the tower computes past the layer that is read is not counted by a dry run.
PARAMETERS = {"llava-1.5-7b": 7.06, "llava-1.5-13b": 13.35, "qwen2-vl-7b": 8.29, "internvl2-4b": 4.15, "internvl2-8b": 8.08,
              "internvl2-26b": 25.5}
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
        return self.yopo_json("run", ROOT / "configs" / f"{row.recipe}.yaml", "--dry-run", "--set",
                              f"model.path={self.model(row.model)}", *flags)

    def test_every_recipe_and_model_is_covered(self):
        demos = {"demo", "demo_tower"}
        self.assertEqual({path.stem for path in (ROOT / "configs").glob("*.yaml")} - demos, {row.recipe for row in ROWS})
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


if __name__ == "__main__":
    unittest.main()
