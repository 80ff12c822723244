"""Small real images, made without an imaging library."""
import pathlib
import struct
import zlib

_JPEG = pathlib.Path(__file__).resolve().parents[3] / "data" / "images" / "rgb.jpg"


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(seed=0, size=2):
    """A PNG of one colour, 8-bit RGB."""
    colour = bytes((seed * 37 % 256, seed * 91 % 256, seed * 151 % 256))
    rows = (b"\0" + colour * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def jpeg():
    """The repository's small RGB JPEG."""
    return _JPEG.read_bytes()


def encoded(name, seed=0):
    """Bytes of an image of the kind that the file name says."""
    return jpeg() if name.lower().endswith((".jpg", ".jpeg")) else png(seed)


def write(folder, names):
    """Each name once, with folders in between."""
    for seed, name in enumerate(dict.fromkeys(names)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(name, seed))
