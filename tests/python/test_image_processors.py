"""Pixels of all families against the reference processors, bit for bit: odd sizes and every kind of PNG and JPEG.

Every comparison is exact. CLIP and Qwen2-VL: transformers' slow processors, told that channels come last (left alone they
guess, and take an image 1 or 3 pixels high for one with its channels first). LLaVA's padding and InternVL2's tiling, which
are no part of transformers, are stated again below. EXIF rotation is not applied: like the processors' convert("RGB"),
unlike transformers' load_image.
"""
import json
import math
import os
import pathlib
import subprocess
import tempfile
import unittest
import warnings

import torch_cpu  # noqa: F401  (transformers imports torch)
import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import load_file
from support import ROOT, Case
from versions_of import python
from transformers import CLIPImageProcessor
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize

from make_image_cases import png

PROGRAM = pathlib.Path(os.environ.get("YOPO_PROCESS_IMAGES", ROOT / "build/release/tests/models/process_images"))
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
# Width and height.
SIZES = [(1, 1), (3, 5), (5, 3), (28, 28), (27, 29), (42, 70), (199, 1), (1, 200), (640, 480), (481, 640), (90, 61), (61, 400)]
EXTREME = [(1, 2000), (2000, 1)]  # more than 200 to 1


def noise(rng, width, height, channels=3):
    """Noise over a coarse picture, with plain black and white, where the resize overshoots."""
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4), dtype=np.uint8)).resize((width, height))
    pixels = np.asarray(coarse, np.int64)[..., None] + rng.integers(-60, 61, (height, width, channels))
    return np.clip(pixels * 2 - 128, 0, 255).astype(np.uint8)


def write_kinds(rng, folder):
    """One image file of each kind that is decoded in a way of its own."""
    grey, color, alpha = noise(rng, 33, 47, 1)[..., 0], noise(rng, 33, 47), noise(rng, 33, 47, 4)
    picture = Image.fromarray(color)
    indexed = picture.quantize(37)
    turned = Image.Exif()
    turned[0x112] = 6
    saved = {
        "grey.png": (Image.fromarray(grey), {}),
        "grey_alpha.png": (Image.fromarray(np.ascontiguousarray(alpha[..., :2]), "LA"), {}),
        "bits.png": (Image.fromarray(grey).convert("1"), {}),
        "palette.png": (indexed, {}),
        "palette_transparent_index.png": (indexed, {"transparency": 3}),
        "palette_transparent_table.png": (indexed, {"transparency": bytes(range(0, 250, 10))}),
        "rgb_transparent.png": (picture, {"transparency": (1, 2, 3)}),
        "rgba.png": (Image.fromarray(alpha), {}),
        "grey16.png": (Image.fromarray(rng.integers(0, 600, (47, 33)).astype(np.uint16)), {}),
        "cmyk.jpg": (Image.fromarray(alpha, "CMYK"), {"quality": 90}),
        "turned.jpg": (picture, {"exif": turned}),
        "grey.jpg": (Image.fromarray(grey), {}),
        "progressive.jpg": (picture, {"progressive": True, "quality": 60}),
    }
    for name, (image, options) in saved.items():
        image.save(folder / name, **options)
    (folder / "rgb16.png").write_bytes(png(rng.integers(0, 1 << 16, (47, 33, 3)), 16, 2))
    (folder / "rgba16_interlaced.png").write_bytes(png(rng.integers(0, 1 << 16, (47, 33, 4)), 16, 6, interlaced=True))
    return [folder / name for name in saved] + [folder / "rgb16.png", folder / "rgba16_interlaced.png"]


def write_sizes(rng, folder, sizes):
    paths = []
    for width, height in sizes:
        paths.append(folder / f"{width}x{height}.png")
        Image.fromarray(noise(rng, width, height)).save(paths[-1])
    return paths


def clip_reference(config, image):
    processor = CLIPImageProcessor(**config)
    return processor(image, return_tensors="np", input_data_format="channels_last").pixel_values


def pad_reference(config, image):
    """LLaVA, image_aspect_ratio pad: the picture in the middle of a square of the mean, then the processor."""
    rgb = np.asarray(image.convert("RGB"))
    height, width = rgb.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = [int(mean * 255) for mean in CLIP_MEAN]
    top, left = (side - height) // 2, (side - width) // 2
    square[top:top + height, left:left + width] = rgb
    return clip_reference(config, Image.fromarray(square))


