"""The package yopo: models of transformers that run pruned, against the reference cases and the command."""
import json
import shutil
import unittest

import yopo_package  # noqa: F401  (before torch)
from pruned_cases import CACHE, FIXTURES, cases, dense, trace
from support import MODEL, TEST, Case
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, DynamicCache

import yopo.transformers
from yopo import PlanError

class ReferenceCases(Case):
    def check(self, family, attention):
        model, count = dense(FIXTURES / family / "model", attention), 0
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        for case in cases(family):
            for name, facts in case.facts["skip"].items():
                with self.subTest(case=case.folder.name, plan=name):
                    expected = load_file(case.folder / f"skip_{name}.safetensors")
                    yopo.transformers.apply(model, case.folder / f"skip_{name}.plan.json")
                    try:
                        hidden, last, decoded, cache = trace(model, case)
                        yopo.transformers.cache_bytes(cache)
                    finally:
                        yopo.transformers.remove(model)
                    for what, found, wanted in (("hidden", hidden, expected["hidden"]), ("logits", last, expected["logits_last"]),
                                                ("decoded", decoded, expected["decode_logits"])):
                        self.assertEqual(found.shape, wanted.shape)
                        difference = (found - wanted).abs().max().item()
                        self.assertTrue(difference <= facts["tolerance"], f"{what}: {difference:.3g} > {facts['tolerance']}")
                    count += 1
        for name, value in model.state_dict().items():
            self.assertTrue(torch.equal(value, weights[name]), f"{name} changed by apply and remove")
        self.assertEqual(count, sum(len(case.facts["skip"]) for case in cases(family)))
        self.assertGreaterEqual(count, 4)

    def test_llava_eager(self):
        self.check("llava_hf", "eager")

    def test_llava_sdpa(self):
        self.check("llava_hf", "sdpa")

    def test_qwen2_vl_eager(self):
        self.check("qwen2vl", "eager")

    def test_qwen2_vl_sdpa(self):
        self.check("qwen2vl", "sdpa")

    def test_qwen2_5_vl(self):
        self.check("qwen2_5_vl", "sdpa")

    def test_qwen3_vl_eager(self):
        self.check("qwen3_vl", "eager")

    def test_qwen3_vl_sdpa(self):
        self.check("qwen3_vl", "sdpa")

    def test_llava_next_eager(self):
        self.check("anyres_llava_next", "eager")

    def test_llava_next_sdpa(self):
        self.check("anyres_llava_next", "sdpa")

    def test_llava_onevision_eager(self):
        self.check("anyres_llava_onevision", "eager")

    def test_llava_onevision_sdpa(self):
        self.check("anyres_llava_onevision", "sdpa")

    def test_internvl3_with_qwen2(self):
        self.check("internvl3_qwen2_hf", "sdpa")

    def test_internvl3_with_qwen3(self):
        self.check("internvl3_qwen3_hf", "sdpa")


class Exported(Case):
    """A pruned demo checkpoint."""

    ARGUMENTS = ("--visual-layers", 9, "--window", 3, "--window-causal")

    def setUp(self):
        super().setUp()
        self.pruned = self.folder / "pruned"
        plan = {"format": "yopo-plan", "version": 2, "semantics": "skip", "provenance": {}, "layers": []}
        generator = torch.Generator().manual_seed(5)
        for index in range(11):
            heads = [int(x) for x in torch.rand(8, generator=generator) < 0.8]
            updates = [int(x and y) for x, y in zip(heads, torch.rand(8, generator=generator) < 0.5)]
            neurons = sorted(torch.randperm(384, generator=generator)[:150].tolist())
            plan["layers"].append({"window": {"size": 3, "causal": True}, "heads": heads, "updates": updates, "neurons": neurons} if index < 10
                                  else {"alive": False, "heads": [1] * 8})
        (self.folder / "plan.json").write_text(json.dumps(plan))
        self.yopo("export", "--model", MODEL, "--plan", self.folder / "plan.json", "--output", self.pruned)
        self.processor = AutoProcessor.from_pretrained(MODEL, use_fast=False)
        self.processor.tokenizer.padding_side = "left"

    def batch(self, samples, side="left"):
        from PIL import Image

        texts, images = [], []
        for sample in samples:
            with_image = sample.get("image") is not None
            texts.append(("USER: <image>\n" if with_image else "USER: ") + sample["text"] + " ASSISTANT:")
            if with_image:
                with Image.open(TEST.images / sample["image"]) as image:
                    images.append(image.convert("RGB"))
        self.processor.tokenizer.padding_side = side
        inputs = self.processor(text=texts, images=images or None, return_tensors="pt", padding=True)
        inputs.pop("token_type_ids", None)
        return inputs

    @torch.no_grad()
    def answers(self, model, inputs, **settings):
        ids = model.generate(**inputs, max_new_tokens=6, do_sample=False, **settings)[:, inputs["input_ids"].shape[1]:]
        return [text.strip() for text in self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]


