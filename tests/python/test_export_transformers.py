"""A pruned checkpoint is still a plain checkpoint: transformers runs it, unmodified, with the original's logits."""
import json
import shutil
import unittest

from digitgrid_hf import HuggingFace
from support import CALIB, MODEL, TEST, TOWER, Case
import torch
from transformers import AutoImageProcessor, AutoProcessor

LIMIT = 1e-4  # max |difference| / max |logit|
CHECKED = 6
ANSWERS = 20
NEW_TOKENS = 4

# Every kind of reordering: heads in two classes, neurons across the model, and few layers.
PLANS = {
    MODEL: ["--heads-keep", "0.75", "--updates-keep", "0.25", "--ffn-keep", "0.25", "--ffn-score", "wanda", "--ffn-scope",
            "model", "--window", "3", "--window-causal", "--visual-layers", "10"],
    TOWER: ["--heads-keep", "0.5", "--ffn-keep", "0.0", "--window", "1", "--window-causal", "--visual-layers", "6"],
}


def spread(samples, count):
    """`count` samples evenly over the file, so that every kind of question is among them."""
    return [samples[i * len(samples) // count] for i in range(count)]


class ExportTest(Case):
    def export(self, model):
        stats, plan, pruned = self.folder / "stats.h5", self.folder / "plan.json", self.folder / "pruned"
        self.yopo("calibrate", "--model", model, *CALIB.flags(), "--samples", 24, "--output", stats)
        self.yopo("plan", "--stats", stats, "--model", model, *PLANS[model], "--output", plan)
        self.yopo("export", "--model", model, "--plan", plan, "--output", pruned)
        return pruned

    def check_logits(self, model):
        pruned = self.export(model)
        config = json.loads((pruned / "config.json").read_text())
        self.assertEqual(config["yopo"]["format"], "yopo-pruned")
        original, exported = HuggingFace(model), HuggingFace(pruned)
        weight = "model.language_model.layers.0.self_attn.q_proj.weight"
        self.assertFalse(torch.equal(original.model.state_dict()[weight], exported.model.state_dict()[weight]),
                         "the export reordered nothing, so this test shows nothing")
        worst = 0.0
        for sample in spread(TEST.samples(), CHECKED):
            inputs = original.inputs(sample, TEST.images)
            again = exported.inputs(sample, TEST.images)
            self.assertTrue(torch.equal(inputs["input_ids"], again["input_ids"]))
            self.assertTrue(torch.equal(inputs["pixel_values"], again["pixel_values"]))
            expected, found = original.logits(inputs), exported.logits(again)
            self.assertEqual(expected.shape, found.shape)
            difference = ((found - expected).abs().max() / expected.abs().max()).item()
            # Written so that NaN fails.
            self.assertTrue(difference <= LIMIT, f"question {sample['question_id']}: {difference:.3g} > {LIMIT}")
            worst = max(worst, difference)
        print(f"largest relative logit difference over {CHECKED} samples: {worst:.3g}", flush=True)

    def test_model(self):
        self.check_logits(MODEL)

    def test_model_tower(self):
        self.check_logits(TOWER)


class OlderLoaderTest(Case):
    def test_image_rules_of_transformers_5(self):
        """A source whose image rules lie in processor_config.json alone: this transformers loads only the export."""
        source = self.folder / "source"
        shutil.copytree(MODEL, source)
        rules = json.loads((source / "preprocessor_config.json").read_text())
        (source / "preprocessor_config.json").unlink()
        processor = json.loads((source / "processor_config.json").read_text()) if (source / "processor_config.json").exists() else {}
        nested = {**rules, "image_processor_type": "CLIPImageProcessorPil", "image_mean": [0.25, 0.5, 0.75]}
        nested.pop("processor_class", None)
        (source / "processor_config.json").write_text(json.dumps({**processor, "image_processor": nested, "processor_class": "LlavaProcessor"}))
        with self.assertRaises((OSError, ValueError)):
            AutoImageProcessor.from_pretrained(source, use_fast=False)
        plan, pruned = self.folder / "plan.json", self.folder / "pruned"
        self.yopo("plan", "--model", source, "--visual-layers", 5, "--output", plan)
        told = self.yopo_json("export", "--model", source, "--plan", plan, "--output", pruned)
        self.assertEqual(told["derived"], ["preprocessor_config.json"])
        loaded = AutoImageProcessor.from_pretrained(pruned, use_fast=False)
        self.assertEqual((type(loaded).__name__, loaded.image_mean), ("CLIPImageProcessor", [0.25, 0.5, 0.75]))
        whole = AutoProcessor.from_pretrained(pruned, use_fast=False)
        self.assertEqual((type(whole).__name__, whole.image_processor.image_mean), ("LlavaProcessor", [0.25, 0.5, 0.75]))


class GenerateTest(Case):
    def check_answers(self, model):
        """Tokenizer, image rules, forward and greedy decoding in one: the same answers as transformers."""
        reference = HuggingFace(model)
        for sample in spread(TEST.samples(), ANSWERS):
            with self.subTest(question=sample["question_id"]):
                inputs = reference.inputs(sample, TEST.images)
                found = self.yopo_json("generate", "--model", model, "--image", TEST.images / sample["image"], "--prompt",
                                       sample["text"], "--max-new-tokens", NEW_TOKENS, "--dtype", "fp32")
                self.assertEqual(found["input_ids"], inputs["input_ids"][0].tolist())
                self.assertEqual(found["text"], reference.answer(inputs, NEW_TOKENS))

    def test_model(self):
        self.check_answers(MODEL)

    def test_model_tower(self):
        self.check_answers(TOWER)


if __name__ == "__main__":
    unittest.main()
