"""The other end of benchmarks/peers.py: OpenVINO's prefill of real_sizes.py's layers, run by an interpreter that has openvino.

Writes one line of JSON once it is ready, and one with milliseconds for each number of rounds that it reads.
"""
import argparse
import collections
import json
import pathlib
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parent))
from real_sizes import DTYPES, Transformers  # before numpy: makes `import torch` work
import numpy
import openvino
import torch
from torch.nn import functional


class Prefill(torch.nn.Module):
    """The model's layers in plain torch, for a fixed number of tokens: logits of the last, then each layer's keys and values."""

    def __init__(self, model, tokens):
        super().__init__()
        self.layers, self.norm, self.head = model.model.layers, model.model.norm, model.lm_head
        self.width = model.config.hidden_size // model.config.num_attention_heads
        inverse = model.model.rotary_emb.inv_freq.float()
        angles = torch.arange(tokens).float()[:, None] * torch.cat([inverse, inverse])[None]
        self.register_buffer("cos", angles.cos()[None, None], persistent=False)
        self.register_buffer("sin", angles.sin()[None, None], persistent=False)

    def heads(self, x):  # [1, T, H * width] to [1, H, T, width]
        return x.reshape(1, x.shape[1], -1, self.width).transpose(1, 2)

    def turned(self, x):
        half = self.width // 2
        return x * self.cos + torch.cat([-x[..., half:], x[..., :half]], -1) * self.sin

    def forward(self, x):
        cache = []
        for layer in self.layers:
            n, of = layer.input_layernorm(x), layer.self_attn
            q, k, v = self.turned(self.heads(of.q_proj(n))), self.turned(self.heads(of.k_proj(n))), self.heads(of.v_proj(n))
            cache += [k, v]
            read = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + of.o_proj(read.transpose(1, 2).reshape(x.shape))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return (self.head(self.norm(x[:, -1:])), *cache)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", choices=list(DTYPES), required=True)
    parser.add_argument("--rows", required=True, help=".npz for what it computes, and what torch computes in fp32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    peer = Transformers(options.config, options.layers, options.dtype, options.tokens)
    module, embeds = Prefill(peer.model.float(), options.tokens).eval(), peer.embeds.float()
    with torch.inference_mode():
        rows = {f"fp32_{i}": row.numpy() for i, row in enumerate(module(embeds))}
        model = openvino.convert_model(module, example_input=embeds, input=[tuple(embeds.shape)])
    compiled = openvino.Core().compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[options.dtype], "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": options.threads})
    del module, peer, model
    request, inputs = compiled.create_infer_request(), [embeds.numpy()]
    rows |= {f"openvino_{i}": numpy.array(row) for i, row in enumerate(request.infer(inputs).values())}
    numpy.savez(options.rows, **rows)
    del rows
    kinds = collections.Counter()
    for node in compiled.get_runtime_model().get_ops():
        about = node.get_rt_info()
        kind = about["layerType"].astype(str) if "layerType" in about else "?"
        if kind in ("FullyConnected", "MatMul", "ScaledDotProductAttention", "MHA"):
            kinds[f"{kind} {about['runtimePrecision'].astype(str)}"] += 1
    print(json.dumps({"version": openvino.__version__, "products": kinds}), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            request.infer(inputs, share_inputs=True, share_outputs=True)
            times.append(1e3 * (time.perf_counter() - start))
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main()
