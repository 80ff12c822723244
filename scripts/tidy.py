#!/usr/bin/env python3
"""clang-tidy 14 over our .cpp files, or over those given (patterns of git ls-files). Any finding fails; out/tidy.log keeps them.

Most of the time goes into headers, so files of one folder with the same flags are read as one, each whole and in its place, and
lines are told by file again. Files whose own names clash (helpers of the same name) go into another unit. Nothing is compiled:
build/tidy is only configured, without precompiled headers, which are GCC's.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD, LOG = ROOT / "build" / "tidy", ROOT / "out" / "tidy.log"
UNITS = BUILD / "units"
MOST = 14  # files in a unit
# Files over these headers are not looked at: they use std::source_location, which clang 14 does not get from libstdc++.
EMULATOR = str(ROOT / "tests/support/cuda_emulator/include")
PLACE = re.compile(r"^(?P<file>/[^\s:]+):(?P<line>\d+):(?P<rest>\d+: (?:warning|error|note): .*)$")


class Unit:
    """Some files as one, and which line belongs to which."""

    def __init__(self, name, files, flags):
        self.path, self.files, self.flags, self.starts = UNITS / f"{name}.cpp", files, flags, []
        text, line = [], 1
        for file in files:
            content = (ROOT / file).read_text()
            self.starts.append(line)
            text.append(content if content.endswith("\n") else content + "\n")
            line += text[-1].count("\n")
        self.path.write_text("".join(text))

    def place(self, line):
        """The file and its own line."""
        index = max(i for i, start in enumerate(self.starts) if start <= line)
        return self.files[index], line - self.starts[index] + 1

    def run(self, *command):
        """Standard output, with places by file, and standard error."""
        done = subprocess.run([*command, "--", *self.flags], capture_output=True, text=True, cwd=BUILD)
        return self.by_file(done.stdout), done.stderr

    def by_file(self, output):
        lines = []
        for line in output.splitlines():
            found = PLACE.match(line)
            if found and found["file"] == str(self.path):
                file, own = self.place(int(found["line"]))
                line = f"{ROOT / file}:{own}:{found['rest']}"
            lines.append(line)
        return lines

    def clashing(self):
        """The files that do not compile behind the others."""
        done = subprocess.run(["clang++-14", "-fsyntax-only", "-ferror-limit=0", "-w", *self.flags, str(self.path)],
                              capture_output=True, text=True, cwd=BUILD)
        named = {self.place(int(found["line"]))[0] for found in map(PLACE.match, done.stderr.splitlines())
                 if found and found["file"] == str(self.path) and ": error: " in ": " + found["rest"]}
        return named or ({self.files[-1]} if done.returncode else set())


def files_of(patterns):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *(patterns or ["*.cpp"])], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split()
    return [file for file in listed if file.endswith(".cpp")]


def flags_by_file():
    """What clang needs of each file's command."""
    flags = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        words, kept = iter(shlex.split(entry["command"])), []
        next(words)
        for word in words:
            if word in ("-o", "-c", "-include", "-Xclang"):
                next(words, None)
            elif not word.endswith(".cpp") and word not in ("-Winvalid-pch", "-fpch-preprocess") and not word.endswith("ccache") \
                    and not word.endswith("c++"):
                kept.append(word)
        flags.setdefault(os.path.relpath(entry["file"], ROOT), kept)
    return flags


def units_of(files, flags):
    """Units without clashes, each as soon as it is known."""
    groups = collections.defaultdict(list)
    for file in files:
        groups[os.path.dirname(file), tuple(flags[file])].append(file)
    number = 0
    for (folder, own), left in sorted(groups.items()):
        while left:
            number += 1
            batch, left = left[:MOST], left[MOST:]
            while True:
                unit = Unit(f"{number}-{folder.replace('/', '-')}", batch, own)
                clashing = unit.clashing() if len(batch) > 1 else set()
                if not clashing:
                    break
                left = [file for file in batch if file in clashing] + left if len(clashing) < len(batch) else batch[1:] + left
                batch = [file for file in batch if file not in clashing] if len(clashing) < len(batch) else batch[:1]
            yield unit


def main(patterns):
    subprocess.run([str(ROOT / "scripts/setup.sh"), "nightly"], check=True)
    UNITS.mkdir(parents=True, exist_ok=True)
    LOG.parent.mkdir(exist_ok=True)
    configured = subprocess.run(["cmake", "--preset", "tidy"], cwd=ROOT, capture_output=True, text=True)
    if configured.returncode != 0:
        sys.exit(configured.stdout + configured.stderr)
    named, flags = files_of(patterns), flags_by_file()
    unknown = [file for file in named if file not in flags]
    emulated = [file for file in named if EMULATOR in flags.get(file, [])]
    files = [file for file in named if file not in unknown + emulated]
    checked, findings = 0, []

    def check(unit):
        output, errors = unit.run("clang-tidy-14", "--quiet", f"--config-file={ROOT / '.clang-tidy'}", str(unit.path))
        broken = [line for line in errors.splitlines() if "error" in line and "warnings generated" not in line]
        return unit, output, broken

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = collections.deque()

        def finish():
            nonlocal checked
            unit, output, broken = running.popleft().result()
            checked += len(unit.files)
            findings.extend(output + broken)
            for line in output + broken:
                print(line, flush=True)
            print(f"tidy: {checked} of {len(files)} files", flush=True)

        for unit in units_of(files, flags):
            running.append(pool.submit(check, unit))
            while len(running) > os.cpu_count():
                finish()
        while running:
            finish()
    LOG.write_text("\n".join(findings) + "\n")
    # A header is read in many units: each finding counts once.
    count = len({line for line in findings if re.search(r": (warning|error): ", line)})
    if unknown:
        print(f"tidy: not part of the build, not looked at: {' '.join(unknown)}")
    if emulated:
        print(f"tidy: over the CUDA emulator, not looked at: {' '.join(emulated)}")
    print(f"tidy: {checked} files, {count} findings")
    return 1 if count or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
