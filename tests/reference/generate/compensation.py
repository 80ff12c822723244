"""Plans with compensation on checkpoints and cases that are there already, and what the reference decoder makes of them.

Behind its FFN a layer adds up (down n) + bias to each visual row, n the normalised row that the FFN reads
(docs/search.md, docs/formats.md). Beside these numbers stand those of wrong readings of that sentence, which no test may
take for right. """

import pathlib

from decoder import Decoder, Span, from_plan, rms_norm, visual_mask
from skip import read_decoder
from support import at_least, load_file, load_json, normal, os, save_json, save_tensors, torch

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "data" / "fixtures"
CASES = {"llava": "llava_hf/cases/single", "qwen2vl": "qwen2vl/cases/two_images"}
MUTANTS = (
    "before_ffn",  # added to the row that enters the FFN's norm
    "entered",  # read from the row before that norm
    "output",  # read from the row behind the FFN
    "other_norm",  # read behind the norm of the attention
    "text",  # text rows of the prompt, too
    "decoded",  # decoded rows, too
    "no_bias",
    "no_map",
    "exchanged",  # down and up in each other's place
    "shifted",  # each layer has the vectors of the next one that has some
    "frozen",  # the layer that does nothing for visual rows has some, too
    "dead",  # visual rows go on behind the last alive layer
    "fewer_layers",  # the last alive layer has none
)


class Compensated(Decoder):
    """`added`: for each layer dict(down [r, C], up [C, r], bias [C]) or None. `mutant`: one of MUTANTS, or none."""

    def __init__(self, decoder, added, mutant=None):
        super().__init__(decoder.spec, decoder.layers, decoder.norm, decoder.head)
        self.added, self.mutant = added, mutant

    def double(self):
        added = [one and {name: value.double() for name, value in one.items()} for one in self.added]
        return Compensated(super().double(), added, self.mutant)

    def more(self, own, rows):
        down, up, bias = own["down"], own["up"], own["bias"]
        if self.mutant == "exchanged":
            down, up = up.T, down.T
        if self.mutant == "no_bias":
            bias = torch.zeros_like(bias)
        return bias.expand_as(rows) if self.mutant == "no_map" else rows @ down.T @ up.T + bias

    def where(self, visual_query):
        decoding = len(visual_query) == 1
        every = self.mutant == ("decoded" if decoding else "text")
        return torch.ones_like(visual_query) if every else visual_query

    def add(self, index, x, rows, visual_query):
        own = self.added[index]
        return x if own is None else torch.where(self.where(visual_query)[:, None], x + self.more(own, rows), x)

    def before_ffn(self, index, x, visual_query):
        if self.mutant != "before_ffn":
            return x
        return self.add(index, x, rms_norm(x, self.layers[index]["n2"], self.spec.eps), visual_query)

    def behind_ffn(self, index, x, entered, n, visual_query):
        if self.mutant == "before_ffn":
            return x
        rows = {"entered": entered, "output": x}.get(self.mutant, n)
        if self.mutant == "other_norm":
            rows = rms_norm(entered, self.layers[index]["n1"], self.spec.eps)
        return self.add(index, x, rows, visual_query)


def vectors(generator, width, rank):
    """The parts of what is added have about the size of a tenth of a row."""
    return dict(
        down=normal(generator, rank, width) / width**0.5,
        up=0.3 * normal(generator, width, rank) / max(rank, 1) ** 0.5,
        bias=0.2 * normal(generator, width),
    )


def some_of(generator, count, kept):
    return sorted(torch.randperm(count, generator=generator)[:kept].tolist())


