"""Whether two folders hold the same reference cases: the same files, the same structure, numbers within the cases' own
tolerances."""

import pathlib

from support import load_file, load_json, torch

# Measured when the case was made: they differ from one processor to another.
MEASURED = {"fp32_noise_vs_float64", "tolerance", "last_logit_change_vs_dense", "eager_vs_sdpa_from_pixels"}
# Which of two equal implementations gave the numbers.
TOLD = {"dense_from"}


def compare_json(found, expected, place, measured=False):
    if isinstance(expected, dict) and isinstance(found, dict):
        if found.keys() != expected.keys():
            yield f"{place}: the fields differ: {sorted(found.keys() ^ expected.keys())}"
        for name in found.keys() & expected.keys():
            yield from compare_json(found[name], expected[name], f"{place}.{name}", measured or name in MEASURED | TOLD)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            yield f"{place}: {len(found)} entries, expected {len(expected)}"
        for index, (a, b) in enumerate(zip(found, expected)):
            yield from compare_json(a, b, f"{place}[{index}]", measured)
    elif measured and type(found) is type(expected):
        return
    elif isinstance(expected, float) and isinstance(found, float):
        if abs(found - expected) > 1e-4 * max(abs(expected), 1e-3):
            yield f"{place}: {found}, expected {expected}"
    elif found != expected:
        yield f"{place}: {found!r}, expected {expected!r}"


def tolerances_of(file):
    """(values, attention) of a tensor file: its case's where it has one, else none for weights and inputs."""
    if file.name in ("model.safetensors", "inputs.safetensors"):
        return 0.0, 0.0
    case = file.parent / "case.json"
    info = load_json(case) if case.exists() else {}
    kind, _, name = file.stem.partition("_")
    if kind == "skip":
        return info["skip"][name]["tolerance"], 0.0
    entry = info.get("tolerance", {}).get(name if kind == "yopo" else file.stem)
    return (entry["values"], entry["attn"]) if entry else (1e-4, 1e-5)


def compare_tensors(file, other, place):
    found, expected = load_file(file), load_file(other)
    if found.keys() != expected.keys():
        yield f"{place}: the tensors differ: {sorted(found.keys() ^ expected.keys())}"
    values, attention = tolerances_of(other)
    for name in sorted(found.keys() & expected.keys()):
        a, b = found[name], expected[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            yield f"{place}: {name}: {a.dtype} {list(a.shape)}, expected {b.dtype} {list(b.shape)}"
        elif a.is_floating_point():
            allowed = attention if name.endswith("attn") else values
            difference = (a - b).abs()
            if name.startswith("ratio_"):  # they span orders of magnitude
                difference, allowed = difference / b.abs(), 1e-4
            worst = difference.max().item() if a.numel() else 0.0
            if not worst <= allowed:
                yield f"{place}: {name}: differs by {worst:.2e}, allowed {allowed:.1e}"
        elif not torch.equal(a, b):
            yield f"{place}: {name}: other values"


def compare(found, expected):
    """The differences of folder `found` from `expected`, a line each."""
    found, expected = pathlib.Path(found), pathlib.Path(expected)
    names = {path.relative_to(found) for path in found.rglob("*") if path.is_file()}
    others = {path.relative_to(expected) for path in expected.rglob("*") if path.is_file()}
    for name in sorted(others - names):
        yield f"{name}: missing"
    for name in sorted(names - others):
        yield f"{name}: not expected"
    for name in sorted(names & others):
        if name.suffix == ".json":
            yield from compare_json(load_json(found / name), load_json(expected / name), str(name))
        elif name.suffix == ".safetensors":
            yield from compare_tensors(found / name, expected / name, str(name))
