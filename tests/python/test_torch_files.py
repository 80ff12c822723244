"""Checkpoints of torch.save: the same results as from safetensors, and nothing in them is ever run."""
import builtins
import json
import os
import shutil
import unittest
import zipfile

import torch_files
from support import CALIB, MODEL, ROOT, Case, run
from torch_files import Call, as_torch, as_torch_shards, converted, plain_pickle, rewrite, with_pickle
import h5py
import numpy
import torch
from safetensors.torch import load_file

FIXTURES = ROOT / "tests" / "data" / "fixtures"
TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class TorchCase(Case):
    def family(self, name, dtype=torch.float32):
        """A safetensors checkpoint of the fixtures in `folder/NAME/model`, and where its .bin twin shall be."""
        source, home, twin = FIXTURES / name, self.folder / "safetensors" / name, self.folder / "torch" / name
        converted(source / "model", home / "model", dtype)
        twin.mkdir(parents=True)
        if (source / "vision_tower").exists():
            converted(source / "vision_tower", home / "vision_tower", dtype)
            shutil.copytree(home / "vision_tower", twin / "vision_tower")
        return home / "model", twin / "model"

    def facts(self, model):
        return self.yopo_json("inspect", model)

    def check_close(self, found, expected):
        self.assertEqual(found.keys(), expected.keys())
        for name in expected:
            difference = ((found[name] - expected[name]).abs().max() / expected[name].abs().max()).item()
            self.assertTrue(difference <= 1e-5, f"{name}: {difference:.3g}")  # written so that NaN fails

    def check_same(self, family, first, second):
        """inspect, trace with both engines, and export."""
        case = FIXTURES / family / "cases" / "single"
        plan = case / "skip_all.plan.json"
        self.assertEqual(self.facts(first), self.facts(second))
        for engine in ("torch", "runtime"):
            outputs = [self.folder / f"{engine}-{i}.safetensors" for i in range(2)]
            for model, output in zip((first, second), outputs):
                self.yopo("trace", "--model", model, "--plan", plan, "--inputs", case / "inputs.safetensors", "--engine", engine,
                          "--device", "cpu", "--dtype", "fp32", "--decode", "3,14", "--output", output, "--threads", 1)
            if engine == "runtime":
                self.assertEqual(outputs[0].read_bytes(), outputs[1].read_bytes(), "other hidden states or logits")
            else:  # LibTorch's sums depend on where in memory the weights lie
                self.check_close(load_file(outputs[1]), load_file(outputs[0]))
            for output in outputs:
                output.unlink()
        exports = [self.folder / f"export-{i}" for i in range(2)]
        for model, export in zip((first, second), exports):
            self.yopo("export", "--model", model, "--plan", plan, "--output", export)
        found, expected = contents(exports[1]), contents(exports[0])
        self.assertEqual(sorted(found), sorted(expected))
        self.assertIn("model.safetensors", found)
        for name in expected:
            self.assertEqual(found[name], expected[name], name)
        for export in exports:
            shutil.rmtree(export)


