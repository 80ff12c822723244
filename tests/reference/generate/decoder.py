"""The reference decoder: one sample at a time in plain PyTorch, with masks in place of every shortcut.

It covers LLaMA, Qwen2 and Qwen2-VL (multimodal rotary embedding), Qwen3 and Qwen3-VL (interleaved rotary embedding,
deepstack), InternLM2 and Phi-3, and reads the tensor names of their checkpoints. `Prune` says what is dropped;
`from_plan` reads a plan with `semantics: skip`. It shares no code with the toolkit. """

import math
from dataclasses import asdict, dataclass, field

from support import torch

LOWEST = torch.finfo(torch.float32).min
MINUS_INFINITY = float("-inf")


@dataclass
class Span:
    """One picture (an image or a tile): visual tokens [start, start + rows * columns), row by row."""

    start: int
    rows: int
    columns: int

    @property
    def count(self):
        return self.rows * self.columns


def visual_mask(spans, length):
    mask = torch.zeros(length, dtype=torch.bool)
    for span in spans:
        mask[span.start : span.start + span.count] = True
    return mask


@dataclass
class Prune:
    """What is left out. The defaults leave out nothing."""

    window: int | None = (
        None  # visual queries read visual keys of their picture within (window - 1) / 2 rows and columns
    )
    self_only: str | None = (
        None  # 'intended': a visual row reads no other visual row; 'literal': as published, doubled scores
    )
    headmask: torch.Tensor | None = None  # bool [L, H]: heads that read visual keys
    headcut_from: int = 0  # first layer that headmask applies to (0 for LLaVA, 2 for Qwen2-VL)
    zero_query: bool = False  # a dropped head's output is zero for visual queries, too
    head_pre: bool = False  # dropped pairs leave the softmax instead of being zeroed after it
    layercut: int | None = None  # layers from here on do not read visual keys
    layercut_mode: str = (
        "post"  # 'post': zeroed after the softmax; 'pre_qwen': before it, in the published code's rows;
    )
    #                              'pre_text': before it, in all rows that are not visual
    ffn_keep: int | None = None  # visual rows use the first ffn_keep neurons
    updates: torch.Tensor | None = None  # bool [L, H]: heads that visual queries compute; None: headmask
    ffn_sets: list | None = None  # a list of neurons for each layer, None for all of them
    window_causal: bool = False  # the window holds no later token
    window_isolates: bool = False  # a visual row reads no visual key of another picture

    def described(self):
        """What case.json says of a published variant; masks stand in its tensor file, plans have files of their own."""
        of_plans = ("updates", "ffn_sets", "window_causal", "window_isolates")
        fields = {name: value for name, value in asdict(self).items() if name not in (*of_plans, "headmask")}
        fields["has_headmask"] = self.headmask is not None
        return fields


@dataclass
class Spec:
    kind: str  # llama, qwen2, qwen3 (RMSNorm over each head of q and k, before the rotation), internlm2, phi3
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    theta: float
    rope: dict = field(default_factory=dict)  # type: none, mrope (sections, interleaved), dynamic or su


