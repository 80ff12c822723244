"""Reference pixels of Pillow and transformers: what tests/data/images was made with.

make_image_cases.py FOLDER            (Pillow 13.0.0, transformers 4.57.1, numpy, safetensors)

Writes small image files, expected.safetensors (file name -> RGB bytes as PIL's convert("RGB") gives them),
resize.safetensors (Image.resize) and process.safetensors with process.json (CLIPImageProcessor).
"""
import io
import json
import struct
import sys
import warnings
import zlib

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from transformers import CLIPImageProcessor

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def scanlines(samples, depth):
    out = b""
    for row in samples:
        bits = "".join(format(int(v), f"0{depth}b") for v in row.reshape(-1))
        bits += "0" * (-len(bits) % 8)
        out += b"\0" + bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    return out


def png(samples, depth, color, palette=None, transparency=None, interlaced=False, extra=b""):
    """A PNG of [height, width, channels] samples, each of `depth` bits."""
    height, width, _ = samples.shape
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))) + extra
    if palette is not None:
        out += chunk(b"PLTE", palette)
    if transparency is not None:
        out += chunk(b"tRNS", transparency)
    data = b"".join(scanlines(part, depth) for part in parts if part.size)
    return out + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def image_files(rng):
    for color, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            for interlaced in (False, True):
                samples = rng.integers(0, 1 << depth, (9, 13, CHANNELS[color]))
                if depth == 16:
                    samples[0] = samples[0] % 300  # around the limit that 16-bit grey is clipped at
                # A palette one entry short: the indices past it are black.
                palette = rng.integers(0, 256, 3 * max(2, (1 << depth) - 1), dtype=np.uint8).tobytes() if color == 3 else None
                yield f"color{color}_depth{depth}{'_interlaced' if interlaced else ''}.png", png(samples, depth, color, palette, None,
                                                                                         interlaced)
    yield "transparent_palette.png", png(rng.integers(0, 4, (5, 5, 1)), 2, 3, bytes(range(12)), b"\0\x80\xff")
    yield "transparent_grey.png", png(rng.integers(0, 9, (5, 5, 1)), 8, 0, None, b"\0\5")
    junk = chunk(b"gAMA", struct.pack(">I", 30000)) + chunk(b"sRGB", b"\0") + chunk(b"iCCP", b"x\0\0damaged")
    yield "profile.png", png(rng.integers(0, 256, (5, 5, 3)), 8, 2, extra=junk)
    picture = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((33, 17), 3)

    def jpeg(image, **options):
        out = io.BytesIO()
        image.save(out, "JPEG", **options)
        return out.getvalue()
    for subsampling in (0, 1, 2):
        for progressive in (False, True):
            yield (f"subsampling{subsampling}{'_progressive' if progressive else ''}.jpg",
                   jpeg(picture, quality=80, subsampling=subsampling, progressive=progressive))
    yield "grey.jpg", jpeg(picture.convert("L"), quality=80)
    yield "rgb.jpg", jpeg(picture, quality=80, keep_rgb=True)
    ink = Image.fromarray(rng.integers(0, 256, (9, 11, 4), dtype=np.uint8), "CMYK")
    yield "cmyk.jpg", jpeg(ink, quality=90)
    turned = Image.Exif()
    turned[0x112] = 6
    yield "turned.jpg", jpeg(picture, exif=turned)
    plain = jpeg(picture)
    scan = plain.find(b"\xff\xda")
    yield "stray_bytes.jpg", plain[:scan] + b"\0\0" + plain[scan:]


SIZES = [(1, 500, 8, 8), (500, 1, 9, 8), (3, 5, 40, 7), (5, 3, 2, 1), (1, 1, 5, 4), (7, 7, 7, 9), (7, 7, 9, 7), (60, 45, 21, 17),
         (45, 60, 17, 21), (20, 90, 15, 30), (20, 90, 60, 30), (33, 33, 33, 33), (30, 20, 31, 19)]
# width, height, settings: what the ways through the processor differ in.
PROCESS = [
    (50, 31, dict(size=14, crop=14)), (31, 50, dict(size=14, crop=14)), (29, 29, dict(size=14, crop=14)),
    (10, 97, dict(size=14, crop=14)), (97, 10, dict(size=14, crop=14, resample=2)), (9, 12, dict(size=14, crop=11)),
    (20, 13, dict(size=9, crop=14)), (11, 18, dict(size=9, crop=12)), (13, 10, dict(crop=12, do_resize=False)),
    (15, 16, dict(crop=12, do_resize=False)), (14, 14, dict(size=14, crop=14, do_normalize=False)),
    (14, 14, dict(size=14, crop=14, do_rescale=False)), (12, 12, dict(size=9, do_center_crop=False)),
    (14, 14, dict(size=14, crop=14, rescale_factor=0.5)),
]

if __name__ == "__main__":
    folder = sys.argv[1]
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(7)
    expected = {}
    for name, data in image_files(rng):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data)
        expected[name] = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    save_file(expected, folder + "/expected.safetensors")

    resized = {}
    for k, (width, height, to_width, to_height) in enumerate(SIZES):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if k % 2:
            image = (image // 128 * 255).astype(np.uint8)  # overshoots the range most
        resized[f"{k:02}.in"] = image
        for method in (2, 3):
            resized[f"{k:02}.out.{method}"] = np.array(Image.fromarray(image).resize((to_width, to_height), method))
    save_file(resized, folder + "/resize.safetensors")

    processed, settings = {}, []
    for k, (width, height, given) in enumerate(PROCESS):
        options = dict({"size": 14, "crop": 14, "resample": 3}, **given)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        processor = CLIPImageProcessor(size={"shortest_edge": options.pop("size")}, crop_size=options.pop("crop"), **options)
        processed[f"{k:02}.in"] = image
        processed[f"{k:02}.out"] = np.ascontiguousarray(processor(Image.fromarray(image), return_tensors="np").pixel_values[0])
        settings.append(dict({"size": 14, "crop": 14}, **given))
    save_file(processed, folder + "/process.safetensors")
    with open(folder + "/process.json", "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(" " + json.dumps(s) for s in settings) + "\n]\n")
