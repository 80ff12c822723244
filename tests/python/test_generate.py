"""The generator of the reference cases: what it makes today is what tests/data/fixtures holds, and its comparison sees
a change."""

import json
import shutil
import subprocess
import sys
import unittest

import support

GENERATE = support.ROOT / "tests" / "reference" / "generate"
FIXTURES = support.ROOT / "tests" / "data" / "fixtures"
FAMILIES = ["preprocess", "internvl2_internlm2_6b"]  # the quick ones


class GenerateTest(support.Case):
    def generate(self, *arguments):
        return subprocess.run(
            [sys.executable, "-B", GENERATE / "main.py", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
        )

    def test_the_fixtures_come_out_again(self):
        done = self.generate("--output", self.folder, "--check", FIXTURES, *FAMILIES)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for name in FAMILIES:
            self.assertIn(f"{name}: equal to", done.stdout)

    def test_the_cases_of_compensation_come_out_again(self):
        done = self.generate("--output", self.folder, "--check", FIXTURES.parent, "compensation")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("compensation: equal to", done.stdout)

    def compare(self, change):
        """What the comparison says of a copy of a family that `change` has changed."""
        family = FIXTURES / "internvl2_internlm2_6b"
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(family, copy)
        change(copy)
        code = "import sys; sys.path.insert(0, sys.argv[1]); import compare; print(*compare.compare(*sys.argv[2:]), sep='\\n')"
        done = subprocess.run(
            [sys.executable, "-B", "-c", code, GENERATE, copy, family], capture_output=True, text=True, timeout=120
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_the_comparison_sees_a_change(self):
        case = "cases/single"
        self.assertEqual(self.compare(lambda copy: None), "")
        self.assertEqual(
            self.compare(lambda copy: (copy / case / "skip_all.plan.json").unlink()),
            f"{case}/skip_all.plan.json: missing",
        )

        def another_value(copy):
            path = copy / case / "case.json"
            info = json.loads(path.read_text())
            info["decode_tokens"][0] += 1
            path.write_text(json.dumps(info))

        self.assertIn("case.json.decode_tokens[0]", self.compare(another_value))

        def another_number(copy):
            # The last byte but one of a tensor: a float32's sign and part of its exponent.
            path = copy / case / "skip_all.safetensors"
            data = bytearray(path.read_bytes())
            data[-1] ^= 0x40
            path.write_bytes(data)

        self.assertIn("skip_all.safetensors", self.compare(another_number))

    def test_what_it_cannot_make_is_told(self):
        done = self.generate("--output", self.folder, "qwen3_vl")
        self.assertIn("needs transformers 5", done.stderr)
        done = self.generate("--output", self.folder, "qwen9")
        self.assertIn("no family qwen9; there are llava", done.stderr)


if __name__ == "__main__":
    unittest.main()