def split_weights(tensors, spec, prefix):
    """The tensors of each layer, q, k, v, gate and up apart; `prefix` is what stands before 'layers.'."""
    H, KV, D = spec.heads, spec.kv_heads, spec.head_dim
    layers = []
    for index in range(spec.layers):
        at = f"{prefix}layers.{index}."
        if spec.kind == "internlm2":  # rows of wqkv, for each KV head: its query heads, k, v
            wqkv = tensors[at + "attention.wqkv.weight"].view(KV, H // KV + 2, D, -1)
            layers.append(
                dict(
                    q=wqkv[:, :-2].reshape(H * D, -1),
                    k=wqkv[:, -2].reshape(KV * D, -1),
                    v=wqkv[:, -1].reshape(KV * D, -1),
                    o=tensors[at + "attention.wo.weight"],
                    gate=tensors[at + "feed_forward.w1.weight"],
                    up=tensors[at + "feed_forward.w3.weight"],
                    down=tensors[at + "feed_forward.w2.weight"],
                    n1=tensors[at + "attention_norm.weight"],
                    n2=tensors[at + "ffn_norm.weight"],
                )
            )
            continue
        layer = dict(
            o=tensors[at + "self_attn.o_proj.weight"],
            down=tensors[at + "mlp.down_proj.weight"],
            n1=tensors[at + "input_layernorm.weight"],
            n2=tensors[at + "post_attention_layernorm.weight"],
        )
        if spec.kind == "phi3":  # rows of qkv_proj: all of q, all of k, all of v; of gate_up_proj: gate, up
            layer["q"], layer["k"], layer["v"] = tensors[at + "self_attn.qkv_proj.weight"].split(
                [H * D, KV * D, KV * D]
            )
            layer["gate"], layer["up"] = tensors[at + "mlp.gate_up_proj.weight"].chunk(2)
        else:
            for name in "qkv":
                layer[name] = tensors[at + f"self_attn.{name}_proj.weight"]
                layer[name + "b"] = tensors.get(at + f"self_attn.{name}_proj.bias")
            layer["gate"], layer["up"] = (tensors[at + f"mlp.{name}_proj.weight"] for name in ("gate", "up"))
            if spec.kind == "qwen3":
                layer["qn"], layer["kn"] = (tensors[at + f"self_attn.{name}_norm.weight"] for name in "qk")
        layers.append(layer)
    return layers


def rms_norm(x, weight, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rope_tables(spec, positions, kv_length):
    """cos and sin [T, D] of positions [T], or [3, T] for a multimodal rotary embedding."""
    D, rope = spec.head_dim, spec.rope
    exponents = torch.arange(0, D, 2).float() / D
    base, scale, factors = spec.theta, 1.0, 1.0
    if rope.get("type") == "dynamic" and kv_length > rope["max_pos"]:
        stretch = rope["factor"] * kv_length / rope["max_pos"] - (rope["factor"] - 1)
        base = base * stretch ** (D / (D - 2))
    if rope.get("type") == "su":
        factors = torch.tensor(rope["long"] if int(positions.max()) + 1 > rope["orig"] else rope["short"])
        ratio = rope["max_pos"] / rope["orig"]
        scale = 1.0 if ratio <= 1 else math.sqrt(1 + math.log(ratio) / math.log(rope["orig"]))
    inverse = 1.0 / (factors * base**exponents)
    angles = positions.float()[..., None] * inverse  # [(3,) T, D/2]
    if angles.dim() == 3:
        axis = torch.repeat_interleave(torch.arange(3), torch.tensor(rope["sections"]))
        if rope.get("interleaved"):  # t h w t h w ...; an axis that used up its section leaves its places to t
            axis = torch.zeros_like(axis)
            for i in (1, 2):
                axis[i : 3 * rope["sections"][i] : 3] = i
        angles = torch.gather(angles.permute(1, 2, 0), 2, axis[None, :, None].expand(angles.shape[1], -1, 1))[..., 0]
    angles = torch.cat([angles, angles], -1)
    return angles.cos() * scale, angles.sin() * scale


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def window_block(span, prune):
    """The visual block of one picture [n, n]: 0 where a query reads a key, minus infinity elsewhere."""
    reach = (prune.window - 1) // 2
    i = torch.arange(span.count)
    rows = (i[:, None] // span.columns - i[None] // span.columns).abs()
    columns = (i[:, None] % span.columns - i[None] % span.columns).abs()
    near = (rows <= reach) & (columns <= reach)
    if prune.window_causal:
        near &= i[None] <= i[:, None]
    return torch.where(near, 0.0, MINUS_INFINITY)


class Decoder:
    """`layers` as split_weights returns them; `norm` [C] and `head` [V, C] follow them."""

    def __init__(self, spec, layers, norm, head):
        self.spec, self.layers, self.norm, self.head = spec, layers, norm, head

    def double(self):
        """The same in float64: how far float32 is from it is the noise that a tolerance must allow."""
        layers = [{name: None if w is None else w.double() for name, w in layer.items()} for layer in self.layers]
        return Decoder(self.spec, layers, self.norm.double(), self.head.double())

    def step(self, x, positions, cache, prune, spans, deep=None):
        """x [T, C]: new rows behind those in `cache`, (k, v) of each layer or []; `spans` count from the first row of
        all. deep [n, V, C] (deepstack of Qwen3-VL): deep[l] is added to the visual rows, in their order, after layer l
        < n. """
        spec = self.spec
        T, past = x.shape[0], (cache[0][0].shape[1] if cache else 0)
        K = past + T
        visual = visual_mask(spans, K)
        count = int(visual.sum())
        visual_query = visual[past:]
        prefill = 0 < count < T  # how the published code tells
        cos, sin = rope_tables(spec, positions, K)
        base = torch.where(torch.arange(K)[None] > torch.arange(past, K)[:, None], LOWEST, 0.0)
        if prune.window and prefill:
            if prune.window_isolates:
                base[visual_query[:, None] & visual[None]] = MINUS_INFINITY
            for span in spans:
                picture = slice(span.start, span.start + span.count)
                base[picture, picture] = window_block(span, prune)
        out = dict(hidden=[x], attn=[], cache=[])
        for index, w in enumerate(self.layers):
            n = rms_norm(x, w["n1"], spec.eps)
            q, k, v = (
                torch.nn.functional.linear(n, w[c], w.get(c + "b")).view(T, -1, spec.head_dim).transpose(0, 1)
                for c in "qkv"
            )
            if "qn" in w:
                q, k = rms_norm(q, w["qn"], spec.eps), rms_norm(k, w["kn"], spec.eps)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            if cache:
                k, v = torch.cat([cache[index][0], k], 1), torch.cat([cache[index][1], v], 1)
            out["cache"].append((k, v))
            weights = self.attention_weights(q, k, base, index, prune, visual, visual_query, prefill)
            out["attn"].append(weights)
            o = weights @ v.repeat_interleave(spec.heads // spec.kv_heads, 0)  # [H, T, D]
            heads = self.heads_of(prune, index)
            if heads is not None and prune.zero_query and T > 1:
                updates = heads if prune.updates is None else prune.updates[index]
                o = torch.where(visual_query[None, :, None], o * updates[:, None, None], o)
            x = x + o.transpose(0, 1).reshape(T, -1) @ w["o"].T
            x = self.before_ffn(index, x, visual_query)
            entered, n = x, rms_norm(x, w["n2"], spec.eps)
            h = torch.nn.functional.silu(n @ w["gate"].T) * (n @ w["up"].T)
            dropped = torch.zeros(h.shape[1], dtype=torch.bool)
            if prune.ffn_keep is not None:
                dropped |= torch.arange(h.shape[1]) >= prune.ffn_keep
            if prune.ffn_sets is not None and prune.ffn_sets[index] is not None:
                kept = torch.zeros_like(dropped)
                kept[torch.as_tensor(prune.ffn_sets[index], dtype=torch.long)] = True
                dropped |= ~kept
            x = x + h.masked_fill(visual_query[:, None] & dropped[None], 0.0) @ w["down"].T
            x = self.behind_ffn(index, x, entered, n, visual_query)
            if deep is not None and index < len(deep) and bool(visual_query.any()):
                x = x.clone()
                x[visual_query] += deep[index]
            out["hidden"].append(x)
        out["logits"] = rms_norm(x, self.norm, spec.eps) @ self.head.T
        return out

    def before_ffn(self, index, x, visual_query):
        """x [T, C] as it enters the FFN's norm; a place for what a layer adds (compensation.py)."""
        return x

    def behind_ffn(self, index, x, entered, n, visual_query):
        """x [T, C] behind the FFN, which read n, the norm of `entered`; the same."""
        return x

    def heads_of(self, prune, index):
        return prune.headmask[index] if prune.headmask is not None and index >= prune.headcut_from else None

    def attention_weights(self, q, k, base, index, prune, visual, visual_query, prefill):
        """q [H, T, D], k [KV, K, D], base [T, K] -> [H, T, K], what is dropped already zero."""
        T, K = base.shape
        scores = q @ k.repeat_interleave(self.spec.heads // self.spec.kv_heads, 0).transpose(1, 2)
        scores = scores / math.sqrt(self.spec.head_dim) + base
        count = int(visual.sum())
        cut = prune.layercut is not None and index >= prune.layercut and count > 0
        heads = self.heads_of(prune, index)
        if cut and prune.layercut_mode != "post":
            rows = ~visual_query
            if prune.layercut_mode == "pre_qwen":
                rows = torch.arange(T) >= count if prefill else torch.ones(T, dtype=torch.bool)
            scores = scores.masked_fill((rows[:, None] & visual[None])[None], MINUS_INFINITY)
        if prune.self_only and prefill:
            block = visual_query[:, None] & visual[None]
            own = torch.arange(K)[None] == torch.arange(K - T, K)[:, None]
            if prune.self_only == "literal":  # scores + a copy of them: everything outside the block is doubled
                copy = torch.where(block, MINUS_INFINITY, scores)
                scores = scores + torch.where(block & own, torch.zeros(()), copy)
            else:
                scores = scores.masked_fill(block & ~own, MINUS_INFINITY)
        if heads is not None and prune.head_pre:
            scores = scores.masked_fill((~heads)[:, None, None] & visual[None, None], MINUS_INFINITY)
        weights = torch.softmax(scores, -1)
        if heads is not None and not prune.head_pre:  # not normalised again
            weights = torch.where(visual[None, None], weights * heads[:, None, None], weights)
        if cut and prune.layercut_mode == "post":
            weights = torch.where(visual[None, None], torch.zeros(()), weights)
        return weights

    def run(self, embeddings, positions, decode_embeddings, decode_positions, prune, spans, deep=None):
        """Prefill, then the given tokens one by one: hidden [L+1, T, C], logits [T, V], attn [L, H, T, T],
        decode_logits [n, V], decode_hidden [n, L+1, C], decode_attn [n, L, H, T+n] (zeros behind the keys of a
        step)."""
        step = self.step(embeddings, positions, [], prune, spans, deep)
        out = dict(hidden=torch.stack(step["hidden"]), logits=step["logits"], attn=torch.stack(step["attn"]))
        logits, hidden, attention = [], [], []
        for t in range(decode_embeddings.shape[0]):
            at = decode_positions[..., t : t + 1]
            step = self.step(decode_embeddings[t : t + 1], at, step["cache"], prune, spans)
            logits.append(step["logits"][0])
            hidden.append(torch.stack(step["hidden"])[:, 0])
            attention.append(torch.stack(step["attn"])[:, :, 0])
        longest = attention[-1].shape[-1]
        padded = [torch.nn.functional.pad(a, (0, longest - a.shape[-1])) for a in attention]
        return out | dict(
            decode_logits=torch.stack(logits), decode_hidden=torch.stack(hidden), decode_attn=torch.stack(padded)
        )


def from_plan(plan):
    """A plan of semantics "skip" as Prune: a dropped pair of head and visual key leaves the softmax; a visual row gets
    output only from the heads in `updates` and uses the listed neurons; layers from `visual_layers` on know no visual
    token; with a window a visual row reads only visual keys near it in its own picture, and all earlier text.
    Deepstack additions are nothing that a plan can drop: they happen after each layer below `visual_layers`."""
    assert plan["format"] == "yopo-plan" and plan["semantics"] == "skip"
    window, heads = plan.get("window"), torch.tensor(plan["heads"], dtype=torch.bool)
    updates = torch.tensor(plan["updates"], dtype=torch.bool) if plan.get("updates") else heads
    assert not (updates & ~heads).any(), "a head that visual queries compute must also be readable"
    return Prune(
        window=window and window["size"],
        window_causal=bool(window and window["causal"]),
        window_isolates=bool(window),
        zero_query=True,
        head_pre=True,
        headmask=heads,
        updates=updates,
        layercut=plan["visual_layers"],
        layercut_mode="pre_text",
        ffn_sets=plan["ffn"],
    )
