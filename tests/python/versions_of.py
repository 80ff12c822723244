"""Scripts of tests/python/versions under either version of transformers: 4.57 lies in .venv itself, 5.24 in a folder of its own
(scripts/setup.sh)."""
import os
import pathlib
import subprocess
import sys

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
