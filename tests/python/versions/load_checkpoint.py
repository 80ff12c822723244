"""load_checkpoint.py FOLDER EXPECTED ...: loads checkpoint folders as this version of transformers does and prints, as a JSON list,
which tensors each misses or does not expect, and the largest difference of its logits from those in EXPECTED, relative to the
largest. InternVL's original layout is loaded into transformers' own InternVL, its tensors renamed."""
import json
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]
import torch_cpu  # noqa: E402, F401  (before torch)
import torch  # noqa: E402
import transformers  # noqa: E402
from kinds import KINDS  # noqa: E402
from mend import mend  # noqa: E402
from original_internvl import tensors_for  # noqa: E402
from safetensors.torch import load_file  # noqa: E402


def load_original_internvl(folder, config):
    make_config, model_class, config_class, _ = KINDS[f"internvl_{config['llm_config']['model_type']}"]
    model = getattr(transformers, model_class)._from_config(getattr(transformers, config_class)(**make_config()),
                                                            attn_implementation="eager")
    stored = {name: tensor for file in pathlib.Path(folder).glob("*.safetensors") for name, tensor in load_file(file).items()}
    state, unexpected = tensors_for(model, stored)
    missing = model.load_state_dict(state, strict=False).missing_keys
    return model, {"missing_keys": missing, "unexpected_keys": unexpected, "mismatched_keys": []}


@torch.no_grad()
def load(folder, expected):
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    (architecture,) = config["architectures"]
    if architecture == "InternVLChatModel":
        model, report = load_original_internvl(folder, config)
    else:
        model, report = getattr(transformers, architecture).from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    mend(model.eval())
    given = load_file(expected)
    worst = 0.0
    for k in range(sum(name.startswith("ids.") for name in given)):
        inputs = {"input_ids": given[f"ids.{k}"][None], "pixel_values": given[f"pixels.{k}"]}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if f"sizes.{k}" in given:
            inputs["image_sizes"] = given[f"sizes.{k}"]
        if f"grid.{k}" in given:
            inputs["image_grid_thw"] = given[f"grid.{k}"]
            if int(transformers.__version__.split(".")[0]) >= 5:
                inputs["mm_token_type_ids"] = (inputs["input_ids"] == model.config.image_token_id).int()
        logits = model(**inputs).logits[0]
        difference = (logits - given[f"logits.{k}"]).abs().max() / given[f"logits.{k}"].abs().max()
        worst = max(worst, difference.item()) if difference == difference else float("inf")
    return {"missing": sorted(report["missing_keys"]), "unexpected": sorted(report["unexpected_keys"]),
            "mismatched": sorted(map(str, report["mismatched_keys"])), "difference": worst}


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    print(json.dumps([load(folder, expected) for folder, expected in zip(sys.argv[1::2], sys.argv[2::2])]))