class Answers(Exported):
    def test_as_the_command(self):
        """Greedy answers of batches with left padding are those of `yopo eval`, word for word."""
        samples = TEST.samples()[::25]
        questions = self.folder / "questions.jsonl"
        shutil.copy2(TEST.questions.parent / "answers.jsonl", self.folder)
        questions.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        self.yopo("eval", "--model", self.pruned, "--benchmark", "vqa", "--questions", questions, "--images", TEST.images, "--output", self.folder / "eval", "--dtype", "fp32")
        expected = [json.loads(line)["text"] for line in (self.folder / "eval/answers/vqa-pruned.jsonl").read_text().splitlines()]
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).eval()
        found = []
        for start in range(0, len(samples), 10):
            found += self.answers(model, self.batch(samples[start:start + 10]))
        self.assertEqual(found, expected)
        yopo.transformers.remove(model)
        dense_answers = self.answers(model, self.batch(samples[:10]))
        self.assertEqual(dense_answers, self.answers(dense(MODEL), self.batch(samples[:10])))
        self.assertNotEqual([a for a in found], dense_answers + found[10:], "the plan changes no answer, so this test shows little")

    def test_padding_batches_and_beams(self):
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).eval()
        samples = [dict(sample) for sample in TEST.samples()[:4]]
        samples[1]["image"] = None  # a text among pictures
        alone = [self.answers(model, self.batch([sample])) for sample in samples]
        beams = [self.answers(model, self.batch([sample]), num_beams=3) for sample in samples]
        batch = self.batch(samples)
        self.assertGreater(int((batch["attention_mask"] == 0).sum()), 0)
        self.assertEqual([[a] for a in self.answers(model, batch)], alone)
        self.assertEqual([[a] for a in self.answers(model, batch, num_beams=3)], beams)
        with torch.no_grad():
            right = self.batch(samples, side="right")
            logits = model(**right).logits
            for row, sample in enumerate(samples):
                one = model(**self.batch([sample])).logits[0]
                length = int(right["attention_mask"][row].sum())
                self.assertLess((logits[row, :length] - one).abs().max().item(), 2e-4)

    def test_cache_holds_what_is_read(self):
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).eval()
        inputs = self.batch(TEST.samples()[:1])
        with torch.no_grad():
            cache = model(**inputs, use_cache=True)[CACHE]
        visual = int((inputs["input_ids"] == model.config.image_token_id).sum())
        text = inputs["input_ids"].shape[1] - visual
        layers = json.loads((self.pruned / "config.json").read_text())["yopo"]["layers"]
        kept = sum(sum(layer.get("heads", [1] * 8)) for layer in layers if layer.get("alive", True))
        self.assertEqual(yopo.transformers.cache_bytes(cache), (kept * visual + 11 * 8 * text) * 16 * 2 * 4)
        self.assertEqual(cache.get_seq_length(), inputs["input_ids"].shape[1])
        weights = model.model.language_model.layers[0].mlp.up_proj.weight
        self.assertEqual(weights.shape, (384, 128))

    def test_compensation_and_budgets(self):
        """As `yopo trace` computes them, for each of two plans in one checkpoint."""
        config = json.loads((self.pruned / "config.json").read_text())
        layers = config["yopo"]["layers"]
        draw, plans, tensors = torch.Generator().manual_seed(3), {}, {}
        for budget, rank in (("0.5", 4), ("0.25", 0)):
            plans[budget] = {"layers": [dict(layer) for layer in layers]}
            for index in (1, 4):
                plans[budget]["layers"][index]["compensation"] = {"rank": rank}
                at = f"budgets.{budget}.layers.{index}."
                tensors[at + "bias"] = 0.2 * torch.randn(128, generator=draw)
                if rank:
                    tensors[at + "down"] = 0.2 * torch.randn(rank, 128, generator=draw)
                    tensors[at + "up"] = 0.2 * torch.randn(128, rank, generator=draw)
        config["yopo"] = {"format": "yopo-pruned", "version": 3, "default": "0.5", "plans": plans}
        (self.pruned / "config.json").write_text(json.dumps(config))
        save_file(tensors, self.pruned / "yopo.safetensors")
        self.assertEqual(yopo.budgets_of(self.pruned), ["0.5", "0.25"])
        inputs, logits = self.batch(TEST.samples()[:1]), {}
        for budget in (None, 0.25):
            model = yopo.transformers.load(self.pruned, budget=budget, dtype=torch.float32).eval()
            with torch.no_grad():
                logits[budget] = model(**inputs).logits[0]
                rows = []
                hook = model.model.language_model.layers[4].post_attention_layernorm.register_forward_hook(lambda m, i, out: rows.append(out))
                added = []
                other = model.model.language_model.layers[4].yopo_compensation.register_forward_hook(lambda m, i, out: added.append((i[0], out)))
                model(**inputs)
                hook.remove(), other.remove()
            own = {name: tensors.get(f"budgets.{budget or 0.5}.layers.4.{name}") for name in ("down", "up", "bias")}
            normed, found = added[0]
            self.assertEqual(normed.shape[0], 81)
            wanted = own["bias"].expand_as(found) if own["down"] is None else normed @ own["down"].T @ own["up"].T + own["bias"]
            self.assertLess((found - wanted).abs().max().item(), 1e-5)
        self.assertGreater((logits[None] - logits[0.25]).abs().max().item(), 1e-3)
        with self.assertRaisesRegex(PlanError, "no plan for budget 0.3; there are 0.5, 0.25"):
            yopo.transformers.load(self.pruned, budget=0.3)


