"""Imports torch for the CPU, with or without the CUDA libraries that the wheel wants at import.

Where torch was installed without its CUDA dependencies, scripts/cuda_stand_ins.py has left libraries of the same names in
`.venv/stand_ins`; loaded first, they satisfy the loader.
"""
import ctypes
import importlib.util
import os
import pathlib
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# Beside the wheel: benchmarks/openvino_prefill.py imports it from another environment.
_wheel = importlib.util.find_spec("torch")
_stand_ins = pathlib.Path(_wheel.origin).parents[4] / "stand_ins" if _wheel else pathlib.Path(sys.prefix) / "stand_ins"
if _stand_ins.is_dir():
    # The stand-in of libtorch_cuda refers to nothing, so the order does not matter.
    for _library in sorted(_stand_ins.glob("*.so*")):
        ctypes.CDLL(str(_library), mode=ctypes.RTLD_GLOBAL)

import torch  # noqa: E402

torch.set_num_threads(2)
torch.manual_seed(0)
