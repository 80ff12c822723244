"""Writes a plan of given sizes for the architecture of a config.json: for benchmarks with random weights.

The first neurons are kept: which ones does not matter for speed. So are the first heads, or with --spread heads as far apart as
they go, as real plans have them; with grouped-query attention that costs more than the first heads do. Fractions are rounded to
the nearest count.
"""
import argparse
import json
import os
import pathlib


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="config.json of a checkpoint")
    parser.add_argument("--layers", type=int, default=0, help="decoder layers; 0: all of the config")
    parser.add_argument("--heads", type=float, default=1.0, help="fraction of heads that are read")
    parser.add_argument("--updates", type=float, help="fraction of heads that visual queries compute; default: as --heads")
    parser.add_argument("--ffn", type=float, default=1.0, help="fraction of FFN neurons")
    parser.add_argument("--window", type=int, default=0, help="odd window size; 0: none")
    parser.add_argument("--window-causal", action="store_true")
    parser.add_argument("--spread", action="store_true", help="kept heads stand as far apart as they go, not first")
    parser.add_argument("--visual-layers", type=int, help="default: all")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()

    config = json.loads(pathlib.Path(options.config).read_text())
    text = config.get("text_config") or config.get("llm_config") or config
    layers = options.layers or text["num_hidden_layers"]
    heads, neurons = text["num_attention_heads"], text["intermediate_size"]
    for name in ("heads", "updates", "ffn"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1:
            parser.error(f"--{name} is a fraction in [0, 1]")

    def flags(fraction, among):
        """Of the heads `among`, so many as `fraction` of all."""
        kept = round(fraction * heads)
        if kept > len(among):
            parser.error("--updates is at most --heads")
        chosen = among[:kept]
        if options.spread:  # one is taken where (i + 1) * kept / count reaches another whole number
            chosen = [head for i, head in enumerate(among) if (i + 1) * kept // len(among) > i * kept // len(among)]
        return [int(head in chosen) for head in range(heads)]

    layer = {"heads": flags(options.heads, range(heads))}
    if options.window:
        layer["window"] = {"size": options.window, "causal": options.window_causal}
    if options.updates is not None:
        layer["updates"] = flags(options.updates, [head for head in range(heads) if layer["heads"][head]])
    kept_neurons = round(options.ffn * neurons)
    if kept_neurons != neurons:
        layer["neurons"] = list(range(kept_neurons))
    alive = layers if options.visual_layers is None else options.visual_layers
    plan = {
        "format": "yopo-plan", "version": 2, "semantics": "skip",
        "layers": [layer if number < alive else {"alive": False, **layer} for number in range(layers)],
        "provenance": {"made_by": "scripts/shape_plan.py"},
    }
    temporary = options.output + ".new"
    with open(temporary, "w") as file:
        json.dump(plan, file)
        file.write("\n")
    os.replace(temporary, options.output)


if __name__ == "__main__":
    main()
