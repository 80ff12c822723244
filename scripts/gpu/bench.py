"""`gpu_check.sh bench`: models dense and pruned, kernels one by one, and torch beside both in the same run."""
import json
import pathlib
import subprocess
import sys
import tempfile

import machine
from steps import NotHere

HERE = pathlib.Path(__file__).resolve().parent
# The published recipe and one of 12 % of the visual FLOPs, as fractions of the layers (benchmarks/real_sizes.py); heads spread, as
# real plans have them.
PLANS = {"published": {"heads": 0.75, "ffn": 0.5, "window": 5, "depth": 0.5}, "12 percent": {"heads": 0.75, "ffn": 0.375, "window": 5, "depth": 0.25}}
# model, layers (0: all), plan, visual tokens, batch, whether the tower is timed, seconds at most
MODELS = [
    ("llava-1.5-7b", 0, "published", 576, 1, True, 75),
    ("llava-1.5-7b", 0, "12 percent", 576, 1, False, 60),
    ("llava-1.5-7b", 8, "published", 576, 16, False, 45),
    ("internvl2-8b", 16, "published", 1792, 1, True, 60),
    ("qwen2-vl-7b", 14, "published", 1156, 1, True, 60),
    ("llava-1.5-13b", 20, "published", 576, 1, False, 70),
]
TEXT = 64
KERNELS = ["llava-1.5-7b", "internvl2-8b", "qwen2-vl-7b", "llava-1.5-13b"]


def layers_of(config):
    text = config.get("text_config") or config.get("llm_config") or config
    return text["num_hidden_layers"]


def run(steps, pack, options):
    environment = machine.environment(pack)
    program = pack / "bin" / "yopo-bench"

    def torch_side(*arguments):
        if subprocess.run([sys.executable, "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"],
                          timeout=30).returncode:
            raise NotHere(f"{sys.executable} has no torch")
        return [sys.executable, "-B", HERE / "torch_side.py", *arguments]

    def figures(ended):
        return json.loads(ended.out)

    with tempfile.TemporaryDirectory(prefix="yopo-gpu-") as name:
        folder = pathlib.Path(name)
        def kernels(model):
            found = folder / f"kernels-{model}.json"

            def keep(ended, found=found):
                found.write_text(ended.out)
                return figures(ended)

            steps.step(f"yopo: kernels of {model}", 40, [program, "kernels", "--model", model, "--seconds", "0.02"], read=keep, environment=environment)

            def beside(found=found):
                if not found.exists():
                    raise NotHere("yopo's kernels were not timed")
                return torch_side("kernels", found)

            steps.step(f"torch: kernels of {model}", 40, beside, read=figures)

        kernels(KERNELS[0])
        for model, cut, plan, visual, batch, vision, limit in MODELS:
            config = pack / "configs/models" / f"{model}.json"
            title = f"{model}, {plan}, {visual} + {TEXT} tokens, batch {batch}"

            def layers(cut=cut, config=config):
                return cut or layers_of(json.loads(config.read_text()))

            def ours():
                path, shape = folder / "plan.json", PLANS[plan]
                count = layers()
                subprocess.run([sys.executable, "-B", HERE.parent / "shape_plan.py", "--config", config, "--layers", str(count),
                                "--heads", str(shape["heads"]), "--ffn", str(shape["ffn"]), "--window", str(shape["window"]), "--spread",
                                "--visual-layers", str(round(shape["depth"] * count)), "--output", path], check=True, timeout=20)
                return [program, "model", "--config", config, "--plan", path, "--layers", count, "--visual", visual, "--text", TEXT,
                        "--batch", batch, "--rounds", 9, "--decode-tokens", 32, *(["--vision"] if vision else [])]

            steps.step(f"yopo: {title}", limit, ours, read=figures, environment=environment)
            if plan == "published":
                steps.step(f"torch: {model}, {visual} + {TEXT} tokens, batch {batch}", 45,
                           lambda: torch_side("model", config, layers(), visual + TEXT, batch), read=figures)
        for model in KERNELS[1:]:
            kernels(model)
