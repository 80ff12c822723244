"""What all families share: weights that make every tensor matter, files, capturing a model's hidden rows."""

import importlib
import json
import math
import os
import pathlib
import sys

# tests/python/torch_cpu.py imports torch where its CUDA libraries are not there.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))
torch = importlib.import_module("torch_cpu").torch
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
save_file = importlib.import_module("safetensors.torch").save_file
load_file = importlib.import_module("safetensors.torch").load_file

torch.set_num_threads(1)
torch.set_grad_enabled(False)

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator)


def draw_weights(tensors, generator):
    """Draws every tensor, by name, so that attention is peaked and each bias and norm shows in the result."""
    for name in sorted(tensors):
        tensor = tensors[name]
        if not tensor.is_floating_point():
            continue
        if "patch_embedding" in name:
            value = normal(generator, *tensor.shape)
            value *= 0.02 if name.endswith("bias") else 1 / math.sqrt(tensor[0].numel())
        elif "embedding" in name or "embed_tokens" in name:
            value = normal(generator, *tensor.shape) * (0.5 if "position" in name or "class" in name else 1.0)
        elif name.endswith(("ls1", "ls2")):
            value = 0.6 + 0.2 * normal(generator, *tensor.shape)
        elif tensor.dim() == 1:
            value = normal(generator, *tensor.shape) * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        else:
            gain = 1.6 if any(part in name for part in ("q_proj", "k_proj", "qkv")) else 1.0
            value = normal(generator, *tensor.shape) * gain / math.sqrt(tensor[0].numel())
        tensor.copy_(value)


def save_tensors(path, tensors, **options):
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, **options)


def save_json(path, value, indent=1):
    with open(path, "w") as file:
        json.dump(value, file, indent=indent)


def load_json(path):
    with open(path) as file:
        return json.load(file)


def write_checkpoint(folder, tensors, config, **others):
    """`others`: the contents of further JSON files by their name without .json."""
    os.makedirs(folder, exist_ok=True)
    save_tensors(f"{folder}/model.safetensors", tensors, metadata={"format": "pt"})
    for name, value in (("config", config), *others.items()):
        save_json(f"{folder}/{name}.json", value)


def capture(layers, call):
    """Calls; the input of the first decoder layer, what leaves each layer [L, T, C] (first sample), and the call's
    result."""
    entered, left, hooks = [], [], []

    def before(module, arguments, named):
        entered.append((arguments[0] if arguments else named["hidden_states"])[0].clone())

    def after(module, arguments, output):
        left.append((output[0] if isinstance(output, tuple) else output)[0].clone())

    hooks.append(layers[0].register_forward_pre_hook(before, with_kwargs=True))
    hooks += [layer.register_forward_hook(after) for layer in layers]
    try:
        result = call()
    finally:
        for hook in hooks:
            hook.remove()
    return entered[0], torch.stack(left), result


def expect_close(what, found, expected, tolerance):
    """Two ways to one number; ratios span orders of magnitude and are compared relative to their size."""
    difference = (found - expected).abs()
    if "ratio" in what:
        difference = difference / expected.abs()
    worst = difference.max().item()
    if not worst <= tolerance:
        sys.exit(f"generate: {what}: differ by {worst:.2e}, allowed {tolerance:.0e}")


def at_least(noise, floor):
    """A tolerance: ten times the measured difference of float32 from float64, rounded."""
    return float(f"{max(floor, 10 * noise):.1e}")


def worst_noise(noise):
    return max(noise[name] for name in ("hidden", "logits", "decode_logits"))


def prompt_with(generator, vocabulary, blocks, before, after):
    """Token ids [T]: random text (3 .. vocabulary) around blocks; and the first index of each block.

    A block (leader, id, count, follower) is `count` times `id`, the text before it ending with `leader` and the text
    after it beginning with `follower` (None: random). `before` text tokens stand first, 5 between two blocks, `after`
    at the end. """

    def text(count):
        return torch.randint(3, vocabulary, (count,), generator=generator).tolist()

    ids, starts = text(before), []
    for index, (leader, token, count, follower) in enumerate(blocks):
        if leader is not None:
            ids[-1] = leader
        starts.append(len(ids))
        behind = text(after if index == len(blocks) - 1 else 5)
        if follower is not None:
            behind[0] = follower
        ids += [token] * count + behind
    return torch.tensor(ids), starts
