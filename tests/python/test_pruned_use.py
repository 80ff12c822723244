"""Pruned models of every family as they are used: batches, beams, caches that go on, saved again, trained, compiled."""
import unittest

import yopo_package  # noqa: F401  (before torch)
from pruned_cases import CACHE, FIXTURES, cases, dense
from support import Case
import torch
from safetensors.torch import load_file

import yopo.transformers
from yopo import PlanError

# The order of ids and pictures in a batch is each family's own.
FAMILIES = ("llava_hf", "qwen2vl", "qwen2_5_vl", "qwen3_vl", "internvl3_qwen2_hf", "internvl3_qwen3_hf", "anyres_llava_next", "anyres_llava_onevision")
LIMIT = 2e-4  # of logits of the same rows in other products
NEW_TOKENS = 6


def case_of(family, *names):
    return next(case for case in cases(family) if case.folder.name in names)


def pruned(family, plan="all", **settings):
    model = dense(FIXTURES / family / "model", **settings)
    settings_of = model.generation_config
    settings_of.pad_token_id, settings_of.eos_token_id, settings_of.suppress_tokens = 0, 309, list(range(290, 310))
    return yopo.transformers.apply(model, case_of(family, "single", "square").folder / f"skip_{plan}.plan.json")


def text_inputs(case, length=11):
    """A prompt without pictures, as long as it likes."""
    ids = torch.randint(5, 280, (1, length), generator=torch.Generator().manual_seed(length))
    inputs = {"input_ids": ids}
    if "batch_num_images" in case.inputs:
        inputs["batch_num_images"] = torch.tensor([0])
    if "mm_token_type_ids" in case.inputs:
        inputs["mm_token_type_ids"] = torch.zeros_like(ids)
    return inputs


def batched(samples, side):
    """Inputs of one sample each as those of a batch."""
    most = max(sample["input_ids"].shape[1] for sample in samples)

    def filled(row, value=0):
        gap = row.new_full((1, most - row.shape[1]), value)
        return torch.cat([gap, row] if side == "left" else [row, gap], 1)

    joined = {"attention_mask": torch.cat([filled(torch.ones_like(sample["input_ids"])) for sample in samples])}
    for name in dict.fromkeys(name for sample in samples for name in sample):
        parts = [sample[name] for sample in samples if name in sample]
        if name in ("input_ids", "mm_token_type_ids"):
            parts = [filled(part) for part in parts]
        elif name == "pixel_values" and parts[0].dim() == 5:  # as many tiles as the largest has
            tiles = max(part.shape[1] for part in parts)
            parts = [torch.cat([part, part.new_zeros(part.shape[0], tiles - part.shape[1], *part.shape[2:])], 1) for part in parts]
        joined[name] = torch.cat(parts)
    return joined


def samples_of(family):
    single, other = case_of(family, "single", "square"), case_of(family, "wide", "nonsquare", "tiles", "two_images")
    return [single.inputs, text_inputs(single), other.inputs]


@torch.no_grad()
def tokens(model, inputs, **settings):
    return model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, **settings)[:, inputs["input_ids"].shape[1]:].tolist()


class Batches(unittest.TestCase):
    @torch.no_grad()
    def test_padding_and_beams(self):
        for family in FAMILIES:
            with self.subTest(family):
                model, samples = pruned(family), samples_of(family)
                for side in ("left", "right"):
                    batch = batched(samples, side)
                    logits = model(**batch).logits
                    for row, sample in enumerate(samples):
                        one = model(**sample).logits[0]
                        there = logits[row][batch["attention_mask"][row].bool()]
                        self.assertLess((there - one).abs().max().item(), LIMIT)
                batch = batched(samples, "left")
                alone = [tokens(model, sample)[0] for sample in samples]
                self.assertEqual(tokens(model, batch), alone)
                self.assertEqual(tokens(model, batch, use_cache=False), alone)
                samples = samples[:2]  # where a sample has two pictures, transformers 4 mixes up those of LLaVA's beams
                beams = [tokens(model, sample, num_beams=3)[0] for sample in samples]
                self.assertEqual(tokens(model, batched(samples, "left"), num_beams=3), beams)


