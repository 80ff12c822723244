"""Checkpoints that are wrong on purpose: a copy of a good one whose weights file is taken apart, changed and put together."""
import json
import shutil
import struct


class Weights:
    """A safetensors file as its header (name -> record) and data bytes."""

    def __init__(self, path):
        content = path.read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        self.header = json.loads(content[8:8 + length])
        self.data = bytearray(content[8 + length:])

    def tensors(self):
        return [name for name in self.header if name != "__metadata__"]

    def write(self, path, header=None, length=None):
        """`header`: bytes instead of the JSON; `length`: what the first eight bytes say instead of the truth."""
        if header is None:
            header = json.dumps(self.header).encode()
        path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(self.data))


def copy_checkpoint(source, target):
    shutil.copytree(source, target)
    return target / "model.safetensors"