def qwen_reference(config, image):
    """Patches and their grid."""
    out = Qwen2VLImageProcessor(**config).preprocess(image, return_tensors="np", input_data_format="channels_last")
    return out["pixel_values"], out["image_grid_thw"].tolist()[0]


def nearest_layout(width, height, low, high, side):
    """InternVL2's choice among the layouts, columns and rows: the smallest distance of ratios; of several, going through them
    by size, each is taken that has less than twice the image's pixels."""
    layouts = sorted((columns * rows, columns, rows) for columns in range(1, high + 1) for rows in range(1, high + 1)
                     if low <= columns * rows <= high)
    distances = [abs(width / height - columns / rows) for _, columns, rows in layouts]
    ties = [layout for layout, distance in zip(layouts, distances) if distance == min(distances)]
    chosen = ties[0]
    for tie in ties[1:]:
        if width * height > 0.5 * side * side * tie[0]:
            chosen = tie
    return chosen[1:]


def internvl_reference(config, image):
    side = config["force_image_size"]
    image = image.convert("RGB")
    if config.get("dynamic_image_size", True):
        low, high = config.get("min_dynamic_patch", 1), config.get("max_dynamic_patch", 12)
        columns, rows = nearest_layout(*image.size, low, high, side)
        whole = np.asarray(image.resize((columns * side, rows * side)))  # bicubic is PIL's default
        tiles = [whole[r * side:(r + 1) * side, c * side:(c + 1) * side] for r in range(rows) for c in range(columns)]
        if config.get("use_thumbnail", True) and len(tiles) > 1:
            tiles.append(np.asarray(image.resize((side, side))))
    else:
        if config.get("pad2square", False):
            square = Image.new("RGB", (max(image.size),) * 2, tuple(int(mean * 255) for mean in IMAGENET_MEAN))
            square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
            image = square
        tiles = [np.asarray(image.resize((side, side)))]
    # ToTensor and Normalize, in float32.
    pixels = np.stack(tiles).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    column = (1, 3, 1, 1)
    return (pixels - np.array(IMAGENET_MEAN, np.float32).reshape(column)) / np.array(IMAGENET_STD, np.float32).reshape(column)