def calls_of(case):
    """A prompt with two pictures in three calls: all before the second one but its start, that and the picture, the rest."""
    inputs, spans = case.inputs, case.facts["spans"]
    spans = spans[len(spans) // 2:]  # of the second picture
    start, end = spans[0][0], spans[-1][0] + spans[-1][1] * spans[-1][2]
    cuts = [0, start - 1, end, inputs["input_ids"].shape[1]]
    grid = inputs.get("image_grid_thw")
    pixels = inputs["pixel_values"].split([1, 1] if grid is None else grid.prod(-1).tolist())
    positions = load_file(case.folder / "inputs.safetensors")["position_ids"]
    for number, (start, stop) in enumerate(zip(cuts, cuts[1:])):
        call = {"input_ids": inputs["input_ids"][:, start:stop], "position_ids": positions[..., None, start:stop]}
        if number < 2:
            call["pixel_values"] = pixels[number]
            call.update({name: inputs[name][number:number + 1] for name in ("image_grid_thw", "image_sizes") if name in inputs})
            call.update({name: inputs[name][:, start:stop] for name in ("mm_token_type_ids",) if name in inputs})
        yield call


class Caches(unittest.TestCase):
    @torch.no_grad()
    def test_second_picture_in_a_second_call(self):
        """A conversation that goes on with another picture: as both in one call."""
        for family in FAMILIES:
            if family == "anyres_llava_onevision":  # makes other tiles of a picture that is alone in its call
                continue
            with self.subTest(family):
                model, case = pruned(family), case_of(family, "two_images")
                text = case.inputs["input_ids"][0] != model.config.image_token_id
                whole = model(**case.inputs).logits[0]
                cache, parts = None, []
                for call in calls_of(case):
                    found = model(**call, use_cache=True, **{CACHE: cache})
                    cache = found[CACHE]
                    parts.append(found.logits[0])
                self.assertEqual(len(parts), 3)
                self.assertLess((torch.cat(parts) - whole)[text].abs().max().item(), LIMIT)

    @torch.no_grad()
    def test_another_plan(self):
        case = case_of("qwen3_vl", "single")
        cache = pruned("qwen3_vl")(**case.inputs, use_cache=True)[CACHE]
        with self.assertRaisesRegex(PlanError, "filled under another plan"):
            pruned("qwen3_vl", "heads")(**case.decode_inputs(0), use_cache=True, **{CACHE: cache})

    @torch.no_grad()
    def test_prompt_lookup(self):
        """Guessed tokens are taken back out of the cache where they are wrong, and kept where they are right."""
        for family in FAMILIES:
            with self.subTest(family):
                model, case = pruned(family), case_of(family, "single", "square")
                settings = dict(max_new_tokens=40, do_sample=False)
                plain = model.generate(**case.inputs, **settings)
                guessed = model.generate(**case.inputs, **settings, prompt_lookup_num_tokens=3)
                self.assertEqual(guessed.tolist(), plain.tolist())


class Around(Case):
    def gradients(self, reentrant=None):
        model, case = pruned("qwen3_vl").train(), case_of("qwen3_vl", "single")
        if reentrant is not None:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        loss = model(**case.inputs, labels=case.inputs["input_ids"]).loss
        loss.backward()
        return loss.item(), {name: weight.grad for name, weight in model.named_parameters() if "language_model" in name and weight.grad is not None}

    def test_checkpoints_with_deepstack(self):
        loss, expected = self.gradients()
        for reentrant in (False, True):
            again, found = self.gradients(reentrant)
            self.assertEqual(again, loss)
            self.assertEqual(found.keys(), expected.keys())
            for name, gradient in expected.items():
                self.assertTrue(torch.allclose(found[name], gradient, atol=1e-6), name)

    @torch.no_grad()
    def test_compile(self):
        for family in ("qwen3_vl", "anyres_llava_next"):
            with self.subTest(family):
                model, case = pruned(family), case_of(family, "single")
                expected = model(**case.inputs).logits
                self.assertLess((torch.compile(model, backend="eager")(**case.inputs).logits - expected).abs().max().item(), 1e-5)

    @torch.no_grad()
    def test_saved(self):
        """An export loads pruned as the plan says, and again after `save`; without the plan it is dense."""
        for family in ("qwen3_vl", "anyres_llava_next", "anyres_llava_onevision"):
            with self.subTest(family):
                case, source = case_of(family, "single"), FIXTURES / family / "model"
                target = self.folder / family
                self.yopo("export", "--model", source, "--plan", case.folder / "skip_all.plan.json", "--output", target)
                model = yopo.transformers.load(target, dtype=torch.float32).eval()
                logits = model(**case.inputs).logits
                self.assertLess((logits - pruned(family)(**case.inputs).logits).abs().max().item(), LIMIT)
                yopo.transformers.save(model, target / "again")
                again = yopo.transformers.load(target / "again", dtype=torch.float32).eval()
                self.assertTrue(torch.equal(again(**case.inputs).logits, logits))
                yopo.transformers.remove(again)
                self.assertLess((again(**case.inputs).logits - dense(source)(**case.inputs).logits).abs().max().item(), LIMIT)

    @torch.no_grad()
    def test_offloaded_weights(self):
        """Hooks of accelerate bring weights in; a plan.json, which would order them, is refused and changes nothing."""
        import accelerate

        family = "anyres_llava_next"
        case = case_of(family, "single")
        model = pruned(family)
        expected = model(**case.inputs).logits
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
        self.assertLess((model(**case.inputs).logits - expected).abs().max().item(), 1e-5)
        model = accelerate.cpu_offload(dense(FIXTURES / family / "model"), execution_device=torch.device("cpu"))
        expected = model(**case.inputs).logits
        with self.assertRaisesRegex(PlanError, "some are offloaded"):
            yopo.transformers.apply(model, case.folder / "skip_all.plan.json")
        self.assertTrue(torch.equal(model(**case.inputs).logits, expected))


if __name__ == "__main__":
    unittest.main()
