"""What torch does with the same sizes on the same GPU, as JSON: `kernels FILE` takes yopo-bench's list of kernels; `model CONFIG LAYERS
TOKENS BATCH` is a decoder of the config's sizes with SDPA, dense: prefill and decode. bf16, times by CUDA events."""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F


def median_ms(work, rounds=9, calls=1):
    """Of one call of `work`, after two that warm up."""
    for _ in range(2):
        work()
    times = []
    for _ in range(rounds):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / calls)
    return sorted(times)[len(times) // 2]


def random(*shape):
    return torch.rand(*shape, device="cuda", dtype=torch.bfloat16) - 0.5


def product(shape):
    """By turns over as many weights as the second level cache does not hold."""
    m, n, k, width = shape["m"], shape["n"], shape["k"], shape["ldw"]
    copies = max(1, min(16, (256 << 20) // (2 * n * width)))
    weights = [random(n, width)[:, :k] for _ in range(copies)]
    rows, turn = random(m, k), [0]

    def work():
        turn[0] += 1
        return F.linear(rows, weights[turn[0] % copies])

    return median_ms(work, calls=20)


def attention(queries, keys, heads, kv_heads, head_dim, causal, groups=1):
    q, k, v = random(groups, heads, queries, head_dim), random(groups, kv_heads, keys, head_dim), random(groups, kv_heads, keys, head_dim)
    return median_ms(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=kv_heads != heads), calls=20)


def kernels(path):
    """[{kernel, model, shape, ms}]: products, and attention as dense as torch has it (whatever the plan)."""
    found = []
    for one in json.loads(pathlib.Path(path).read_text())["kernels"]:
        shape, kind = one["shape"], one["kernel"]
        if kind == "product":
            ms = product(shape)
        elif kind == "prefill_attention" and shape["name"] == "dense":
            tokens = shape["visual"] + shape["text"]
            ms = attention(tokens, tokens, shape["heads"], shape["kv_heads"], shape["head_dim"], True)
        elif kind == "decode_attention":
            ms = attention(1, shape["keys"], shape["heads"], shape["kv_heads"], shape["head_dim"], False)
        elif kind == "full_attention":
            ms = attention(shape["rows"], shape["rows"], shape["heads"], shape["heads"], shape["head_dim"], False, shape["pictures"])
        else:
            continue
        found.append({"kernel": kind, "model": one["model"], "shape": shape, "ms": ms, "yopo_ms": one["ms"], "yopo_over_torch": one["ms"] / ms})
    return {"kernels": found}


class Layer:
    def __init__(self, hidden, neurons, heads, kv_heads, head_dim):
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        scale = 0.04
        self.qkv = random((heads + 2 * kv_heads) * head_dim, hidden) * scale
        self.o = random(hidden, heads * head_dim) * scale
        self.gate_up = random(2 * neurons, hidden) * scale
        self.down = random(hidden, neurons) * scale
        self.norms = torch.ones(2, hidden, device="cuda", dtype=torch.bfloat16)

    def turn(self, x, cos, sin):
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat([-right, left], -1) * sin

    def forward(self, x, cos, sin, cache, first):
        """x [batch, rows, hidden]; cache [2, batch, kv heads, capacity, head_dim], rows go in from `first` on."""
        batch, rows, hidden = x.shape
        normed = F.rms_norm(x, (hidden,), self.norms[0])
        q, k, v = F.linear(normed, self.qkv).view(batch, rows, -1, self.head_dim).transpose(1, 2).split(
            [self.heads, self.kv_heads, self.kv_heads], 1)
        cache[0, :, :, first:first + rows] = self.turn(k, cos, sin)
        cache[1, :, :, first:first + rows] = v
        keys = cache[:, :, :, :first + rows]
        read = F.scaled_dot_product_attention(self.turn(q, cos, sin), keys[0], keys[1], is_causal=rows > 1,
                                              enable_gqa=self.heads != self.kv_heads)
        x = x + F.linear(read.transpose(1, 2).reshape(batch, rows, -1), self.o)
        gate, up = F.linear(F.rms_norm(x, (hidden,), self.norms[1]), self.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


@torch.inference_mode()
def model(path, layers, tokens, batch, more=32):
    config = json.loads(pathlib.Path(path).read_text())
    text = config.get("text_config") or config.get("llm_config") or config
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    kv_heads, head_dim = text.get("num_key_value_heads") or heads, text.get("head_dim") or hidden // heads
    stack = [Layer(hidden, text["intermediate_size"], heads, kv_heads, head_dim) for _ in range(layers)]
    head, x = random(text["vocab_size"], hidden) * 0.04, random(batch, tokens, hidden)
    cache = torch.zeros(layers, 2, batch, kv_heads, tokens + more, head_dim, device="cuda", dtype=torch.bfloat16)
    angles = torch.outer(torch.arange(tokens + more, device="cuda"), 1e4 ** (-torch.arange(0, 1, 2 / head_dim, device="cuda")))
    cos, sin = torch.cat([angles, angles], -1).cos().bfloat16(), torch.cat([angles, angles], -1).sin().bfloat16()

    def forward(rows, first):
        last = first + rows.shape[1]
        for number, layer in enumerate(stack):
            rows = layer.forward(rows, cos[first:last], sin[first:last], cache[number], first)
        return F.linear(rows[:, -1:], head)

    def eager():
        for step in range(more):
            forward(x[:, :1], tokens + step)

    result = {"layers": layers, "tokens": tokens, "batch": batch, "prefill_ms": median_ms(lambda: forward(x, 0)),
              "decode_ms": median_ms(eager, rounds=3) / more}
    try:  # a step as a recorded graph, as yopo runs it
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            forward(x[:, :1], tokens + more // 2)
        result["decode_graph_ms"] = median_ms(graph.replay, calls=10)
    except RuntimeError as error:  # the other times are good without it
        result["decode_graph_reason"] = str(error)[:300]
    return result


def main():
    what, *rest = sys.argv[1:]
    found = kernels(*rest) if what == "kernels" else model(rest[0], *map(int, rest[1:]))
    found["torch"], found["cuda"], found["device"] = torch.__version__, torch.version.cuda, torch.cuda.get_device_name()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