class SameResults(TorchCase):
    def test_every_layout_and_type(self):
        for family in ("llava_hf", "llava_orig"):
            for name, dtype in TYPES.items():
                with self.subTest(family=family, dtype=name):
                    first, second = self.family(family, dtype)
                    as_torch(first, second)
                    self.assertEqual(self.facts(second)["model"]["dtype"], name)
                    self.check_same(family, first, second)
                    shutil.rmtree(first.parent)
                    shutil.rmtree(second.parent)

    def test_shards(self):
        first, second = self.family("llava_hf")
        as_torch_shards(first, second, 3)
        self.check_same("llava_hf", first, second)
        (second / "pytorch_model-00002-of-00003.bin").unlink()
        self.refused(second, "shard pytorch_model-00002-of-00003.bin is missing, pytorch_model.bin.index.json names it")

    def refused(self, model, *naming):
        result = run("inspect", model)
        self.assertEqual(result.returncode, 2, result.stderr)
        for part in naming:
            self.assertIn(part, result.stderr)

    def test_wrapped_and_every_protocol(self):
        first, second = self.family("llava_hf")
        expected = self.facts(first)
        for key in ("model", "state_dict"):
            as_torch(first, second, lambda tensors: {"epoch": 3, key: tensors, "lr": 0.1, "name": None})
            self.assertEqual(self.facts(second), expected)
            shutil.rmtree(second)
        for protocol in (2, 3, 4, 5):
            as_torch(first, second, pickle_protocol=protocol)
            self.assertEqual(self.facts(second), expected, f"protocol {protocol}")
            shutil.rmtree(second)

    def test_parameters_strides_and_shared_storages(self):
        """As training leaves them: parameters, transposed weights, tensors side by side in one storage, attributes."""
        first, second = self.family("llava_hf")

        def change(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
            at = 0
            for i, (name, tensor) in enumerate(tensors.items()):
                kind = i % 3
                if kind == 0:
                    tensors[name] = torch.nn.Parameter(tensor)
                elif kind == 1 and tensor.dim() == 2:
                    tensors[name] = tensor.t().contiguous().t()
                    self.assertFalse(tensors[name].is_contiguous())
                else:
                    tensors[name] = flat[at:at + tensor.numel()].view(tensor.shape)
                at += tensor.numel()
            tensors._metadata = {"": {"version": 1}}
            return tensors

        as_torch(first, second, change)
        self.check_same("llava_hf", first, second)

    def test_tied_weights_are_written_once_for_each_name(self):
        first, second = self.family("llava_hf")
        names = ["language_model.model.layers.0.input_layernorm.weight", "language_model.model.layers.1.input_layernorm.weight"]

        def change(tensors):
            tensors[names[1]] = tensors[names[0]]
            return tensors

        as_torch(first, second, change)
        export = self.folder / "export"
        self.yopo("export", "--model", second, "--plan", FIXTURES / "llava_hf/cases/single/skip_all.plan.json", "--output", export)
        written = load_file(export / "model.safetensors")
        self.assertEqual(len(written), len(load_file(first / "model.safetensors")))
        self.assertTrue(torch.equal(written[names[0]], written[names[1]]))

    def test_tower_as_torch_file(self):
        """A tower of torch.save becomes safetensors in the export."""
        first, second = self.family("llava_orig")
        as_torch(first, second)
        tower = second.parent / "vision_tower"
        shutil.rmtree(tower)
        as_torch(first.parent / "vision_tower", tower)
        self.check_same("llava_orig", first, second)

    def test_projector_beside(self):
        first, second = self.family("llava_orig")

        def change(tensors):
            beside = {name: tensors.pop(name) for name in list(tensors) if "mm_projector" in name}
            self.assertEqual(len(beside), 4)
            torch.save(beside, second / "mm_projector.bin")
            return tensors

        shutil.copytree(first, second, ignore=shutil.ignore_patterns("model.safetensors"))
        tensors = torch_files.in_file_order(first / "model.safetensors")
        torch.save(change(tensors), second / "pytorch_model.bin")
        self.assertEqual(self.facts(first), self.facts(second))
        export, expected = self.folder / "export", self.folder / "expected"
        plan = FIXTURES / "llava_orig/cases/single/skip_all.plan.json"
        for model, output in ((second, export), (first, expected)):
            self.yopo("export", "--model", model, "--plan", plan, "--output", output)
        written, wanted = load_file(export / "model.safetensors"), load_file(expected / "model.safetensors")
        self.assertEqual(written.keys(), wanted.keys())
        for name in wanted:
            self.assertTrue(torch.equal(written[name], wanted[name]), name)
        self.assertFalse((export / "mm_projector.bin").exists())
        # One of its own wins over the file beside it, and a file without a projector is named.
        torch.save({"model.mm_projector.0.weight": torch.zeros(1)}, first / "mm_projector.bin")
        self.assertEqual(self.facts(first)["model"]["fingerprint"], self.facts(second)["model"]["fingerprint"])
        torch.save({"projector.weight": torch.zeros(1)}, second / "mm_projector.bin")
        self.refused(second, "mm_projector.bin: no tensor begins with 'model.mm_projector.'", "it holds 'projector.weight'")

    def test_safetensors_win(self):
        first, _ = self.family("llava_hf")
        expected = self.facts(first)
        (first / "pytorch_model.bin").write_bytes(b"not read")
        self.assertEqual(self.facts(first), expected)

    def test_calibrate(self):
        second = self.folder / "torch"
        as_torch(MODEL, second)
        outputs = [self.folder / "first.h5", self.folder / "second.h5"]
        for model, output in zip((MODEL, second), outputs):
            self.yopo("calibrate", "--model", model, *CALIB.flags(), "--samples", 4, "--output", output, "--threads", 1)
        with h5py.File(outputs[0]) as expected, h5py.File(outputs[1]) as found:
            self.assertEqual(dict(found.attrs), dict(expected.attrs))  # the checkpoint's fingerprint is among them
            for name in ("/attention/ratio", "/ffn/abs_sum", "/ffn/square_sum", "/ffn/column_norm"):
                numpy.testing.assert_allclose(found[name][()], expected[name][()], rtol=1e-5, atol=1e-6)


class Hostile(TorchCase):
    def setUp(self):
        super().setUp()
        self.canary = self.folder / "canary"
        self.first, self.second = self.family("llava_hf")
        self.file = as_torch(self.first, self.second)

    def refused(self, *naming):
        result = run("inspect", self.second)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertFalse(self.canary.exists(), "the file's code was run")
        for part in naming:
            self.assertIn(part, result.stderr)

    def test_good_one_passes(self):
        self.assertEqual(self.facts(self.first), self.facts(self.second))

    def test_code(self):
        for value, name in ((Call(os.system, f"touch {self.canary}"), f"{os.name}.system"),
                            (Call(builtins.eval, f"open({str(self.canary)!r}, 'w')"), "eval"),
                            (Call(os.mkdir, str(self.canary)), "mkdir"), (Call(getattr, "a", "b"), "getattr"),
                            (1 + 2j, "complex"), (numpy.zeros(2), "numpy"), (torch.float16, "torch.float16")):
            with self.subTest(name=name):
                torch.save({"w": torch.zeros(2), "x": value}, self.file)
                self.refused(str(self.file), "data.pkl: byte ", "holds ", name, ": only tensors are read")
                torch.save(value, self.file)
                self.refused(name, ": only tensors are read")

    def test_payload_runs_where_it_is_unpickled(self):
        """The control of test_code: these payloads do harm to who loads them."""
        torch.save({"x": Call(os.mkdir, str(self.canary))}, self.file)
        torch.load(self.file, weights_only=False)
        self.assertTrue(self.canary.exists())

    def test_whole_module(self):
        torch.save(torch.nn.Linear(2, 2), self.file)
        self.refused("holds torch.nn.modules.linear.Linear: only tensors are read")

    def test_old_file(self):
        torch.save({"w": torch.zeros(2)}, self.file, _use_new_zipfile_serialization=False)
        self.refused("saved by PyTorch before 1.6", "convert it")

    def test_truncated(self):
        data = self.file.read_bytes()
        for size in (0, 1, 100, len(data) // 2, len(data) - 100, len(data) - 1):
            with self.subTest(size=size):
                self.file.write_bytes(data[:size])
                self.refused(str(self.file))

    def test_compressed(self):
        rewrite(self.file, method=zipfile.ZIP_DEFLATED)
        self.refused("compressed (method 8); torch.save only stores")

    def test_stored_anew_passes(self):
        """Not aligned any more: read through copies."""
        rewrite(self.file)
        self.assertEqual(self.facts(self.first), self.facts(self.second))

    def test_damaged_pickle(self):
        data = self.file.read_bytes()
        at = data.index(b"_rebuild_tensor_v2")
        self.file.write_bytes(data[:at] + b"_" + data[at:at + 1].swapcase() + data[at + 2:])
        self.refused("data.pkl' is damaged: checksum")

    def test_missing_storage(self):
        rewrite(self.file, lambda name, data: None if name == "data/3" else data)
        self.refused("its storage '3' is not in the file")

    def test_storage_too_small(self):
        rewrite(self.file, lambda name, data: data[:-4] if name == "data/3" else data)
        self.refused("its storage '3' should hold")

    def test_big_endian(self):
        rewrite(self.file, lambda name, data: b"big" if name == "byteorder" else data)
        self.refused("byte order 'big'")

    def test_pickles(self):
        def tensor(size, stride, offset=b"K\0", count=b"K\x04"):
            return (b"ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0zX\3\0\0\0cpu" + count + b"tQ" +
                    offset + size + stride + b"\x89NtR")

        def dict_of(value):
            return b"\x80\x02}X\1\0\0\0w" + value + b"s."

        four, one, minus = b"K\x04\x85", b"K\x01\x85", b"J\xff\xff\xff\xff\x85"
        huge = b"\x8a\x08" + b"\xff" * 7 + b"\x7f"
        for name, data, message in (
                ("underflow", b"\x80\x02R.", "takes a value from an empty stack"),
                ("memo", b"\x80\x02Nr\xff\xff\xff\xff.", "memo entry 4294967295"),
                ("memo bomb", b"\x80\x02(Nq\1" + b"h\1h\1\x86q\1" * 1_000_000 + b"t.", "nested more than 32 levels"),
                ("values", b"\x80\x02(" + b"N" * 3_000_000 + b"t.", "more than 2000000 values"),
                ("deep", b"\x80\x02" + b"]" * 500_000 + b"a" * 499_999 + b".", "nested more than 32 levels"),
                ("cyclic", b"\x80\x02]q\1h\1a.", "a value that holds itself"),
                ("endless text", b"\x80\x02X\xff\xff\xff\x7f", "a text of 2147483647 bytes"),
                ("no end", b"\x80\x02N", "1 bytes expected, 0 are left"),
                ("too large", dict_of(tensor(b"K\x05\x85", one)), "sizes [5] and strides [1] need 5 elements"),
                ("negative size", dict_of(tensor(minus, one)), "sizes should be integers from 0 on, found -1"),
                ("negative stride", dict_of(tensor(four, minus)), "strides should be integers from 0 on, found -1"),
                ("negative offset", dict_of(tensor(four, one, b"J\xff\xff\xff\xff")), "its offset should lie in its storage"),
                ("size overflow", dict_of(tensor(huge + huge + b"\x86", b"K\0K\0\x86")), "more elements than fit"),
                ("stride overflow", dict_of(tensor(b"K\2K\2\x86", huge + huge + b"\x86")), "lead past 63 bits"),
                ("expanded", dict_of(tensor(huge + b"\x85", b"K\0\x85")), "than fit"),
                ("storage overflow", dict_of(tensor(four, one, count=huge)), "its storage 'z' should hold 9223372036854775807 elements"),
                ("text for a tensor", plain_pickle({"w": "x"}), "a dict without tensors")):
            with self.subTest(name=name):
                with zipfile.ZipFile(self.file, "w") as file:
                    file.writestr("m/data.pkl", data)
                    file.writestr("m/data/z", bytes(16))
                self.refused(str(self.file), message)
        with zipfile.ZipFile(self.file, "w") as file:  # the same by hand, and nothing wrong but what is in it
            file.writestr("m/data.pkl", dict_of(tensor(four, one)))
            file.writestr("m/data/z", bytes(16))
        self.refused("no tensor 'language_model.")

    def test_hidden_pickle(self):
        with_pickle(self.file, b"cos\nsystem\n(X\4\0\0\0truetR.")
        self.refused("not a pickle of protocol 2 to 5")


if __name__ == "__main__":
    unittest.main()
