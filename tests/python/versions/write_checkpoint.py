"""write_checkpoint.py JOBS IMAGE...: small checkpoints as this version of transformers writes them (model, processor, tokenizer).
JOBS is a JSON file: [{"kind": a key of KINDS, "folder", "changes": to the config, by dotted keys}]. Beside each folder,
expected.safetensors says what transformers makes of a question about each image: "ids.K", "pixels.K", "logits.K", and "grid.K"
(image_grid_thw) or "sizes.K" (image_sizes) where the family has them.

load_checkpoint.py's counterpart; both are run by test_versions.py under each version.
"""
import json
import pathlib
import sys

from kinds import make_checkpoint, model_inputs
import torch
import transformers
from safetensors.torch import save_file

QUESTION = "What is in the image?"


@torch.no_grad()
def write(kind, folder, changes, images):
    folder = pathlib.Path(folder)
    model, processor = make_checkpoint(kind, folder, changes)
    expected = {}
    for k, image in enumerate(images):
        inputs = model_inputs(processor, QUESTION, [image])
        expected[f"ids.{k}"] = inputs["input_ids"][0].contiguous()
        expected[f"pixels.{k}"] = inputs["pixel_values"].contiguous()
        for name, short in (("image_grid_thw", "grid"), ("image_sizes", "sizes")):
            if name in inputs:
                expected[f"{short}.{k}"] = inputs[name].contiguous()
        expected[f"logits.{k}"] = model(**inputs).logits[0].contiguous()
    save_file(expected, folder.parent / "expected.safetensors")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    for job in json.loads(pathlib.Path(sys.argv[1]).read_text()):
        write(job["kind"], job["folder"], job["changes"], sys.argv[2:])
