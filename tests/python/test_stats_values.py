"""The numbers of stats.h5 against an independent forward: attention and activations of transformers."""
import unittest

import h5py
import numpy as np

from digitgrid_hf import HuggingFace
from support import CALIB, MODEL, Case
import torch


class ValuesTest(Case):
    """The sums of three samples against transformers' own forward."""

    def setUp(self):
        super().setUp()
        self.reference = HuggingFace(MODEL)
        self.layers = self.reference.model.model.language_model.layers
        self.image_token = self.reference.model.config.image_token_index

    def forward(self, sample):
        """Attention [L, H, T, T], act(gate) * up [L, N, F] on visual rows, and which of the T tokens are visual."""
        acts, hooks = [], []
        for layer in self.layers:
            hooks.append(layer.mlp.down_proj.register_forward_pre_hook(lambda _, inputs: acts.append(inputs[0][0])))
        inputs = self.reference.inputs(sample, CALIB.images)
        visual = inputs["input_ids"][0] == self.image_token
        with torch.no_grad():
            attention = self.reference.model(**inputs, output_attentions=True).attentions
        for hook in hooks:
            hook.remove()
        return torch.cat(attention).double(), torch.stack(acts)[:, visual].double(), visual

    def check(self, queries):
        stats = self.folder / f"{queries}.h5"
        self.yopo("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 3, "--queries", queries, "--dtype", "fp32",
                  "--output", stats)
        samples = {s["question_id"]: s for s in CALIB.samples()}
        sums = {"abs_sum": 0, "square_sum": 0}
        with h5py.File(stats, "r") as file:
            ids = [int(i) for i in file["/samples/id"].asstr()[()]]
            for row, sample_id in enumerate(ids):
                attention, act, visual = self.forward(samples[sample_id])
                rows = attention if queries == "prefill" else attention[:, :, ~visual]
                expected = rows[..., visual].sum((2, 3)) / rows[..., ~visual].sum((2, 3))
                np.testing.assert_allclose(file["/attention/ratio"][row], expected.numpy(), rtol=1e-3, atol=1e-5)
                sums["abs_sum"] += act.abs().sum(1).numpy()
                sums["square_sum"] += act.square().sum(1).numpy()
            norms = np.stack([layer.mlp.down_proj.weight.norm(dim=0).detach().numpy() for layer in self.layers])
            np.testing.assert_allclose(file["/ffn/column_norm"][()], norms, rtol=1e-5)
            for name, expected in sums.items():
                found = file[f"/ffn/{name}"][()]
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max(), err_msg=name)

    def test_prefill(self):
        self.check("prefill")

    def test_text(self):
        self.check("text")


if __name__ == "__main__":
    unittest.main()
