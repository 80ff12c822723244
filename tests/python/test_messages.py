"""Messages that say what to do next, through the command itself."""
import shutil
import unittest

from refusals import BadInput
from support import CALIB, MODEL, TEST


class InspectTest(BadInput):
    def test_what_cannot_be_shown(self):
        expected = "expected a checkpoint folder, plan.json or stats.h5"
        for name, content in (("verify.json", '{"passed": true}'), ("config.json", (MODEL / "config.json").read_text()),
                              ("headmask.npy", "\x93NUMPY")):
            file = self.folder / name
            file.write_text(content)
            self.refused("inspect", file, naming=[file, expected])
        out = self.folder / "out"
        out.mkdir()
        self.refused("inspect", out, naming=[out, expected])
        shutil.copytree(MODEL, out / "pruned")
        self.refused("inspect", out, naming=[out, expected, f"did you mean {out / 'pruned'}?"])

    def test_heads_that_look_least(self):
        ratios = self.yopo_json("inspect", self.stats())["mean_ratio"]
        shown = self.yopo("inspect", self.stats()).stdout
        for layer, row in enumerate(ratios):
            least = " ".join(str(head) for head in sorted(range(len(row)), key=lambda head: row[head])[:4])
            self.assertRegex(shown, rf"(?m)^{layer} .* {least}$")


class CalibrateTest(BadInput):
    def test_other_numbers_of_samples(self):
        stats = self.folder / "stats.h5"
        calibrate = ["calibrate", "--model", MODEL, *CALIB.flags(), "--output", stats, "--samples"]
        self.yopo(*calibrate, 3)
        self.refused(*calibrate, 2, naming=[stats, "3 samples there, 2 now"])
        self.assertIn("already calibrated", self.yopo(*calibrate, 3).stderr)


class EvalTest(BadInput):
    def test_questions_without_labels_are_said_before_they_are_asked(self):
        questions = self.folder / "questions.jsonl"
        questions.write_text('{"question_id": 1, "image": "0000.png", "text": "What?", "category": "default"}\n')
        shown = self.yopo("eval", "--model", MODEL, "--benchmark", "vqav2", "--questions", questions, "--images", TEST.images,
                          "--max-new-tokens", 1, "--output", self.folder / "scores")
        self.assertIn("vqav2: there are no labels among its files", shown.stderr)
        self.assertRegex(shown.stdout, r"vqav2 +dense +all 1 +-")


class ExportTest(BadInput):
    def test_the_plan_is_named_once(self):
        plan, pruned = self.folder / "plan.json", self.folder / "pruned"
        self.yopo("export", "--model", MODEL, "--plan", self.plan(), "--output", pruned)
        self.yopo("plan", "--stats", self.stats(), "--model", MODEL, "--ffn-keep", "0.5", "--output", plan)
        self.refused("export", "--model", MODEL, "--plan", plan, "--output", pruned, naming=[pruned, "(other plan)"])


class RecipeTest(BadInput):
    def test_yaml(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("model: m\noutput: o\nplan:\n\tffn: {keep: 0.5}\n")
        self.refused("run", recipe, naming=["recipe.yaml:4", "tabs cannot indent YAML"])
        recipe.write_text("model: m\noutput: o\nplan: none\n")
        self.refused("run", recipe, naming=["recipe.yaml:3", "visual_layers", "budget"])


class RandomTest(BadInput):
    def test_what_a_random_checkpoint_lacks_is_said(self):
        model = self.folder / "random"
        self.yopo("random", "--config", MODEL / "config.json", "--output", model, "--layers", 2)
        self.refused("generate", "--model", model, "--prompt", "hi", naming=["benchmarks/make_tokenizer.py", model])
        self.refused("calibrate", "--model", model, *CALIB.flags(), "--samples", 1, "--output", self.folder / "stats.h5",
                     naming=["benchmarks/make_tokenizer.py", model])
        self.assertIn("make_tokenizer.py", self.yopo("random", "--help").stdout)


class PlanTest(BadInput):
    def test_updates_beyond_the_heads_are_said(self):
        flags = ["plan", "--stats", self.stats(), "--model", MODEL, "--heads-keep", "0.25"]
        shown = self.yopo(*flags, "--updates-keep", "0.5", "--output", self.folder / "capped.json")
        self.assertIn("plan: --updates-keep: 4 heads a layer, but 'heads' keeps fewer in 11 layers", shown.stderr)
        self.assertIn("yopo inspect MODEL --plan FILE --questions", shown.stdout)
        shown = self.yopo(*flags, "--updates-keep", "0.25", "--output", self.folder / "whole.json")
        self.assertNotIn("updates", shown.stderr)

    def test_devices(self):
        for wrong, meant in (("gpu", "cuda"), ("cdua", "cuda"), ("atuo", "auto")):
            self.refused(*self.generate(MODEL), "--device", wrong, naming=["expected one of auto, cpu, cuda", f"did you mean '{meant}'?"])


if __name__ == "__main__":
    unittest.main()
