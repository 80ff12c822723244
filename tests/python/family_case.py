"""A test of a family through the command: small models made once, the stages, and what an export must keep."""
import atexit
import functools
import json
import pathlib
import shutil
import tempfile

from family_models import Questions, make_internvl2, make_qwen2_vl, stored_tensors
import torch
from safetensors.torch import load_file

from support import Case, plan_columns

LIMIT = 1e-4  # max |difference| / max |logit|
NEW_TOKENS = 8
PLAIN = ["--dtype", "fp32", "--threads", 1]  # one thread: such models gain nothing from two
QWEN2_VL = {"flat_tied": (True, "published"), "flat": (False, "published"), "saved_tied": (True, "saved"),  # tied head, form
            "new_keys": (False, "new_keys")}
SHARED = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
atexit.register(shutil.rmtree, SHARED, ignore_errors=True)


@functools.cache
def questions():
    return Questions(SHARED / "questions")


@functools.cache
def qwen2_vl(name):
    return make_qwen2_vl(SHARED / name, *QWEN2_VL[name])


@functools.cache
def internvl2(name):
    return make_internvl2(SHARED / name, name)


class FamilyCase(Case):
    def check_logits(self, found, expected, what=""):
        self.assertEqual(found.shape, expected.shape)
        difference = ((found - expected).abs().max() / expected.abs().max()).item()
        self.assertTrue(difference <= LIMIT, f"{what}: {difference:.3g} > {LIMIT}")  # written so that NaN fails

    def generate(self, model, text, images, *flags):
        named = [part for image in images for part in ("--image", image)]
        return self.yopo_json("generate", "--model", model, *named, "--prompt", text, "--max-new-tokens", NEW_TOKENS, *PLAIN, *flags)

    def answers(self, model, *flags):
        """Answers to all questions, in their order."""
        output = self.folder / "scores"
        self.yopo("eval", "--model", model, "--benchmark", "vqa", *questions().flags(), "--max-new-tokens", NEW_TOKENS, "--output",
                  output, *PLAIN, *flags)
        (file,) = (output / "answers").glob("*.jsonl")
        given = {record["question_id"]: record["text"] for record in map(json.loads, file.read_text().splitlines())}
        shutil.rmtree(output)
        return [given[sample["question_id"]] for sample in questions().samples]

    def trace(self, model, inputs, *flags):
        output = self.folder / "trace.safetensors"
        self.yopo("trace", "--model", model, "--inputs", inputs, "--output", output, *PLAIN, *flags)
        return load_file(output)

    def calibrate(self, model, queries):
        stats = self.folder / f"{queries}.h5"
        self.yopo("calibrate", "--model", model, *questions().flags(), "--queries", queries, "--output", stats, *PLAIN)
        return stats

    def export(self, model, stats, *flags):
        """The plan by kind of saving and the exported folder, verified."""
        plan, pruned, proof = self.folder / "plan.json", self.folder / "pruned", self.folder / "verify.json"
        self.yopo("plan", "--stats", stats, "--model", model, *flags, "--output", plan)
        self.yopo("export", "--model", model, "--plan", plan, "--output", pruned)
        self.yopo("verify", "--model", pruned, "--original", model, *questions().flags(), "--samples", 5, "--output", proof,
                  "--threads", 1)
        self.assertTrue(json.loads(proof.read_text())["passed"])
        return plan_columns(plan), pruned

    def check_reordered(self, model, pruned, query):
        """The same tensors with other weights where the plan reorders; what belongs to the checkpoint came along."""
        before, after = stored_tensors(model), stored_tensors(pruned)
        kinds = [{name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} for tensors in (before, after)]
        self.assertEqual(kinds[1], kinds[0])
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        self.assertTrue(any(name.endswith(query) for name in moved), f"the export reordered no {query}, so this test shows little")
        self.assertFalse([name for name in moved if "visual" in name or "vision" in name or "mlp1" in name])
        kept = sorted(p.name for p in model.iterdir() if p.suffix in (".json", ".py", ".model") and p.name != "config.json")
        for name in kept:
            self.assertEqual((pruned / name).read_bytes(), (model / name).read_bytes(), name)
        config = json.loads((pruned / "config.json").read_text())
        self.assertEqual(config.pop("yopo")["format"], "yopo-pruned")
        self.assertEqual(config, json.loads((model / "config.json").read_text()))
