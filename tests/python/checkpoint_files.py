"""Safetensors files without a library: taken apart, changed (checkpoints that are wrong on purpose) and put together."""
import array
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

    def floats(self, name):
        """The values of a tensor of fp32, row by row."""
        begin, end = self.header[name]["data_offsets"]
        assert self.header[name]["dtype"] == "F32", name
        return array.array("f", bytes(self.data[begin:end]))

    def write(self, path, header=None, length=None):
        """`header`: bytes instead of the JSON; `length`: what the first eight bytes say instead of the truth."""
        if header is None:
            header = json.dumps(self.header).encode()
        path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(self.data))


def write_tensors(path, tensors):
    """`tensors`: name -> (shape, values); floats are fp32, whole numbers int64."""
    weights = Weights.__new__(Weights)
    weights.header, weights.data = {}, bytearray()
    for name, (shape, values) in tensors.items():
        whole = all(isinstance(value, int) for value in values)
        begin = len(weights.data)
        weights.data += array.array("q" if whole else "f", values).tobytes()
        weights.header[name] = {"dtype": "I64" if whole else "F32", "shape": shape, "data_offsets": [begin, len(weights.data)]}
    weights.write(path)


def copy_checkpoint(source, target):
    shutil.copytree(source, target)
    return target / "model.safetensors"
