"""Checkpoints as torch.save leaves them, good and bad, made from safetensors ones."""
import collections
import json
import pickle
import shutil
import zipfile

import torch_cpu  # noqa: F401  (before torch)
import torch
from safetensors.torch import load_file, save_file


def in_file_order(path):
    """The tensors of a safetensors file in the order of their data."""
    tensors = load_file(path)
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return {name: tensors[name] for name in sorted(tensors, key=lambda name: header[name]["data_offsets"])}


def converted(source, target, dtype):
    """A copy of a safetensors checkpoint with its floating tensors in another type."""
    shutil.copytree(source, target)
    tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
               for name, tensor in in_file_order(source / "model.safetensors").items()}
    save_file(tensors, target / "model.safetensors", {"format": "pt"})


def as_torch(source, target, change=lambda tensors: tensors, **options):
    """A copy of the checkpoint with pytorch_model.bin; `change` makes the object to save from the dict of tensors."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("model.safetensors"))
    tensors = collections.OrderedDict(in_file_order(source / "model.safetensors"))
    torch.save(change(tensors), target / "pytorch_model.bin", **options)
    return target / "pytorch_model.bin"


def as_torch_shards(source, target, count):
    """The same in `count` shards with their index."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("model.safetensors"))
    tensors = in_file_order(source / "model.safetensors")
    names, weight_map = list(tensors), {}
    for i in range(count):
        file = f"pytorch_model-{i + 1:05}-of-{count:05}.bin"
        part = names[i * len(names) // count:(i + 1) * len(names) // count]
        # Clones, for torch.save writes whole storages.
        torch.save({name: tensors[name].clone() for name in part}, target / file)
        weight_map.update(dict.fromkeys(part, file))
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (target / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def rewrite(path, change=lambda name, data: data, method=zipfile.ZIP_STORED):
    """The zip file's entries written anew; `change(name, data)` says what each shall hold, None to leave it out."""
    with zipfile.ZipFile(path) as file:
        entries = [(info.filename, file.read(info)) for info in file.infolist()]
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in entries:
            data = change(name.split("/", 1)[1], data)
            if data is not None:
                file.writestr(name, data)


def with_pickle(path, data):
    """The file with another pickle."""
    rewrite(path, lambda name, old: data if name == "data.pkl" else old)


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.state = function, arguments

    def __reduce__(self):
        return self.state


def plain_pickle(value):
    return pickle.dumps(value, protocol=2)
