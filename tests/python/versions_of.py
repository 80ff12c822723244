"""Scripts of tests/python/versions under either version of transformers: 4.57 lies in .venv itself, 5.24 in a folder of its own
(scripts/setup.sh)."""
import os
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

SCRIPTS = pathlib.Path(__file__).parent / "versions"
# Version: what stands in front on PYTHONPATH.
VERSIONS = {"4.57": None, "5.24": pathlib.Path(sys.prefix) / "transformers5"}


def python(version, script, *arguments):
    """The script's standard output under that version."""
    environment = dict(os.environ)
    if VERSIONS[version]:
        environment["PYTHONPATH"] = str(VERSIONS[version])
    done = subprocess.run([sys.executable, "-B", str(SCRIPTS / script), *map(str, arguments)], capture_output=True, text=True,
                          env=environment, timeout=600)
    if done.returncode != 0:
        raise AssertionError(f"{script} under {version}: {done.stderr[-3000:]}")
    return done.stdout


def write_pictures(folder, sizes, seed, cells):
    """A picture of each size (width, height): `cells` x `cells` smooth colours under noise. Their paths."""
    rng, paths = np.random.default_rng(seed), []
    for width, height in sizes:
        paths.append(folder / f"{width}x{height}.png")
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)).resize((width, height))
        Image.fromarray((np.asarray(coarse) // 2 + rng.integers(0, 128, (height, width, 3))).astype(np.uint8)).save(paths[-1])
    return paths