def plans_of(spec, width, hidden, generator, window):
    """Name: (fields as those of a plan of version 1, vectors of each layer). `pruned`: layer 0 a part of everything,
    1 its compensation alone, 2 read and otherwise frozen, 3 a part of everything and the last one alive."""
    L, H = spec.layers, spec.heads
    assert L == 5
    draw = lambda rank: None if rank is None else vectors(generator, hidden, rank)
    none, every = [0] * H, [1] * H
    first = [int(h != 1) for h in range(H)]
    last = [int(h % 3 != 2) for h in range(H)]
    pruned = dict(
        window=window,
        visual_layers=4,
        heads=[first, none, every, last, every],
        updates=[[int(h == 2) for h in range(H)], none, none, [int(h == 0) for h in range(H)], every],
        ffn=[some_of(generator, width, width // 3), [], [], some_of(generator, width, width // 4), None],
    )
    whole = dict(window=None, visual_layers=L, heads=[every] * L, updates=[every] * L, ffn=[None] * L)
    return dict(
        pruned=(pruned, [draw(rank) for rank in (3, 0, None, 7, None)]),
        whole=(whole, [draw(rank) for rank in (None, 16, None, 1, 3)]),
    )


def written(plan, added):
    """The plan as docs/formats.md has it, but for the digest, which a reader of the vectors knows best."""
    layers = []
    for index in range(len(plan["heads"])):
        alive = index < plan["visual_layers"]
        layer = dict(heads=plan["heads"][index], updates=plan["updates"][index], neurons=plan["ffn"][index])
        if not alive:
            layer["alive"] = False
        if alive and plan["window"]:
            layer["window"] = plan["window"]
        if added[index]:
            layer["compensation"] = dict(rank=added[index]["down"].shape[0])
        layers.append({name: value for name, value in layer.items() if value is not None})
    return dict(format="yopo-plan", version=2, semantics="skip", layers=layers, provenance={})


def mutated(added, mutant):
    """The vectors of each layer under a mutant, None where they cannot be those of it."""
    if mutant == "shifted":
        holders = [index for index, one in enumerate(added) if one]
        following = dict(zip(holders, holders[1:] + holders[:1]))
        return [added[following[index]] if one else None for index, one in enumerate(added)]
    if mutant == "frozen":
        return added[:2] + [added[3]] + added[3:]
    return added[:3] + [None, added[4]] if mutant == "fewer_layers" else added


def make_case(name, source, root):
    case = load_json(FIXTURES / source / "case.json")
    decoder, table, width = read_decoder(FIXTURES / source / ".." / ".." / "model", {})
    positions = load_file(FIXTURES / source / "inputs.safetensors")["position_ids"]
    entered = load_file(FIXTURES / source / "dense.safetensors")["hidden"][0]
    decode = table[torch.tensor(case["decode_tokens"])]
    assert len(decode) == 4
    behind = torch.arange(int(positions.max()) + 1, int(positions.max()) + 1 + len(decode))
    behind = behind.expand(3, -1) if positions.dim() == 2 else behind
    spans = [Span(*span) for span in case["spans"]]
    visual = visual_mask(spans, entered.shape[0])
    shown = torch.tensor([span.start + span.count - 1 for span in spans] + [entered.shape[0] - 1])
    generator = torch.Generator().manual_seed(4000 + sum(map(ord, name)))
    window = dict(size=3, causal=False) if name == "llava" else dict(size=5, causal=True)
    os.makedirs(f"{root}/compensation/{name}")

    def run(plan, added, mutant=None, exact=False):
        prune, model = from_plan(dict(format="yopo-plan", semantics="skip") | plan), Compensated(decoder, added, mutant)
        if exact:
            model = model.double()
            found = model.run(entered.double(), positions, decode.double(), behind, prune, spans)
        else:
            found = model.run(entered, positions, decode, behind, prune, spans)
        depth, hidden = plan["visual_layers"], found["hidden"]
        hidden[depth + 1 :, visual] = hidden[depth, visual]
        if mutant == "dead":
            last = hidden[depth, visual]
            read = rms_norm(last, decoder.layers[depth]["n2"], decoder.spec.eps)
            hidden[depth + 1 :, visual] = last + model.more(added[depth - 1], read)
        found["logits"] = found["logits"][~visual]
        return {key: found[key].contiguous() for key in ("hidden", "logits", "decode_logits")}

    info = dict(model=f"{source.split('/')[0]}/model", case=source, plans={}, tolerance={})
    for plan_name, (plan, added) in plans_of(decoder.spec, width, entered.shape[1], generator, window).items():
        found, true = run(plan, added), run(plan, added, exact=True)
        plain = run(plan, [None] * len(added))
        noise = max((found[key] - true[key]).abs().max().item() for key in found)
        assert noise < 1e-4 and (found["decode_logits"] - plain["decode_logits"]).abs().max() > 0.1, noise
        tolerance = at_least(noise, 1e-4)
        info["plans"][plan_name] = []
        info["tolerance"][plan_name] = dict(values=tolerance, attn=0.0)
        at = f"{root}/compensation/{name}/{plan_name}"
        save_json(f"{at}.plan.json", written(plan, added), None)
        parts = {}
        for index, one in enumerate(added):
            if one:
                parts |= {f"layers.{index}.{part}": value for part, value in one.items() if value.numel()}
        save_tensors(f"{at}.plan.safetensors", parts)
        save_tensors(f"{at}.safetensors", found)
        if plan_name != "pruned":
            continue
        wrong = {}
        for mutant in MUTANTS:
            other = run(plan, mutated(added, mutant), mutant)
            rows, logits = other["hidden"][-1, shown], other["decode_logits"]
            far = max((found["hidden"][-1, shown] - rows).abs().max(), (found["decode_logits"] - logits).abs().max())
            assert far > 1000 * tolerance, (name, mutant, far)
            info["plans"][plan_name].append(mutant)
            wrong |= {f"{mutant}.hidden": rows, f"{mutant}.decode_logits": logits}
        save_tensors(f"{root}/compensation/{name}/mutants.safetensors", wrong)
    save_json(f"{root}/compensation/{name}/case.json", info)


def make(root):
    for name, source in CASES.items():
        make_case(name, source, root)
