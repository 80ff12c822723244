"""Compensation in both forwards against plain PyTorch: transformers' LLaMA of the demo with a hook on each layer."""
import json
import unittest

import torch_cpu  # noqa: F401  (before torch)
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from support import MODEL, Case

LAYERS, HEADS, HIDDEN, VISUAL, BEFORE = 11, 8, 128, 81, 5
LIMIT = 1e-5


def vectors(seed, rank):
    draw = torch.Generator().manual_seed(seed)
    return {"down": 0.2 * torch.randn(rank, HIDDEN, generator=draw), "up": 0.2 * torch.randn(HIDDEN, rank, generator=draw),
            "bias": 0.2 * torch.randn(HIDDEN, generator=draw)}


class Compensation(Case):
    @classmethod
    def setUpClass(cls):
        cls.model = LlavaForConditionalGeneration.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
        draw = torch.Generator().manual_seed(1)
        cls.length = BEFORE + VISUAL + 7
        cls.embeds = torch.randn(1, cls.length, HIDDEN, generator=draw) * 0.5
        cls.visual = torch.zeros(1, cls.length, 1, dtype=torch.bool)
        cls.visual[:, BEFORE:BEFORE + VISUAL] = True
        cls.added = {layer: vectors(layer, rank) for layer, rank in ((0, 3), (4, 16), (9, 1), (10, 0))}

    def expected(self, added, where=None, source="post_attention_layernorm"):
        """Hidden rows [L + 1, T, C] and logits; `where` and `source` make mutants."""
        where = self.visual if where is None else where
        language = self.model.model.language_model
        hooks, seen = [], {}
        for index, layer in enumerate(language.layers):
            if index not in added:
                continue
            own = added[index]
            hooks.append(getattr(layer, source).register_forward_hook(lambda m, i, out, index=index: seen.__setitem__(index, out)))

            def add(module, inputs, output, index=index, own=own):
                hidden = output[0] if isinstance(output, tuple) else output
                more = seen[index] @ own["down"].T @ own["up"].T + own["bias"]
                hidden = torch.where(where, hidden + more, hidden)
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            hooks.append(layer.register_forward_hook(add))
        rows = [self.embeds[0]]
        for layer in language.layers:
            hooks.append(layer.register_forward_hook(lambda m, i, out: rows.append((out[0] if isinstance(out, tuple) else out)[0])))
        try:
            with torch.no_grad():
                output = language(inputs_embeds=self.embeds, use_cache=False)
                logits = self.model.lm_head(output.last_hidden_state)[0]
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(rows).numpy(), logits.numpy()

    def plan(self, added):
        """Writes a dense plan with the vectors through the command's own reader: digest and all come from yopo."""
        tensors = {}
        layers = []
        for index in range(LAYERS):
            layer = {"heads": [1] * HEADS}
            if index in added:
                rank = added[index]["down"].shape[0]
                layer["compensation"] = {"rank": rank}
                tensors[f"layers.{index}.bias"] = added[index]["bias"]
                if rank:
                    tensors |= {f"layers.{index}.{part}": added[index][part].contiguous() for part in ("down", "up")}
            layers.append(layer)
        save_file(tensors, self.folder / "plan.safetensors")
        plan = {"format": "yopo-plan", "version": 2, "semantics": "skip", "layers": layers,
                "compensation": {"file": "plan.safetensors", "digest": ""}, "provenance": {}}
        path = self.folder / "plan.json"
        path.write_text(json.dumps(plan))
        refused = self.trace(path, "runtime", check=False)  # says which digest the vectors have
        self.assertEqual(refused.returncode, 2)
        plan["compensation"]["digest"] = refused.stderr.split("; here: ")[1].split(")")[0]
        path.write_text(json.dumps(plan))
        return path

    def trace(self, plan, engine, check=True):
        inputs = self.folder / "inputs.safetensors"
        save_file({"embeds": self.embeds[0].contiguous(), "spans": torch.tensor([[BEFORE, 9, 9]]),
                   "position_ids": torch.arange(self.length)}, inputs)
        output = self.folder / f"{engine}.safetensors"
        arguments = ["trace", "--model", MODEL, "--plan", plan, "--inputs", inputs, "--engine", engine, "--output", output]
        if not check:
            from support import run
            return run(*arguments)
        self.yopo(*arguments)
        return load_file(output)

    def assert_close(self, found, expected):
        found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
        self.assertTrue(np.isfinite(found).all())
        self.assertLess(np.abs(found - expected).max() / np.abs(expected).max(), LIMIT)

    def test_both_forwards_are_plain_pytorch(self):
        plan = self.plan(self.added)
        hidden, logits = self.expected(self.added)
        plain, _ = self.expected({})
        self.assertGreater(np.abs(hidden - plain).max(), 0.1)
        for engine in ("runtime", "torch"):
            found = self.trace(plan, engine)
            self.assert_close(found["hidden"].numpy().reshape(hidden.shape), hidden)
            self.assert_close(found["logits"].numpy(), logits)
            # Mutants of the formula are told apart.
            for mutant in (self.expected(self.added, where=torch.ones_like(self.visual)),
                           self.expected(self.added, source="input_layernorm"),
                           self.expected({k: v | {"bias": v["bias"] * 0} for k, v in self.added.items()}),
                           self.expected({k: v | {"up": v["up"] * 0} for k, v in self.added.items()}),
                           self.expected({k: v for k, v in self.added.items() if k != 9})):
                with self.assertRaises(AssertionError):
                    self.assert_close(found["hidden"].numpy().reshape(hidden.shape), mutant[0])

    def test_text_before_the_image_is_untouched_to_the_bit(self):
        plan = self.plan(self.added)
        with_it = self.trace(plan, "runtime")
        json_plan = json.loads(plan.read_text())
        del json_plan["compensation"]
        for layer in json_plan["layers"]:
            layer.pop("compensation", None)
        dense = self.folder / "dense.json"
        dense.write_text(json.dumps(json_plan))
        without = self.trace(dense, "runtime")
        shape = (LAYERS + 1, self.length, HIDDEN)
        a, b = with_it["hidden"].reshape(shape), without["hidden"].reshape(shape)
        self.assertTrue(torch.equal(a[:, :BEFORE], b[:, :BEFORE]))
        self.assertFalse(torch.equal(a[:, BEFORE:], b[:, BEFORE:]))


if __name__ == "__main__":
    unittest.main()