class Training(Exported):
    def losses(self, checkpointing, reentrant=False):
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            if reentrant:
                model.enable_input_require_grads()
        samples = [dict(sample) for sample in TEST.samples()[:3]]
        samples[1]["image"] = None
        inputs = self.batch(samples, side="right")
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        return loss.item(), {name: value.grad for name, value in model.named_parameters() if value.grad is not None}

    def test_gradients(self):
        """Gradients reach what was computed, checkpointing changes none, and they are the loss's slope."""
        loss, grads = self.losses(False)
        for reentrant in (False, True):
            again, recomputed = self.losses(True, reentrant)
            self.assertEqual(loss, again)
            for name, grad in grads.items():
                if "language_model" in name:
                    self.assertTrue(torch.allclose(grad, recomputed[name], atol=1e-6), name)
        name = next(n for n in grads if n.endswith("language_model.layers.3.mlp.down_proj.weight"))
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).eval()
        samples = [dict(sample) for sample in TEST.samples()[:3]]
        samples[1]["image"] = None
        inputs = self.batch(samples, side="right")
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        weight, direction = dict(model.named_parameters())[name], grads[name] / grads[name].norm()
        values = []
        with torch.no_grad():
            for step in (1e-2, -2e-2):
                weight += step * direction
                values.append(model(**inputs, labels=labels).loss.item())
        slope = (values[0] - values[1]) / 2e-2
        self.assertLess(abs(slope / grads[name].norm().item() - 1), 0.02)


