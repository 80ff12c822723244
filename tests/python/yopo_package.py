"""Imports the package `yopo` of this tree, with torch for the CPU and, where YOPO_TRANSFORMERS says so, transformers 5."""
import os
import sys

import torch_cpu  # noqa: F401  (before torch)

from support import ROOT

if os.environ.get("YOPO_TRANSFORMERS") == "5":
    sys.path.insert(0, sys.prefix + "/transformers5")
sys.path.insert(0, str(ROOT / "python"))

import transformers  # noqa: E402
from transformers.utils import logging  # noqa: E402

assert transformers.__version__[0] == os.environ.get("YOPO_TRANSFORMERS", "4"), transformers.__version__
logging.set_verbosity_error()
logging.disable_progress_bar()
CACHE = "cache" if transformers.__version__[0] == "5" else "past_key_values"
