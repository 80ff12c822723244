"""Decoders of other families in LLaVA's shell, pruned, against the reference decoder of tests/reference/generate; adapters and
torch.compile on one of them."""
import sys
import unittest

import yopo_package  # noqa: F401  (before torch)
import support
from support import ROOT
import torch

support.torch = torch  # the reference decoder takes torch from a module of that name
sys.path.append(str(ROOT / "tests/reference/generate"))
from decoder import Decoder, Span, Spec, from_plan, split_weights
from transformers import LlavaConfig, LlavaForConditionalGeneration

import yopo.transformers
from yopo import LayerPlan, Plan, Window

SIDE, TOKEN, WIDTH, INNER, HEADS, KV, LAYERS = 5, 3, 64, 96, 8, 4, 3
KINDS = {"llama": {}, "mistral": {"sliding_window": None}, "qwen2": {}, "qwen3": {"head_dim": 8}, "phi3": {"pad_token_id": 0, "resid_pdrop": 0.0, "sliding_window": None}}


def make_model(kind, attention="sdpa"):
    text = {"model_type": kind, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV, "vocab_size": 50, "rms_norm_eps": 1e-5, "max_position_embeddings": 512, "tie_word_embeddings": False, **KINDS[kind]}
    vision = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 4 * SIDE, "patch_size": 4, "projection_dim": 16}
    torch.manual_seed(7)
    model = LlavaForConditionalGeneration(LlavaConfig(text_config=text, vision_config=vision, image_token_index=TOKEN, attn_implementation=attention)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.15 + (1.0 if weight.dim() == 1 and weight.shape[0] in (WIDTH, 8) else 0.0))
    return model


def make_plan():
    """Version 1, as the reference reads it; KV groups with all, some and none of their heads."""
    draw = torch.Generator().manual_seed(3)
    heads = [[1, 1, 0, 1, 0, 0, 1, 0], [0] * 8, [1] * 8]
    updates = [[0, 1, 0, 0, 0, 0, 1, 0], [0] * 8, [1, 0] * 4]
    neurons = [sorted(torch.randperm(INNER, generator=draw)[:n].tolist()) for n in (30, 0)]
    return {"format": "yopo-plan", "version": 1, "semantics": "skip", "window": {"size": 3, "causal": True}, "visual_layers": LAYERS,
            "heads": heads, "updates": updates, "ffn": [neurons[0], None, neurons[1]]}


def as_plan(first):
    window = Window(**first["window"])
    return Plan(tuple(LayerPlan(True, window, tuple(map(bool, heads)), tuple(map(bool, updates)), None if neurons is None else tuple(neurons))
                      for heads, updates, neurons in zip(first["heads"], first["updates"], first["ffn"])), False, "test")


def make_inputs():
    draw = torch.Generator().manual_seed(1)
    words = torch.randint(5, 50, (1, 12), generator=draw)
    ids = torch.cat([words[:, :4], torch.full((1, SIDE * SIDE), TOKEN), words[:, 4:]], 1)
    return {"input_ids": ids, "pixel_values": torch.randn(1, 3, 4 * SIDE, 4 * SIDE, generator=draw)}


class Families(unittest.TestCase):
    @torch.no_grad()
    def check(self, kind):
        model, inputs = make_model(kind), make_inputs()
        tensors = {name: value.clone() for name, value in model.model.language_model.state_dict().items()}
        decoder = model.model.language_model
        spec = Spec("llama" if kind in ("llama", "mistral") else kind, LAYERS, HEADS, KV, 8, 1e-5, 10000.0)
        entered = []
        decoder.register_forward_pre_hook(lambda m, args, kwargs: entered.append(kwargs["inputs_embeds"][0]), with_kwargs=True)
        yopo.transformers.apply(model, as_plan(make_plan()))
        rows = []
        for layer in decoder.layers:
            layer.register_forward_hook(lambda m, i, out: rows.append((out[0] if isinstance(out, tuple) else out)[0]))
        found = model(**inputs, use_cache=True)
        reference = Decoder(spec, split_weights(tensors, spec, ""), tensors["norm.weight"], model.lm_head.weight)
        length = inputs["input_ids"].shape[1]
        extra = torch.tensor([10, 20])
        expected = reference.run(entered[0], torch.arange(length), tensors["embed_tokens.weight"][extra], torch.arange(length, length + 2),
                                 from_plan(make_plan()), [Span(4, SIDE, SIDE)])
        hidden = torch.stack([entered[0], *rows])
        self.assertLess((hidden - expected["hidden"]).abs().max().item(), 1e-4)
        self.assertLess((found.logits[0] - expected["logits"]).abs().max().item(), 1e-4)
        cache = found[yopo_package.CACHE]
        for step, token in enumerate(extra):
            logits = model(input_ids=token.view(1, 1), use_cache=True, **{yopo_package.CACHE: cache}).logits[0, -1]
            self.assertLess((logits - expected["decode_logits"][step]).abs().max().item(), 1e-4)
        yopo.transformers.remove(model)
        for name, value in decoder.state_dict().items():
            self.assertTrue(torch.equal(value, tensors[name]), name)

    def test_llama(self):
        self.check("llama")

    def test_mistral(self):
        self.check("mistral")

    def test_qwen2(self):
        self.check("qwen2")

    def test_qwen3(self):
        self.check("qwen3")

    def test_phi3(self):
        self.check("phi3")


class Around(unittest.TestCase):
    @torch.no_grad()
    def test_compile(self):
        """torch.compile runs it, and with the same numbers."""
        model, inputs = make_model("llama"), make_inputs()
        yopo.transformers.apply(model, as_plan(make_plan()))
        expected = model(**inputs).logits
        compiled = torch.compile(model, backend="eager")
        for _ in range(2):
            self.assertLess((compiled(**inputs).logits - expected).abs().max().item(), 1e-5)

    def test_bf16(self):
        model, inputs = make_model("llama"), make_inputs()
        yopo.transformers.apply(model, as_plan(make_plan()))
        with torch.no_grad():
            expected = model(**inputs).logits
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**inputs, labels=inputs["input_ids"]).loss
        loss.backward()
        self.assertTrue(loss.isfinite())
        found = model.to(torch.bfloat16)(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"].bfloat16()).logits
        self.assertLess((found.float() - expected).abs().max().item(), 0.1 * expected.abs().max().item())


if __name__ == "__main__":
    unittest.main()
