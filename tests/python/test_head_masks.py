"""Published head masks, .npy and of torch.save, make plans without statistics; inspect shows what they save."""
import json
import os
import unittest

from support import MODEL, ROOT, Case, plan_columns, run
from torch_files import Call
import numpy
import torch


class HeadMasks(Case):
    def model(self, size):
        return ROOT / "configs" / "models" / f"llava-1.5-{size}.json"

    def plan(self, mask, size="13b", *flags):
        output = self.folder / "plan.json"
        self.yopo("plan", "--model", self.model(size), "--head-mask", mask, *flags, "--output", output, "--force")
        return output

    def mask(self, layers, heads, kept):
        """`kept` heads of each layer, others in each."""
        mask = numpy.zeros((layers, heads), dtype=bool)
        for layer in range(layers):
            mask[layer, numpy.arange(kept) + layer % (heads - kept + 1)] = True
        return mask

    def test_published_npy(self):
        mask = self.mask(40, 40, 30)
        mask[:2] = True
        path = self.folder / "headmask_13b_30.npy"
        for dtype in (bool, numpy.uint8, numpy.int64, numpy.float32):
            numpy.save(path, mask.astype(dtype))
            plan = plan_columns(self.plan(path, "13b", "--window", 5, "--visual-layers", 40))
            self.assertEqual(plan["heads"], mask.astype(int).tolist())
        report = self.yopo_json("inspect", self.model("13b"), "--plan", self.folder / "plan.json")["report"]
        self.assertEqual([layer["heads"] for layer in report["layers"]], [40, 40] + [30] * 38)
        for convention in ("paper_visual", "exact_visual", "exact_prefill", "exact_decode"):
            self.assertGreater(report["flops"][convention]["dense"], report["flops"][convention]["plan"])
        self.assertAlmostEqual(report["flops"]["paper_visual"]["dense"] / 1e12, 14.89, delta=0.005)
        shown = self.yopo("inspect", self.folder / "plan.json", "--model", self.model("13b")).stdout
        self.assertEqual(shown, self.yopo("inspect", self.model("13b"), "--plan", self.folder / "plan.json").stdout)
        for line in ("    0 - 1      40        40", "   2 - 39      30        30", "visual tokens, paper convention",
                     "visual tokens, exact", "14.89 TFLOP"):
            self.assertIn(line, shown)

    def test_published_torch_files(self):
        mask = self.mask(40, 40, 16)
        path = self.folder / "mask_13b.pth"
        tensor = torch.from_numpy(mask)
        for value in (tensor, tensor.float(), tensor.half(), tensor.long(), list(tensor), list(tensor.float()), tuple(tensor), [tensor],
                      tensor.t().contiguous().t(), torch.nn.Parameter(tensor.float())):
            torch.save(value, path)
            self.assertEqual(plan_columns(self.plan(path))["heads"], mask.astype(int).tolist())

    def refused(self, mask, size, *naming):
        result = run("plan", "--model", self.model(size), "--head-mask", mask, "--output", self.folder / "none.json")
        self.assertEqual(result.returncode, 2, result.stderr)
        for part in (str(mask), *naming):
            self.assertIn(part, result.stderr)
        self.assertFalse((self.folder / "none.json").exists())

    def test_other_masks_are_refused(self):
        npy, pth = self.folder / "mask.npy", self.folder / "mask.pth"
        numpy.save(npy, self.mask(40, 40, 30))
        self.refused(npy, "7b", "expected a head mask of shape [32, 32] (32 layers, 32 heads), found [40, 40]")
        numpy.save(npy, self.mask(32, 32, 24).astype(int) * 2)
        self.refused(npy, "7b", "expected 0 or 1, found 2")
        numpy.save(npy, numpy.array([{"a": 1}]), allow_pickle=True)
        self.refused(npy, "7b", "holds Python objects")
        for value, message in ((torch.zeros(32, 40), "expected a head mask of shape [32, 32] (32 layers, 32 heads), found [32, 40]"),
                               (torch.zeros(32), "found [1, 32]"), ([torch.zeros(32)] * 31, "found [31, 32]"),
                               ([torch.zeros(32), torch.zeros(31)], "element 1: shape [31], but element 0 has [32]"),
                               (torch.full((32, 32), 0.5), "element 0 is 0.5; a mask holds only 0 and 1"),
                               (torch.full((32, 32), float("nan")), "element 0 is nan"), ([], "an empty list"),
                               ({"a": torch.zeros(32, 32)}, "expected a tensor or a list of tensors, found a dict"),
                               (Call(os.system, "true"), "only tensors are read")):
            with self.subTest(message=message):
                torch.save(value, pth)
                self.refused(pth, "7b", message)

    def test_figures_of_the_paper(self):
        """The published recipe at 7B: 24 of 32 heads, window 5, half the FFN neurons, 16 of 32 layers."""
        path = self.folder / "headmask_7b_24.npy"
        numpy.save(path, self.mask(32, 32, 24))
        plan = self.plan(path, "7b", "--window", 5, "--visual-layers", 16)
        changed = json.loads(plan.read_text())
        self.assertEqual(plan_columns(plan)["neurons"], [None] * 32)
        for layer in changed["layers"][:16]:
            layer["neurons"] = list(range(5504))  # the published code keeps the first half
        plan.write_text(json.dumps(changed))
        flops = self.yopo_json("inspect", self.model("7b"), "--plan", plan)["report"]["flops"]["paper_visual"]
        self.assertAlmostEqual(flops["dense"] / 1e12, 7.63, delta=0.005)
        self.assertAlmostEqual(flops["kept"], 0.285, delta=0.0005)
        text = self.yopo("inspect", self.model("7b"), "--plan", plan).stdout
        self.assertIn("7.63 TFLOP", text)
        self.assertIn("28.5%", text)

    def test_random_plans_without_statistics(self):
        """Counts suffice: of each layer, or across the model spread evenly; --semantics stays."""
        output = self.folder / "plan.json"
        command = ["plan", "--model", self.model("7b"), "--random", 3, "--force", "--output", output]
        self.yopo(*command, "--heads-keep", 700, "--heads-scope", "model", "--ffn-keep", 0.25, "--ffn-scope", "model",
                  "--visual-layers", "0.75", "--semantics", "llava")
        plan = plan_columns(output)
        self.assertEqual(json.loads(output.read_text())["semantics"], "llava")
        self.assertEqual(plan["visual_layers"], 24)
        heads = [sum(row) for row in plan["heads"]]
        self.assertEqual(heads[:24], [30] * 4 + [29] * 20)
        self.assertEqual(sum(heads[:24]), 700)
        self.assertEqual([len(set_) for set_ in plan["neurons"][:24]], [2752] * 24)
        self.assertNotEqual(plan["heads"][4], plan["heads"][5])
        refused = run(*command, "--heads-keep", 769, "--heads-scope", "model", "--visual-layers", 24)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("769 heads are above the 768 that 24 layers have", refused.stderr)
        refused = run(*command, "--threshold", "0.1")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--stats", refused.stderr)

    def test_recipe_without_statistics(self):
        mask = self.folder / "mask.npy"
        layers = json.loads((MODEL / "config.json").read_text())["text_config"]
        kept = self.mask(layers["num_hidden_layers"], layers["num_attention_heads"], 1)
        numpy.save(mask, kept)
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(f"model: {MODEL}\noutput: {self.folder / 'out'}\nplan:\n  heads: {{mask: {mask}}}\n")
        self.yopo("plan", recipe)
        plan = plan_columns(self.folder / "out" / "plan.json")
        self.assertEqual(plan["heads"], kept.astype(int).tolist())
        recipe.write_text(recipe.read_text() + "  ffn: {keep: 0.5}\n")
        result = run("plan", recipe, "--set", f"output={self.folder / 'other'}")
        self.assertEqual(result.returncode, 2)
        self.assertIn("no statistics yet", result.stderr)


if __name__ == "__main__":
    unittest.main()
