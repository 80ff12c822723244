#!/usr/bin/env python3
"""Makes the reference cases: small random checkpoints in real layouts, with what other implementations compute on them.

    main.py --output DIR [FAMILY...]                          makes them (without a name, all that this transformers can)
    main.py --output DIR --check tests/data/fixtures [FAMILY...]   makes them, then compares with those of the tree
    main.py --list                                            names the families and what each needs

README.md beside this file tells what a case holds.
"""

import argparse
import importlib
import importlib.metadata
import os
import shutil
import sys
import time

# family: (module, function, folders it writes, whether plans are added behind it, major release of transformers)
FAMILIES = {
    "llava": ("llava", "make", ["llava_hf", "llava_orig"], True, 4),
    "qwen2vl": ("qwen2_vl", "make", ["qwen2vl"], True, 4),
    "internvl2_internlm2": ("internvl2", "make_internlm2", ["internvl2_internlm2"], True, 4),
    "internvl2_internlm2_6b": ("internvl2", "make_internlm2_6b", ["internvl2_internlm2_6b"], True, 4),
    "internvl2_phi3": ("internvl2", "make_phi3", ["internvl2_phi3"], True, 4),
    "compensation": ("compensation", "make", ["compensation"], False, 4),
    "preprocess": ("preprocess", "make", ["preprocess"], False, 4),
    "qwen2_5_vl": ("newer.qwen", "make_qwen2_5", ["qwen2_5_vl"], False, 5),
    "internvl3_qwen2": ("newer.internvl3", "make_qwen2", ["internvl3_qwen2", "internvl3_qwen2_hf"], False, 5),
    "internvl3_qwen3": ("newer.internvl3", "make_qwen3", ["internvl3_qwen3", "internvl3_qwen3_hf"], False, 5),
    "llava_next": ("newer.anyres", "make_next", ["anyres_llava_next"], False, 5),
    "llava_onevision": ("newer.anyres", "make_onevision", ["anyres_llava_onevision"], False, 5),
    "preprocess_more": ("newer.processors", "make", ["preprocess_more"], False, 5),
    "qwen3_vl": ("newer.qwen", "make_qwen3", ["qwen3_vl"], False, 5),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", help="folder to write to; a family's own folders in it are made anew")
    parser.add_argument("--check", metavar="DIR", help="compare what was made with the same families in DIR")
    parser.add_argument("--list", action="store_true", help="name the families")
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    given = parser.parse_args()
    unknown = [name for name in given.families if name not in FAMILIES]
    if unknown:
        parser.error(f"no family {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    if not given.output and not given.list:
        parser.error("--output is needed")
    return given


def make(name, root):
    module, function, folders, with_plans, major = FAMILIES[name]
    start = time.monotonic()
    for folder in folders:
        shutil.rmtree(f"{root}/{folder}", ignore_errors=True)
    os.makedirs(root, exist_ok=True)
    getattr(importlib.import_module(module), function)(root)
    if with_plans:
        for folder in folders:
            importlib.import_module("skip").add_to(f"{root}/{folder}")
    print(f"{name}: made in {time.monotonic() - start:.0f} s", flush=True)


def check(name, root, expected):
    """Whether the family's folders equal those in `expected`."""
    differences = []
    for folder in FAMILIES[name][2]:
        compare = importlib.import_module("compare").compare
        differences += [f"{folder}/{line}" for line in compare(f"{root}/{folder}", f"{expected}/{folder}")]
    print("\n".join(differences) or f"{name}: equal to {expected}", flush=True)
    return not differences


def main():
    given = arguments()
    major = int(importlib.metadata.version("transformers").split(".")[0])
    if given.list:
        for name, entry in FAMILIES.items():
            print(f"{name}: {', '.join(entry[2])} (transformers {entry[4]})")
        return 0
    names = given.families or [name for name, entry in FAMILIES.items() if entry[4] == major]
    for name in names:
        if FAMILIES[name][4] != major:
            sys.exit(f"generate: {name} needs transformers {FAMILIES[name][4]}, this is {major}; see README.md")
    equal = True
    for name in names:
        make(name, given.output)
        equal = (not given.check or check(name, given.output, given.check)) and equal
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
