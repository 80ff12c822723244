"""image_pixels.py REQUESTS OUTPUT: what image processors of this version of transformers make of images. REQUESTS is a JSON list
of {"class", "config", "images"}; OUTPUT, a safetensors file, gets "R.K" of image K of request R, and "R.K.grid" where there is one."""
import json
import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]
import torch_cpu  # noqa: E402, F401  (before torch)
import transformers  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def main(requests, output):
    transformers.logging.set_verbosity_error()
    found = {}
    for r, request in enumerate(json.loads(pathlib.Path(requests).read_text())):
        processor = getattr(transformers, request["class"])(**request["config"])
        for k, path in enumerate(request["images"]):
            image = Image.open(path).convert("RGB")
            image.info.clear()  # version 5 lays what had transparency on white, though nothing is transparent any more
            made = processor(image, return_tensors="pt")
            found[f"{r}.{k}"] = made["pixel_values"].contiguous()
            if "image_grid_thw" in made:
                found[f"{r}.{k}.grid"] = made["image_grid_thw"].contiguous()
    save_file(found, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