class Refusals(Exported):
    def test_what_cannot_run(self):
        with self.assertRaisesRegex(PlanError, 'no "yopo" object'):
            yopo.transformers.load(MODEL)
        with self.assertRaisesRegex(PlanError, "no config.json there"):
            yopo.transformers.load(self.folder / "nowhere")
        model = dense(MODEL)
        with self.assertRaisesRegex(PlanError, "expected 11 layers as the model has, found 5"):
            yopo.transformers.apply(model, FIXTURES / "llava_hf/cases/single/skip_all.plan.json")
        with self.assertRaisesRegex(PlanError, "LlavaModel"):
            yopo.transformers.apply(torch.nn.Linear(2, 2), self.pruned)
        with self.assertRaisesRegex(PlanError, "does not run pruned"):
            yopo.transformers.remove(model)
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).eval()
        with self.assertRaisesRegex(PlanError, "runs pruned already"):
            yopo.transformers.apply(model, self.pruned)
        inputs = self.batch(TEST.samples()[:1])
        ids = inputs["input_ids"]
        embeds = model.get_input_embeddings()(ids)
        with torch.no_grad():
            filled = dense(MODEL)(**inputs, use_cache=True)[CACHE]
            for expected, call in {
                "filled by a dense model": lambda: model(input_ids=ids[:, -1:], use_cache=True, **{CACHE: filled}),
                "pass them, not inputs_embeds": lambda: model(inputs_embeds=embeds),
                "called by itself": lambda: model.model.language_model(inputs_embeds=embeds),
                "with 0 for padding": lambda: model(**{**inputs, "attention_mask": torch.ones(1, 1, ids.shape[1], ids.shape[1])}),
                "packed sequences": lambda: model(**{**inputs, "position_ids": torch.cat([torch.arange(90), torch.arange(ids.shape[1] - 90)])[None]}),
                "no attention matrix": lambda: model(**inputs, output_attentions=True),
                "StaticCache": lambda: model.generate(**inputs, max_new_tokens=2, cache_implementation="static"),
            }.items():
                with self.subTest(expected), self.assertRaisesRegex(PlanError, expected):
                    call()
            cache = DynamicCache()
            first = model(**inputs, use_cache=True, **{CACHE: cache})
            self.assertEqual(cache.get_seq_length(), ids.shape[1])
            yopo.transformers.remove(model)
            with self.assertRaisesRegex(PlanError, "a dense layer writes to it"):
                model(input_ids=ids[:, -1:], use_cache=True, **{CACHE: first[CACHE]})

    def test_damaged_plans(self):
        path = self.pruned / "config.json"
        whole = json.loads(path.read_text())
        for change, expected in {
            "version": (lambda y: y.update(version=9), "version 9; this release reads 1 to 3"),
            "heads": (lambda y: y["layers"][0].update(heads=[1, 1]), r"layers\[0\].heads: expected 8 entries"),
            "count": (lambda y: y["layers"][0].update(neurons=385), r"layers\[0\].neurons: expected a count up to 384"),
            "key": (lambda y: y["layers"][0].update(neuron=3), "did you mean neurons"),
            "window": (lambda y: y["layers"][0].update(window={"size": 4}), "an odd number"),
            "updates": (lambda y: y["layers"][1].update(heads=[0] * 8, updates=[1] * 8), "must be kept, too"),
        }.items():
            with self.subTest(change):
                damaged = json.loads(json.dumps(whole))
                expected[0](damaged["yopo"])
                path.write_text(json.dumps(damaged))
                with self.assertRaisesRegex(PlanError, expected[1]):
                    yopo.plan_of_checkpoint(self.pruned)

    def test_text_runs_whole(self):
        """Without pictures the pruned model is the dense one."""
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).eval()
        inputs = self.batch([{"text": "How many digits are there?"}])
        with torch.no_grad():
            found = model(**inputs).logits
            expected = dense(MODEL)(**inputs).logits
        self.assertLess((found - expected).abs().max().item(), 1e-4)


class Saved(Exported):
    def test_saved_again(self):
        """What `save` writes loads pruned, and the command runs it."""
        model = yopo.transformers.load(self.pruned, dtype=torch.float32).eval()
        yopo.transformers.save(model, self.folder / "again")
        for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json", "chat_template.json", "special_tokens_map.json"):
            if (self.pruned / name).exists():
                shutil.copy2(self.pruned / name, self.folder / "again" / name)
        inputs = self.batch(TEST.samples()[:1])
        with torch.no_grad():
            again = yopo.transformers.load(self.folder / "again", dtype=torch.float32).eval()(**inputs).logits
            self.assertTrue(torch.equal(again, model(**inputs).logits))
        found = self.yopo_json("generate", "--model", self.folder / "again", "--image", TEST.images / TEST.samples()[0]["image"],
                               "--prompt", TEST.samples()[0]["text"], "--max-new-tokens", 6, "--dtype", "fp32")
        self.assertEqual(found["text"], self.answers(model, inputs)[0])


if __name__ == "__main__":
    unittest.main()
