"""`transformers_code`: an export that runs pruned through from_pretrained(..., trust_remote_code=True), where there is no package yopo."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import yopo_package  # noqa: F401  (before torch)
from pruned_cases import FIXTURES, dense
from support import MODEL, ROOT, TEST, Case, run
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor

import yopo.transformers

# In the other process: logits of the same inputs, and what class the model is of.
SCRIPT = """
import importlib.util, json, sys, torch_cpu
if sys.argv[1] == "5":
    sys.path.insert(0, sys.prefix + "/transformers5")
assert importlib.util.find_spec("yopo") is None
import torch, transformers
assert transformers.__version__[0] == sys.argv[1], transformers.__version__
from safetensors.torch import load_file, save_file
folder, inputs, output, arguments = sys.argv[2:]
model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, **json.loads(arguments)).eval()
given = load_file(inputs)
with torch.no_grad():
    logits = model(**given).logits
    ids = model.generate(**given, max_new_tokens=4, do_sample=False)
save_file({"logits": logits, "ids": ids}, output)
print(json.dumps([type(model).__module__, type(model).__name__]))
"""


class RemoteCode(Case):
    def setUp(self):
        super().setUp()
        draw = torch.Generator().manual_seed(5)
        layers = []
        for index in range(11):
            heads = [int(x) for x in torch.rand(8, generator=draw) < 0.8]
            neurons = sorted(torch.randperm(384, generator=draw)[:150].tolist())
            layers.append({"window": {"size": 3, "causal": True}, "heads": heads, "updates": [int(x and n % 2) for n, x in enumerate(heads)], "neurons": neurons}
                          if index < 10 else {"alive": False, "heads": [1] * 8})
        self.plan = self.folder / "plan.json"
        self.plan.write_text(json.dumps({"format": "yopo-plan", "version": 2, "semantics": "skip", "provenance": {}, "layers": layers}))
        self.pruned = self.export("pruned", "--transformers-code")
        processor = AutoProcessor.from_pretrained(MODEL, use_fast=False)
        from PIL import Image

        samples = TEST.samples()[:8:4]
        images = [Image.open(TEST.images / sample["image"]).convert("RGB") for sample in samples]
        processor.tokenizer.padding_side = "left"
        given = processor(text=[f"USER: <image>\n{sample['text']} ASSISTANT:" for sample in samples], images=images, return_tensors="pt", padding=True)
        self.inputs = {name: value for name, value in given.items() if name != "token_type_ids"}
        save_file(self.inputs, self.folder / "inputs.safetensors")

    def export(self, name, *flags):
        self.yopo("export", "--model", MODEL, "--plan", self.plan, "--output", self.folder / name, *flags)
        return self.folder / name

    def elsewhere(self, folder, **arguments):
        """Logits, and the class, in a process that has no yopo."""
        output = self.folder / "found.safetensors"
        done = subprocess.run(
            [sys.executable, "-B", "-c", SCRIPT, yopo_package.transformers.__version__[0], str(folder), str(self.folder / "inputs.safetensors"), str(output), json.dumps(arguments)],
            capture_output=True, text=True, timeout=300, cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent), "HF_HOME": str(self.folder / "hub")})
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        found = load_file(output)
        return found["logits"], found["ids"], json.loads(done.stdout.splitlines()[-1])

    @torch.no_grad()
    def logits(self, model):
        return model(**self.inputs).logits

    def test_runs_pruned_without_the_package(self):
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).eval()
        found, ids, kind = self.elsewhere(self.pruned, trust_remote_code=True)
        self.assertTrue(torch.equal(found, self.logits(model)))
        self.assertTrue(torch.equal(ids, model.generate(**self.inputs, max_new_tokens=4, do_sample=False)))
        self.assertEqual(kind, ["transformers.models.llava.modeling_llava", "LlavaForConditionalGeneration"])
        whole = self.logits(dense(MODEL))
        self.assertGreater((found - whole).abs().max().item(), 0.1)
        # Who does not trust it has the dense model.
        untrusting, _, _ = self.elsewhere(self.pruned)
        self.assertLess((untrusting - whole).abs().max().item(), 1e-4)

    def test_a_budget_with_compensation(self):
        config, tensors, draw, plans = json.loads((self.pruned / "config.json").read_text()), {}, torch.Generator().manual_seed(3), {}
        for budget, rank in (("0.5", 4), ("0.25", 0)):
            plans[budget] = {"layers": [dict(layer) for layer in config["yopo"]["layers"]]}
            plans[budget]["layers"][1]["compensation"] = {"rank": rank}
            at = f"budgets.{budget}.layers.1."
            tensors[at + "bias"] = 0.2 * torch.randn(128, generator=draw)
            if rank:
                tensors[at + "down"], tensors[at + "up"] = 0.2 * torch.randn(rank, 128, generator=draw), 0.2 * torch.randn(128, rank, generator=draw)
        config["yopo"] = {"format": "yopo-pruned", "version": 3, "default": "0.5", "plans": plans}
        (self.pruned / "config.json").write_text(json.dumps(config))
        save_file(tensors, self.pruned / "yopo.safetensors")
        logits = []
        for arguments in ({}, {"budget": 0.25}):
            found, _, _ = self.elsewhere(self.pruned, trust_remote_code=True, **arguments)
            self.assertTrue(torch.equal(found, self.logits(yopo.transformers.load(self.pruned, dtype=torch.float32, **arguments).eval())))
            logits.append(found)
        self.assertFalse(torch.equal(*logits))

    def test_what_is_written(self):
        """The same files as without it but for the code and what config.json says of it; and what `save` writes has it, too."""
        plain = self.export("plain")
        names = {path.name for path in plain.iterdir()}
        code = {path.name for path in self.pruned.iterdir()} - names
        sources = {path.name for path in (ROOT / "python/yopo/transformers").glob("*.py")} - {"__init__.py", "remote.py"} | {"errors.py", "plan_files.py"}
        self.assertEqual(code, {"modeling_yopo.py"} | {"yopo_" + name for name in sources})
        for name in names - {"config.json"}:
            self.assertEqual((plain / name).read_bytes(), (self.pruned / name).read_bytes(), name)
        before, after = (json.loads((folder / "config.json").read_text()) for folder in (plain, self.pruned))
        self.assertEqual(after.pop("auto_map"), {"AutoModelForImageTextToText": "modeling_yopo.PrunedModel"})
        after["yopo"]["provenance"].pop("transformers_code")
        self.assertEqual(before, after)
        again = self.folder / "again"
        yopo.transformers.save(yopo.transformers.load(self.pruned, dtype=torch.float32), again)
        found, _, _ = self.elsewhere(again, trust_remote_code=True)
        self.assertTrue(torch.equal(found, self.logits(yopo.transformers.load(self.pruned, dtype=torch.float32).eval())))
        refused = run("export", "--model", MODEL, "--plan", self.plan, "--output", self.pruned)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("is an export of other inputs (other transformers_code)", refused.stderr)

    def test_classes_that_are_not_known(self):
        model = next(path.parent for path in sorted(FIXTURES.glob("*/model/config.json")) if "InternVLChatModel" in path.read_text())
        self.yopo("plan", "--model", model, "--visual-layers", 1, "--output", self.folder / "other.json")
        refused = run("export", "--model", model, "--plan", self.folder / "other.json", "--output", self.folder / "out", "--transformers-code")
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("transformers_code: 'InternVLChatModel' is no class that yopo knows in transformers", refused.stderr)
        self.assertFalse((self.folder / "out").exists())
        # A model with code of its own for the same auto class keeps it.
        copy = self.folder / "copy"
        shutil.copytree(MODEL, copy)
        config = json.loads((copy / "config.json").read_text())
        config["auto_map"] = {"AutoModelForImageTextToText": "theirs.Model"}
        (copy / "config.json").write_text(json.dumps(config))
        refused = run("export", "--model", copy, "--plan", self.plan, "--output", self.folder / "out", "--transformers-code")
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("has an auto_map with code of its own", refused.stderr)


if __name__ == "__main__":
    unittest.main()
