"""preprocess/: what image processors make of three odd-sized images: transformers' CLIP and Qwen2-VL, the original
LLaVA's padding to a square, InternVL2's tiles."""

import importlib
import os

from support import save_json, save_tensors, torch

SIZES = [(90, 61), (50, 120), (64, 64)]  # width, height
CLIP_SIDE, TILE_SIDE, MOST_TILES = 42, 24, (6, 12, 12)
QWEN = dict(min_pixels=28 * 28, max_pixels=60 * 60, patch_size=6, temporal_patch_size=2, merge_size=2)
TILED = [
    (448, 448),
    (800, 600),
    (1920, 1080),
    (300, 900),
    (1000, 100),
    (4032, 3024),
    (500, 499),
    (100, 100),
    (1344, 896),
]
RESIZED = [(448, 448), (600, 800), (1080, 1920), (10, 200), (30, 30), (42, 70), (5000, 6000), (999, 1001), (14, 14)]


def images_of(np, Image):
    """Waves of three frequencies with noise."""
    random, images = np.random.default_rng(5000), []
    for index, (width, height) in enumerate(SIZES):
        y, x = np.mgrid[0:height, 0:width]
        waves = np.stack([128 + 100 * np.sin(x / (5 + 3 * c) + index) * np.cos(y / (7 - c)) for c in range(3)], -1)
        images.append(Image.fromarray(np.clip(waves + random.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)))
    return images


def closest_grid(width, height, side, most):
    """InternVL2's columns and rows: the ratio nearest to the image's, of equally near ones the larger that the image's
    area still fills by half."""
    grids = sorted(
        {(a, b) for n in range(1, most + 1) for a in range(1, n + 1) for b in range(1, n + 1) if a * b <= most},
        key=lambda grid: grid[0] * grid[1],
    )
    best, best_difference = (1, 1), float("inf")
    for grid in grids:
        difference = abs(width / height - grid[0] / grid[1])
        if difference < best_difference:
            best, best_difference = grid, difference
        elif difference == best_difference and width * height > 0.5 * side * side * grid[0] * grid[1]:
            best = grid
    return best


def tiles_of(image, side, most):
    """InternVL2's tiles, and the whole image as a thumbnail behind them where there are several."""
    columns, rows = closest_grid(*image.size, side, most)
    resized = image.resize((side * columns, side * rows))
    tiles = [
        resized.crop((side * c, side * r, side * (c + 1), side * (r + 1))) for r in range(rows) for c in range(columns)
    ]
    return tiles + [image.resize((side, side))] if len(tiles) > 1 else tiles


def make(root):
    np, Image = importlib.import_module("numpy"), importlib.import_module("PIL.Image")
    from transformers import CLIPImageProcessor, Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    images = images_of(np, Image)
    tensors = {f"image{i}.u8_hwc": torch.from_numpy(np.array(image)) for i, image in enumerate(images)}
    info = dict(images={str(i): dict(width=w, height=h) for i, (w, h) in enumerate(SIZES)})
    clip = CLIPImageProcessor(size=dict(shortest_edge=CLIP_SIDE), crop_size=dict(height=CLIP_SIDE, width=CLIP_SIDE))
    qwen = Qwen2VLImageProcessor(**QWEN)
    info["clip"] = dict(
        side=CLIP_SIDE,
        resample="bicubic (PIL, antialiased, uint8)",
        clip_hf="shortest edge + centre crop (llava-hf)",
        clip_pad="expand2square with int(mean*255) background (original LLaVA, image_aspect_ratio=pad)",
    )
    info["qwen2vl"], info["internvl"] = {}, {}
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for i, image in enumerate(images):
        tensors[f"clip_hf.{i}"] = clip(image, return_tensors="pt").pixel_values[0]
        side = max(image.size)
        square = Image.new("RGB", (side, side), tuple(int(c * 255) for c in clip.image_mean))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        tensors[f"clip_pad.{i}"] = clip(square, return_tensors="pt").pixel_values[0]
        patches = qwen(image, return_tensors="pt")
        tensors[f"qwen2vl.{i}.pixel_values"] = patches["pixel_values"]
        info["qwen2vl"][str(i)] = patches["image_grid_thw"].tolist()
        tiles = tiles_of(image, TILE_SIDE, MOST_TILES[i])
        levels = [torch.from_numpy(np.array(tile.resize((TILE_SIDE, TILE_SIDE), Image.BICUBIC))) for tile in tiles]
        tensors[f"internvl.{i}"] = ((torch.stack(levels).float() / 255 - mean) / std).permute(0, 3, 1, 2)
        info["internvl"][str(i)] = dict(tiles=len(tiles), max_num=MOST_TILES[i])
    info["internvl"] |= dict(
        image_size=TILE_SIDE,
        tiling_table_448_max12=dict(
            columns=["width", "height", "cols", "rows"], rows=[[w, h, *closest_grid(w, h, 448, 12)] for w, h in TILED]
        ),
    )
    limits = dict(factor=28, min_pixels=3136, max_pixels=12845056)
    info["qwen2vl"] |= dict(
        params=QWEN,
        smart_resize_table=dict(
            columns=["height", "width", "out_height", "out_width"],
            **limits,
            rows=[[h, w, *smart_resize(h, w, *limits.values())] for h, w in RESIZED],
        ),
    )
    folder = f"{root}/preprocess"
    os.makedirs(folder, exist_ok=True)
    save_tensors(f"{folder}/preprocess.safetensors", tensors)
    save_json(f"{folder}/preprocess.json", info)
