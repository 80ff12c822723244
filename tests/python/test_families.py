"""Qwen2-VL and InternVL2 through the command, from prompt to verified checkpoint, on small random models."""
import json
import shutil
import unittest

from family_case import NEW_TOKENS, QWEN2_VL, FamilyCase, internvl2, questions, qwen2_vl
from family_models import Qwen2Vl, internvl2_config, make_internvl2, stored_tensors, write_json
import h5py
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import LlamaTokenizerFast, Phi3Config, Phi3ForCausalLM

from support import ROOT, plan_columns
from test_image_processors import internvl_reference
from test_tokenizers import SYSTEM
from tokenizer_kinds import InternLM2Tokenizer


class Qwen2VlTest(FamilyCase):
    def test_prompts_and_answers(self):
        """One by one: ids of prompt and answer, and the number of visual tokens, are transformers'."""
        reference = Qwen2Vl(qwen2_vl("flat"))
        answers = set()
        cases = [(s["text"], [questions().image(s)]) for s in questions().samples]
        cases += [("Which one is larger?", cases[1][1] + cases[2][1]), ("Hello", [])]
        for text, images in cases:
            with self.subTest(text=text, images=[image.name for image in images]):
                inputs = reference.inputs(text, images)
                ids, answer = reference.answer(inputs, NEW_TOKENS)
                found = self.generate(qwen2_vl("flat"), text, images)
                self.assertEqual(found["input_ids"], inputs["input_ids"][0].tolist())
                self.assertEqual(found["visual_tokens"], int(inputs["image_grid_thw"].prod(1).sum()) // 4 if images else 0)
                self.assertEqual(found["tokens"] + [1602] * found["stopped"], ids)
                self.assertEqual(found["text"], answer)
                answers.add(answer)
        self.assertGreater(len(answers), len(cases) // 2, "the answers hardly depend on the question")

    def test_answers_of_every_layout_in_batches(self):
        for name in QWEN2_VL:
            with self.subTest(layout=name):
                reference = Qwen2Vl(qwen2_vl(name))
                expected = [reference.answer(reference.inputs(s["text"], [questions().image(s)]), NEW_TOKENS)[1]
                            for s in questions().samples]
                self.assertEqual(self.answers(qwen2_vl(name), "--batch-size", 4), expected)
                if name == "flat":
                    self.assertEqual(self.answers(qwen2_vl(name)), expected)

    def test_stops_where_generation_config_says(self):
        sample = questions().samples[4]
        image = [questions().image(sample)]
        whole = self.generate(qwen2_vl("flat_tied"), sample["text"], image)["tokens"]
        self.assertNotIn(whole[3], whole[:3], "choose another question")
        model = shutil.copytree(qwen2_vl("flat_tied"), self.folder / "model")
        write_json(model / "generation_config.json", {"pad_token_id": 1600, "eos_token_id": [1602, whole[3]]})
        found = self.generate(model, sample["text"], image)
        self.assertEqual((found["tokens"], found["stopped"]), (whole[:3], True))
        reference = Qwen2Vl(model)
        self.assertEqual(reference.answer(reference.inputs(sample["text"], image), NEW_TOKENS)[0], whole[:4])

    def test_logits(self):
        """Both engines against transformers, with two images in one prompt."""
        reference = Qwen2Vl(qwen2_vl("saved_tied"))
        inputs = reference.inputs("Which one is larger?", [questions().images / "1.png", questions().images / "4.png"])
        file = self.folder / "inputs.safetensors"
        save_file({name: inputs[name].contiguous() for name in ("input_ids", "pixel_values", "image_grid_thw")}, file)
        expected = reference.logits(inputs)
        for engine in ("torch", "runtime"):
            self.check_logits(self.trace(qwen2_vl("saved_tied"), file, "--engine", engine)["logits"], expected, engine)
        inputs["pixel_values"] = inputs["pixel_values"].flip(0)
        changed = (reference.logits(inputs)[-1] - expected[-1]).abs().max() / expected.abs().max()
        self.assertGreater(changed.item(), 0.01, "the image hardly matters, so this test shows little")

    def check_ratios(self, reference, stats, queries):
        """`/attention/ratio` of every sample against transformers' attention weights."""
        with h5py.File(stats, "r") as file:
            found = dict(zip(map(int, file["/samples/id"].asstr()[()]), file["/attention/ratio"][()], strict=True))
        for sample in questions().samples:
            inputs = reference.inputs(sample["text"], [questions().image(sample)])
            if queries == "decode":
                first = reference.logits(inputs)[-1].argmax().view(1, 1)
                inputs["input_ids"] = torch.cat([inputs["input_ids"], first], 1)
                inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            with torch.no_grad():
                attention = torch.cat(reference.model(**inputs, output_attentions=True).attentions).double()  # [L, H, T, T]
            visual = inputs["input_ids"][0] == 1612
            rows = attention[:, :, -1:] if queries == "decode" else attention
            expected = rows[..., visual].sum((2, 3)) / rows[..., ~visual].sum((2, 3))
            np.testing.assert_allclose(found[sample["question_id"]], expected.numpy(), rtol=1e-3, atol=1e-5)

    def check_pruned(self, name, queries, query, *flags):
        model = qwen2_vl(name)
        original = Qwen2Vl(model)
        stats = self.calibrate(model, queries)
        self.check_ratios(original, stats, queries)
        plan, pruned = self.export(model, stats, *flags)
        self.check_reordered(model, pruned, query)
        exported = Qwen2Vl(pruned)
        for sample in questions().samples[::2]:
            inputs = original.inputs(sample["text"], [questions().image(sample)])
            self.check_logits(exported.logits(inputs), original.logits(inputs), sample["image"])
        return plan

    def test_pruned_by_prefill(self):
        plan = self.check_pruned("flat_tied", "prefill", "self_attn.q_proj.weight", "--heads-keep", "0.75", "--updates-keep", "0.25",
                                 "--ffn-keep", "0.5", "--window", 3, "--visual-layers", 3)
        self.assertEqual((plan["visual_layers"], plan["windows"][0]["size"], [n and len(n) for n in plan["neurons"]]),
                         (3, 3, [48, 48, 48, None]))

    def test_pruned_by_decode(self):
        plan = self.check_pruned("new_keys", "decode", "self_attn.q_proj.weight", "--threshold", 0.5, "--vote", 0.4,
                                 "--ffn-keep", "0.25", "--ffn-score", "rms", "--ffn-scope", "model", "--window", 1, "--window-causal")
        self.assertEqual(plan["heads"][:2], [[1] * 4] * 2)  # exempt
        self.assertTrue(0 < sum(map(sum, plan["heads"][2:])) < 8, plan["heads"])


class InternVl2Test(FamilyCase):
    def prompt(self, name, config, text, images):
        """Ids of the published conversation, and the pictures' pixels [tiles, 3, side, side]."""
        phi3 = name == "internvl2-4b"
        pixels = [internvl_reference(config, Image.open(image)) for image in images]
        each = (config["force_image_size"] // 14) ** 2 // 4
        turn = "".join("<img>" + "<IMG_CONTEXT>" * (each * len(tiles)) + "</img>\n" for tiles in pixels) + text
        prompt = (f"<|system|>\n{SYSTEM}<|end|><|user|>\n{turn}<|end|><|assistant|>\n" if phi3 else
                  f"<|im_start|>system\n{SYSTEM}<|im_end|><|im_start|>user\n{turn}<|im_end|><|im_start|>assistant\n")
        folder = internvl2(name)
        tokenizer = LlamaTokenizerFast.from_pretrained(folder) if phi3 else InternLM2Tokenizer.from_pretrained(folder, legacy=True)
        return tokenizer(prompt).input_ids, np.concatenate(pixels)

    def check_prompts(self, name, model, config, tiles, *numbers):
        """Ids of prompts about images alone and about two at once."""
        counts = []
        images = [questions().images / f"{number}.png" for number in numbers]
        for chosen in [[image] for image in images] + [images[:2]]:
            ids, pixels = self.prompt(name, config, "What is in the image?", chosen)
            found = self.generate(model, "What is in the image?", chosen)
            self.assertEqual(found["input_ids"], ids)
            self.assertEqual(found["visual_tokens"], len(pixels) * (config["force_image_size"] // 14) ** 2 // 4)
            counts.append(len(pixels))
        self.assertEqual(counts, tiles)

    def test_prompts(self):
        for name in ("internvl2-8b", "internvl2-4b"):
            with self.subTest(model=name):
                self.check_prompts(name, internvl2(name), internvl2_config(name), [1, 4, 7, 5], 0, 1, 4)

    def test_tiles_of_published_size(self):
        """448 pixels, 256 visual tokens each, up to 12 and a thumbnail; and one tile only without dynamic_image_size."""
        config = internvl2_config("internvl2-8b", 448)
        config["max_dynamic_patch"] = 12
        config["llm_config"].update(num_hidden_layers=1, max_position_embeddings=8192)
        config["vision_config"].update(num_hidden_layers=1)
        model = make_internvl2(self.folder / "model", "internvl2-8b", config=config)
        self.check_prompts("internvl2-8b", model, config, [1, 4, 5], 0, 1)
        config["dynamic_image_size"] = False
        write_json(model / "config.json", config)
        self.check_prompts("internvl2-8b", model, config, [1, 1, 2], 0, 1)

    def check_traces(self, name, pruned):
        """Torch against the runtime, the exported checkpoint against the original, Phi-3 against transformers."""
        model = internvl2(name)
        ids, pixels = self.prompt(name, internvl2_config(name), "Where is it?", [questions().images / "4.png"])
        file = self.folder / "inputs.safetensors"
        save_file({"input_ids": torch.tensor(ids), "pixel_values": torch.from_numpy(pixels).contiguous()}, file)
        torch_trace, runtime_trace = (self.trace(model, file, "--engine", engine) for engine in ("torch", "runtime"))
        for key in ("hidden", "logits"):
            self.check_logits(runtime_trace[key], torch_trace[key], key)
        self.check_logits(self.trace(pruned, file, "--engine", "torch", "--dense")["logits"], torch_trace["logits"], "exported")
        changed = (self.trace(pruned, file)["logits"] - torch_trace["logits"]).abs().max() / torch_trace["logits"].abs().max()
        self.assertGreater(changed.item(), 0.01, "pruning hardly matters, so --dense shows nothing")
        if name == "internvl2-4b":
            config = {key: value for key, value in internvl2_config(name)["llm_config"].items() if key != "torch_dtype"}
            config["rope_scaling"]["type"] = "longrope"  # its later name
            phi3 = Phi3ForCausalLM(Phi3Config(**config)).eval()
            prefix = "language_model."
            phi3.load_state_dict({k.removeprefix(prefix): v for k, v in stored_tensors(model).items() if k.startswith(prefix)})
            with torch.no_grad():
                self.check_logits(phi3(inputs_embeds=torch_trace["hidden"][:1]).logits[0], torch_trace["logits"], "transformers")

    def check_pruned(self, name, queries, query, *flags):
        model = internvl2(name)
        _, pruned = self.export(model, self.calibrate(model, queries), *flags)
        self.check_reordered(model, pruned, query)
        self.assertTrue((pruned / "modeling_internvl_chat.py").is_file())
        answers = self.answers(model, "--batch-size", 4)
        self.assertEqual(self.answers(pruned, "--dense", "--batch-size", 3), answers)
        self.assertGreater(len(set(answers)), 5, "the answers hardly depend on the question")
        self.check_traces(name, pruned)

    def test_internlm2(self):
        self.check_pruned("internvl2-8b", "prefill", "attention.wqkv.weight", "--heads-keep", "0.75", "--updates-keep", "0.25",
                          "--ffn-keep", "0.5", "--window", 3, "--visual-layers", 3)

    def test_internlm2_with_the_large_tower(self):
        self.check_pruned("internvl2-26b", "decode", "feed_forward.w2.weight", "--heads-keep", "2", "--ffn-keep", "0.25",
                          "--ffn-scope", "model")

    def test_phi3(self):
        self.check_pruned("internvl2-4b", "text", "self_attn.qkv_proj.weight", "--heads-keep", "0.5", "--ffn-keep", "0.5",
                          "--window", 5, "--window-causal", "--visual-layers", 3)


RECIPE = """\
model: {{path: {model}, dtype: fp32}}
output: {output}
calibration:
  dataset: {{questions: {data.questions}, images: {data.images}, samples: 6}}
  queries: decode
plan:
  heads: {{threshold: 1, vote: 0.4, exempt_layers: 1}}
  ffn: {{keep: 0.5, score: rms}}
  visual_layers: 3
export: {{shard_size: 300kB}}
verify: {{samples: 4}}
evaluate:
  - {{benchmark: vqa, questions: {data.questions}, images: {data.images}, batch_size: 3, max_new_tokens: 4}}
"""


class RecipeTest(FamilyCase):
    def check(self, *arguments):
        output = self.folder / "out"
        self.yopo("run", *arguments, "--threads", 1)
        self.assertTrue(json.loads((output / "verify.json").read_text())["passed"])
        results = json.loads((output / "eval.json").read_text())["results"]
        self.assertEqual([(r["pruned"], r["count"]) for r in results], [(False, 10), (True, 10)])
        plan = plan_columns(output / "plan.json")
        heads = sum(map(sum, plan["heads"]))
        self.assertTrue(4 < heads < 16, plan["heads"])
        return plan, output / "pruned"

    def test_internvl2(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(RECIPE.format(model=internvl2("internvl2-8b"), output=self.folder / "out", data=questions()))
        plan, pruned = self.check(recipe)
        self.assertEqual((plan["visual_layers"], plan["heads"][0]), (3, [1] * 4))
        self.assertGreater(len(list(pruned.glob("*.safetensors"))), 1)
        self.check_reordered(internvl2("internvl2-8b"), pruned, "feed_forward.w2.weight")

    def test_qwen2_vl_by_the_recipe_of_its_size(self):
        """configs/qwen2-vl-7b.yaml, with what is only true of 7B put right."""
        settings = {"model.path": qwen2_vl("flat_tied"), "model.dtype": "fp32", "output": self.folder / "out", "plan.visual_layers": 3,
                    "plan.heads.threshold": 0.8, "evaluate.0.max_new_tokens": 4}
        for place in ("calibration.dataset", "evaluate.0"):
            settings |= {f"{place}.questions": questions().questions, f"{place}.images": questions().images}
        plan, pruned = self.check(ROOT / "configs" / "qwen2-vl-7b.yaml", *[part for setting in settings.items()
                                                                          for part in ("--set", "{}={}".format(*setting))])
        self.assertEqual((plan["visual_layers"], plan["heads"][:2]), (3, [[1] * 4] * 2))
        self.check_reordered(qwen2_vl("flat_tied"), pruned, "self_attn.q_proj.weight")


if __name__ == "__main__":
    unittest.main()
