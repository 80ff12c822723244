"""How prefill time and memory grow with the number of visual tokens, dense and pruned: measured through `yopo bench`, drawn as a
PNG. The pruned plan is measured twice, with its window and without: with it, visual attention is linear in the visual tokens.

Drawing needs matplotlib (`.venv/bin/pip install matplotlib`); --no-plot measures only.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = ROOT / "configs/models/llava-1.5-7b.json"


def make_plan(path, layers, window):
    subprocess.run([sys.executable, ROOT / "scripts/shape_plan.py", "--config", CONFIG, "--layers", str(layers), "--heads", "0.75",
                    "--ffn", "0.5", "--window", str(window), "--output", path], check=True)


def bench(options, plan, visual):
    return json.loads(subprocess.run(
        [options.yopo, "bench", "--config", CONFIG, "--layers", str(options.layers), "--plan", plan, "--visual", str(visual),
         "--text", "64", "--dtype", options.dtype, "--rounds", str(options.rounds), "--decode-tokens", "0", "--device",
         options.device, "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout)


def draw(rows, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4))
    tokens = [row["visual"] for row in rows]
    for key, label in (("dense", "dense"), ("global", "pruned, no window"), ("window", "pruned, window 5")):
        axes[0].plot(tokens, [row[key]["prefill_ms"] for row in rows], marker="o", label=label)
        axes[1].plot(tokens, [row[key]["attention_ms"] for row in rows], marker="o", label=label)
        axes[2].plot(tokens, [row[key]["activation_bytes"] / 1e6 for row in rows], marker="o", label=label)
    for axis, title, unit in zip(axes, ("prefill", "attention alone", "activations and KV cache"), ("ms", "ms", "MB")):
        axis.set_title(title)
        axis.set_xlabel("visual tokens")
        axis.set_ylabel(unit)
        axis.set_xticks(tokens)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visual", type=int, nargs="+", default=[576, 1152, 2304, 4608])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--yopo", default=str(ROOT / "build/release/yopo"))
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "out/growth")
    parser.add_argument("--plot", type=pathlib.Path, default=ROOT / "docs/growth.png")
    parser.add_argument("--no-plot", action="store_true")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    plans = {}
    for name, window in (("window", 5), ("global", 0)):
        plans[name] = options.output / f"plan-{name}.json"
        make_plan(plans[name], options.layers, window)
    rows = []
    for visual in options.visual:
        row = {"visual": visual}
        for name, plan in plans.items():
            result = bench(options, plan, visual)
            row[name] = result["pruned"]
            row.setdefault("dense", result["dense"])
        rows.append(row)
        print(f"{visual} visual tokens: " + ", ".join(
            f"{name} {row[name]['prefill_ms']:.0f} ms, attention {row[name]['attention_ms']:.0f} ms, "
            f"{row[name]['pairs'] / 1e6:.1f} M pairs, {row[name]['activation_bytes'] / 1e6:.0f} MB"
            for name in ("dense", "global", "window")), flush=True)
        (options.output / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    if not options.no_plot:
        draw(rows, options.plot)
        print(f"drawn: {options.plot}")


if __name__ == "__main__":
    main()
