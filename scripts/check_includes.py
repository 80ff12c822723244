#!/usr/bin/env python3
"""Fails on an #include that goes up: the folders and the arrows between them, as docs/architecture.md shows them.

    scripts/check_includes.py            checks; prints each include that the table does not allow
    scripts/check_includes.py --table    prints the table as docs/architecture.md has it
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# folder: the folders it may include, besides itself. A folder may only name folders above it in this table.
ALLOWED = {
    "core": "",
    "text": "core",
    "formats": "core text",
    "images": "core formats",
    "datasets": "core text formats images",
    "models": "core text formats images datasets",
    "plans": "core formats models",
    "reference": "core formats images models plans",
    "runtime": "core formats models plans",
    "ranks": "core",
    "calibration": "core formats images datasets models plans reference",
    "compress": "core formats models plans calibration",
    "search": "core datasets models plans runtime ranks calibration compress",
    "exporters": "core formats models plans",
    "evaluation": "core text formats images datasets models plans reference runtime",
    "pipeline": "core formats datasets models plans reference runtime ranks calibration compress search exporters evaluation",
    "report": "core formats images datasets models plans calibration exporters evaluation pipeline",
    "library": "core text models plans runtime calibration compress exporters pipeline",
    "cli": "core text formats datasets models plans reference runtime ranks calibration compress search exporters evaluation pipeline report",
}
# Folders of which others may include only these files.
PUBLIC = {
    "reference": {"reference/engine.h"},
    "ranks": {"ranks/deal.h", "ranks/group.h", "ranks/launcher.h"},
    "runtime": {"runtime/engine.h", "runtime/busy_machine.h", "runtime/device.h", "runtime/bench.h", "runtime/machine.h", "runtime/measure_times.h", "runtime/products.h"},
}
# Torch's headers cost 15-20 s a file and stay behind reference/engine.h and ranks/store.h.
TORCH = re.compile(r"^(ATen|torch|c10)/")
TORCH_FOLDERS = {"reference", "ranks"}


def sources():
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.splitlines():
        if Path(name).suffix in {".h", ".cpp", ".inl", ".cu", ".cuh"} and (ROOT / name).exists():
            yield name


def faults():
    for name in sources():
        room = name.split("/")[0]
        text = (ROOT / name).read_text()
        for number, line in enumerate(text.splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
            if not found:
                continue
            included = found[1]
            if TORCH.match(included) and room not in TORCH_FOLDERS | {"tests"}:
                yield f"{name}:{number}: {included}: Torch's headers belong into {', '.join(sorted(TORCH_FOLDERS))}"
            target = included.split("/")[0]
            if room == "python" and target in ALLOWED:
                yield f"{name}:{number}: {included}: the Python module sees include/yopo/ alone"
            if room not in ALLOWED:
                continue
            if target in {"..", "."}:
                yield f"{name}:{number}: {included}: includes start at the root of the tree"
            if target == "yopo" and room != "library":
                yield f"{name}:{number}: {included}: the installed headers belong to library/"
            if target == "tests":
                yield f"{name}:{number}: {included}: only tests include tests"
            if target not in ALLOWED or target == room:
                continue
            if target not in ALLOWED[room].split():
                yield f"{name}:{number}: {included}: {room}/ may include {ALLOWED[room] or 'nothing'}"
            elif target in PUBLIC and included not in PUBLIC[target]:
                yield f"{name}:{number}: {included}: of {target}/ others may include {', '.join(sorted(PUBLIC[target]))}"


def table():
    above = set()
    for room, allowed in ALLOWED.items():
        unknown = set(allowed.split()) - above
        assert not unknown, f"{room}: {unknown} stand below it"
        above.add(room)
    return "\n".join(f"| `{room}/` | {', '.join(allowed.split()) or '-'} |" for room, allowed in ALLOWED.items())


def main():
    rows = table()
    if sys.argv[1:] == ["--table"]:
        print(rows)
        return 0
    if sys.argv[1:]:
        sys.exit(__doc__)
    wrong = list(faults())
    for room in ALLOWED:
        if not (ROOT / room).is_dir():
            wrong.append(f"{room}/ is in the table and not in the tree")
    if rows not in (ROOT / "docs/architecture.md").read_text():
        wrong.append("docs/architecture.md: the table of folders is not that of scripts/check_includes.py --table")
    print("\n".join(wrong) or "includes: every arrow goes down")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
