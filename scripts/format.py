#!/usr/bin/env python3
"""clang-format 14 over our files: the release decides the result, so no other one will do.

scripts/format.py            formats
scripts/format.py --check    changes nothing; names each place that is not formatted and ends with 1
"""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Written by a script, a table a line.
GENERATED = {"text/unicode_tokenizers_tables.cpp"}


def clang_format():
    for name in ("clang-format-14", "clang-format"):
        program = shutil.which(name)
        if program and re.search(
            r"version 14\.", subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        ):
            return program
    sys.exit("format: clang-format 14 is needed (Debian: clang-format-14)")


def files():
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in names.splitlines():
        if (
            Path(name).suffix in {".h", ".cpp", ".inl", ".cu", ".cuh"}
            and name not in GENERATED
            and (ROOT / name).exists()
        ):
            yield name


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    options = ["--dry-run", "-Werror"] if sys.argv[1:] else ["-i"]
    program, names = clang_format(), list(files())
    parts = [names[start : start + 16] for start in range(0, len(names), 16)]
    with ThreadPoolExecutor(cpu_count()) as pool:
        done = list(pool.map(lambda part: subprocess.run([program, *options, *part], cwd=ROOT), parts))
    bad = any(part.returncode for part in done)
    if sys.argv[1:] and not bad:
        print(f"format: {len(names)} files are formatted")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
