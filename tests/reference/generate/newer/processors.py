"""preprocess_more/: pixel_values of the image processors of transformers 5 in both of its implementations (PIL,
torchvision) on five odd-sized images."""

import copy
import importlib
import os

from newer.family import HALF_MEAN, HALF_STD
from support import CLIP_MEAN, CLIP_STD, save_json, save_tensors, torch

SIZES = [(90, 61), (50, 120), (64, 64), (23, 17), (151, 20)]  # width, height
RESIZED = [
    (448, 448),
    (600, 800),
    (1080, 1920),
    (10, 200),
    (30, 30),
    (42, 70),
    (5000, 6000),
    (999, 1001),
    (16, 16),
    (2160, 3840),
]
NOTE = (
    "images are (height, width, 3) u8; <family>.<i>.pil and .torchvision are the pixel_values of the two back ends; "
    "difference: largest in normalised units, largest in u8 levels, share of values that differ by more than half a level"
)


def qwen(patch, mean, std, least, most):
    return "Qwen2VL", dict(
        patch_size=patch,
        temporal_patch_size=2,
        merge_size=2,
        image_mean=mean,
        image_std=std,
        size=dict(shortest_edge=least, longest_edge=most),
    )


def internvl(most, split=True):
    return "GotOcr2", dict(
        size=dict(height=24, width=24),
        crop_to_patches=split,
        min_patches=1,
        max_patches=most,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )


# family: the class's name without its ending, and its settings
PROCESSORS = dict(
    qwen2_5_vl=qwen(4, CLIP_MEAN, CLIP_STD, 20 * 20, 60 * 60),
    qwen3_vl=qwen(6, HALF_MEAN, HALF_STD, 24 * 24, 64 * 64),
    internvl_hf=internvl(12),
    internvl_hf_max6=internvl(6),
    internvl_hf_one=internvl(12, split=False),
    llava_next=(
        "LlavaNext",
        dict(
            size=dict(shortest_edge=20),
            crop_size=dict(height=20, width=20),
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
            image_grid_pinpoints=[[20, 40], [40, 20], [40, 40], [60, 20], [20, 60]],
        ),
    ),
    llava_onevision=(
        "LlavaOnevision",
        dict(
            size=dict(height=18, width=18),
            image_mean=HALF_MEAN,
            image_std=HALF_STD,
            image_grid_pinpoints=[[18 * rows, 18 * columns] for rows in (1, 2, 3) for columns in (1, 2, 3)],
        ),
    ),
)


def images_of(np, Image):
    """Waves of three frequencies with noise and hard edges, where bicubic overshoot is clipped."""
    random, images = np.random.default_rng(9000), []
    for index, (width, height) in enumerate(SIZES):
        y, x = np.mgrid[0:height, 0:width]
        waves = np.stack([128 + 100 * np.sin(x / (5 + 3 * c) + index) * np.cos(y / (7 - c)) for c in range(3)], -1)
        levels = np.clip(waves + random.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)
        levels[:3, :4], levels[-4:, -3:] = 255, 0
        images.append(Image.fromarray(levels))
    return images


def without_pixels(output):
    return {name: value.tolist() for name, value in output.items() if name != "pixel_values"}


def difference(found, other, std, by_patch):
    """Largest difference in normalised units and in u8 levels, and the share of values more than half a level apart."""
    apart, level = (found - other).abs(), 1 / (255 * torch.tensor(std))
    levels = apart.view(len(apart), 3, -1) / level[None, :, None] if by_patch else apart / level[:, None, None]
    return [round(apart.max().item(), 6), round(levels.max().item(), 4), round((levels > 0.5).float().mean().item(), 5)]


def resize_table(smart_resize, factor, least, most):
    rows = []
    for height, width in RESIZED:
        tall, wide = smart_resize(height, width, factor, least, most)
        rows.append([height, width, tall, wide, tall * wide // factor // factor])
    return dict(
        columns=["height", "width", "out_height", "out_width", "visual_tokens"],
        factor=factor,
        min_pixels=least,
        max_pixels=most,
        rows=rows,
    )


def make(root):
    import PIL
    import torchvision
    import transformers
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    np, Image = importlib.import_module("numpy"), importlib.import_module("PIL.Image")
    images = images_of(np, Image)
    tensors = {f"image{i}.u8_hwc": torch.from_numpy(np.array(image)) for i, image in enumerate(images)}
    info = dict(
        images={str(i): dict(width=w, height=h) for i, (w, h) in enumerate(SIZES)},
        pillow=PIL.__version__,
        torchvision=torchvision.__version__,
        note=NOTE,
    )
    for family, (name, settings) in PROCESSORS.items():
        by_torch, by_pil = (
            getattr(transformers, f"{name}ImageProcessor{end}")(**copy.deepcopy(settings)) for end in ("", "Pil")
        )
        info[family] = dict(params=settings, classes=[type(by_pil).__name__, type(by_torch).__name__])
        for i, image in enumerate(images):
            found, other = by_pil(image, return_tensors="pt"), by_torch(image, return_tensors="pt")
            assert without_pixels(found) == without_pixels(other)
            pixels, others = found["pixel_values"], other["pixel_values"]
            tensors[f"{family}.{i}.pil"] = pixels
            if not torch.equal(pixels, others):
                tensors[f"{family}.{i}.torchvision"] = others
            info[family][str(i)] = without_pixels(found) | dict(
                shape=list(pixels.shape),
                difference=difference(pixels, others, settings["image_std"], family.startswith("qwen")),
            )
    info["smart_resize"] = dict(
        qwen2_5_vl_hub=resize_table(smart_resize, 28, 3136, 12845056),
        qwen2_vl_class_default=resize_table(smart_resize, 28, 3136, 1003520),
        qwen3_vl_hub=resize_table(smart_resize, 32, 65536, 16777216),
    )
    tiler = transformers.GotOcr2ImageProcessor(size=dict(height=448, width=448), crop_to_patches=True, max_patches=12)
    info["internvl_tiles_448_max12"] = dict(
        columns=["height", "width", "tiles with thumbnail"],
        rows=[[h, w, tiler.get_number_of_image_patches(h, w, {})] for h, w in RESIZED],
    )
    os.makedirs(f"{root}/preprocess_more", exist_ok=True)
    save_tensors(f"{root}/preprocess_more/preprocess.safetensors", tensors)
    save_json(f"{root}/preprocess_more/preprocess.json", info)