class ImageProcessorTest(Case):
    @classmethod
    def setUpClass(cls):
        pictures = tempfile.TemporaryDirectory(prefix="yopo-test-")
        cls.addClassCleanup(pictures.cleanup)
        folder, rng = pathlib.Path(pictures.name), np.random.default_rng(7)
        cls.images = write_sizes(rng, folder, SIZES) + write_kinds(rng, folder)
        cls.extreme = write_sizes(rng, folder, EXTREME)

    def setUp(self):
        super().setUp()
        warnings.filterwarnings("ignore", message="Palette images with Transparency")
        self.rng = np.random.default_rng(11)
        self.calls = 0

    def call(self, family, config, paths):
        """The finished process, and where it writes to."""
        self.calls += 1
        rules, output = self.folder / f"rules{self.calls}.json", self.folder / f"out{self.calls}.safetensors"
        rules.write_text(json.dumps(config))
        done = subprocess.run([PROGRAM, family, rules, output, *paths], capture_output=True, text=True, timeout=120)
        return done, output

    def ours(self, family, config, paths):
        done, output = self.call(family, config, paths)
        self.assertEqual(done.returncode, 0, done.stderr)
        tensors = load_file(output)
        return [(tensors[f"pixels.{k}"], tensors[f"grids.{k}"].tolist()) for k in range(len(paths))]

    def assert_same_bits(self, found, expected):
        self.assertEqual(found.dtype, np.float32)
        self.assertEqual(found.shape, expected.shape)
        if found.tobytes() != np.ascontiguousarray(expected, np.float32).tobytes():
            worst = np.abs(found - expected).max()
            self.fail(f"{np.count_nonzero(found != expected)} of {found.size} values differ, by up to {worst:.3g}")

    def check(self, family, config, reference):
        paths = self.images + self.extreme
        for path, (found, _) in zip(paths, self.ours(family, config, paths), strict=True):
            with self.subTest(family=family, image=path.name, config=config), Image.open(path) as image:
                self.assert_same_bits(found, reference(config, image))

    def clip_config(self, **options):
        return dict({"size": {"shortest_edge": 42}, "crop_size": {"height": 42, "width": 42}}, **options)

    def test_clip(self):
        self.check("clip", self.clip_config(), clip_reference)
        self.check("clip", self.clip_config(size={"shortest_edge": 31}, resample=2), clip_reference)
        self.check("clip", self.clip_config(do_resize=False), clip_reference)

    def test_llava_pad(self):
        self.check("pad", self.clip_config(), pad_reference)

    def test_qwen2_vl(self):
        for config in [
            {},
            {"min_pixels": 3136, "max_pixels": 28 * 28 * 20},
            {"min_pixels": 40_000, "max_pixels": 50_000, "resample": 2},
            {"min_pixels": 1, "max_pixels": 5000, "patch_size": 6, "merge_size": 3, "temporal_patch_size": 1},
            {"min_pixels": 500, "max_pixels": 900, "patch_size": 5, "merge_size": 1, "temporal_patch_size": 3},
            {"max_pixels": 9000, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.7], "rescale_factor": 0.01},
            {"max_pixels": 9000, "do_normalize": False},
            {"max_pixels": 9000, "do_rescale": False},
        ]:
            for path, (found, grids) in zip(self.images, self.ours("qwen2_vl", config, self.images), strict=True):
                with self.subTest(image=path.name, config=config), Image.open(path) as image:
                    expected, (frames, rows, columns) = qwen_reference(config, image)
                    self.assertEqual(frames, 1)
                    self.assertEqual(grids, [[rows, columns]])
                    self.assert_same_bits(found, expected)

    def test_qwen2_vl_refuses_what_the_reference_refuses(self):
        for path in self.extreme + write_sizes(self.rng, self.folder, [(201, 1), (2, 401)]):
            with self.subTest(image=path.name), Image.open(path) as image:
                with self.assertRaisesRegex(ValueError, "aspect ratio"):
                    qwen_reference({}, image)
                done, output = self.call("qwen2_vl", {}, [path])
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn("aspect ratio of at most 200", done.stderr)
                self.assertFalse(output.exists())

    def test_qwen2_vl_sizes(self):
        """Many sizes at once: both bounds, halves, and the ratio's limit."""
        sizes = {(w, h) for w in range(14, 300, 14) for h in (14, 42, 69, 70, 71, 98, 210)}
        sizes |= {(int(w), int(h)) for w, h in self.rng.integers(1, 400, (150, 2)) if max(w, h) <= 200 * min(w, h)}
        sizes = sorted(sizes)
        paths = [self.folder / f"{width}_{height}.png" for width, height in sizes]
        for path, size in zip(paths, sizes):
            Image.new("L", size).save(path)
        for low, high in [(3136, 12845056), (7000, 20000)]:
            found = self.ours("qwen2_vl", {"min_pixels": low, "max_pixels": high, "temporal_patch_size": 1}, paths)
            for (width, height), (_, grids) in zip(sizes, found, strict=True):
                expected = smart_resize(height, width, factor=28, min_pixels=low, max_pixels=high)
                self.assertEqual([14 * side for side in grids[0]], list(expected), f"{width} x {height}")

    def test_internvl(self):
        for config in [
            {"force_image_size": 28},
            {"force_image_size": 56, "max_dynamic_patch": 6, "use_thumbnail": False},
            {"force_image_size": 28, "min_dynamic_patch": 3, "max_dynamic_patch": 20},
            {"force_image_size": 42, "max_dynamic_patch": 1},
            {"force_image_size": 42, "dynamic_image_size": False},
            {"force_image_size": 42, "dynamic_image_size": False, "pad2square": True},
            {"force_image_size": 28, "pad2square": True},
        ]:
            self.check("internvl", config, internvl_reference)

    def test_internvl_at_its_real_size(self):
        paths = write_sizes(self.rng, self.folder, [(640, 480), (300, 900)])
        for path, (found, grids) in zip(paths, self.ours("internvl", {"force_image_size": 448}, paths), strict=True):
            with self.subTest(image=path.name), Image.open(path) as image:
                self.assert_same_bits(found, internvl_reference({"force_image_size": 448}, image))
                self.assertEqual(grids, [[32, 32]] * len(found))

    def test_internvl_layouts(self):
        """Many sizes at once, among them ties of the ratio."""
        sizes = [(int(w), int(h)) for w, h in self.rng.integers(1, 300, (200, 2))]
        for columns in range(1, 7):
            for rows in range(1, 7):
                unit = math.gcd(columns, rows)
                sizes += [(scale * columns // unit, scale * rows // unit) for scale in (9, 20, 28, 40, 57)]
        sizes = sorted(set(sizes))
        config = {"force_image_size": 28, "max_dynamic_patch": 12}
        paths = write_sizes(self.rng, self.folder, sizes)
        for path, (found, _) in zip(paths, self.ours("internvl", config, paths), strict=True):
            with self.subTest(image=path.name), Image.open(path) as image:
                self.assert_same_bits(found, internvl_reference(config, image))

    def test_orientations(self):
        """Left alone as the processors leave them, and turned as PIL turns them."""
        picture, paths = Image.fromarray(noise(self.rng, 33, 47)), []
        for orientation in range(10):
            for order in ("<", ">"):
                block = Image.Exif()
                block.endian = order
                block[0x10F] = "a camera"  # another tag in front
                block[0x112] = orientation
                paths += [self.folder / f"{orientation}{'big' if order == '>' else 'little'}.{kind}" for kind in ("jpg", "png")]
                for path in paths[-2:]:
                    picture.save(path, exif=block)
        config = self.clip_config()
        for flags in ([], ["--upright"]):
            rules, output = self.folder / "rules.json", self.folder / "out.safetensors"
            rules.write_text(json.dumps(config))
            subprocess.run([PROGRAM, *flags, "clip", rules, output, *paths], check=True, timeout=120)
            found = load_file(output)
            for k, path in enumerate(paths):
                with self.subTest(image=path.name, flags=flags), Image.open(path) as image:
                    expected = clip_reference(config, ImageOps.exif_transpose(image) if flags else image)
                    self.assert_same_bits(found[f"pixels.{k}"], expected)

    def check_torchvision(self, requests):
        """(family, class, config) of transformers 5, whose processors resize with torchvision, and its Pillow ones."""
        paths = [str(path) for path in self.images]
        asked = [{"class": name + suffix, "config": config, "images": paths}
                 for _, name, config in requests for suffix in ("", "Pil")]
        file, output = self.folder / "requests.json", self.folder / "expected.safetensors"
        file.write_text(json.dumps(asked))
        python("5.24", "image_pixels.py", file, output)
        expected = load_file(output)
        for r, (family, name, config) in enumerate(requests):
            for s, backend in enumerate(("torchvision", "pil")):
                own = {**config, "backend": backend, "image_processor_type": name}
                for k, (found, grids) in enumerate(self.ours(family, own, self.images)):
                    with self.subTest(processor=name + backend, config=config, image=self.images[k].name):
                        wanted = expected[f"{2 * r + s}.{k}"]
                        self.assert_same_bits(found.reshape(wanted.shape), wanted)
                        if f"{2 * r + s}.{k}.grid" in expected:
                            self.assertEqual(grids, [expected[f"{2 * r + s}.{k}.grid"][0, 1:].tolist()])

    def test_backends_of_transformers_5(self):
        clip = self.clip_config
        self.check_torchvision([
            ("clip", "CLIPImageProcessor", clip()),
            ("clip", "CLIPImageProcessor", clip(size={"shortest_edge": 31}, resample=2)),
            ("clip", "CLIPImageProcessor", clip(do_resize=False)),
            ("clip", "CLIPImageProcessor", clip(do_normalize=False)),
            ("clip", "CLIPImageProcessor", clip(do_rescale=False)),
            ("clip", "CLIPImageProcessor", clip(rescale_factor=0.01, image_mean=[0.5, 0.4, 0.3], image_std=[0.1, 0.2, 0.7])),
            ("clip", "LlavaImageProcessor", clip(do_pad=True)),
            ("clip", "LlavaImageProcessor", clip(do_pad=True, image_mean=[0.2, 0.6, 0.011764705882352941])),
            ("qwen2_vl", "Qwen2VLImageProcessor", {}),
            ("qwen2_vl", "Qwen2VLImageProcessor", {"size": {"shortest_edge": 3136, "longest_edge": 28 * 28 * 20}}),
            ("qwen2_vl", "Qwen2VLImageProcessor", {"size": {"shortest_edge": 40_000, "longest_edge": 50_000}, "resample": 2}),
            ("qwen2_vl", "Qwen2VLImageProcessor", {"size": {"shortest_edge": 1, "longest_edge": 5000}, "patch_size": 6, "merge_size": 3,
                                                   "temporal_patch_size": 1}),
        ])


if __name__ == "__main__":
    unittest.main()
