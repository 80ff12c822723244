"""`yopo report` on a small run: one page that opens without a network and says nothing on the console."""
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import unittest

from support import CALIB, MODEL, TEST, Case, run

RECIPE = f"""model: {{path: {MODEL}}}
output: OUT
calibration: {{dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 6}}}}
plan: {{budget: 0.25}}
search: {{evaluations: 8, samples: 6, questions: 1}}
verify: {{samples: 2}}
evaluate: [{{benchmark: vqa, questions: {TEST.questions}, images: {TEST.images}, samples: 40, batch_size: 20}}]
"""


# Writes a white PNG of the size that the SVG says; the last line is where it does.
STAND_IN = r"""import re, struct, sys, zlib
def png(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = (b"\0" + b"\xff" * (3 * width)) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))
zoom, scale, output, out, source = sys.argv[1:]
assert (zoom, output) == ("--zoom", "--output")
open(__file__.rsplit("/", 1)[0] + "/scale", "w").write(scale)
width, height = (int(scale) * int(text) for text in re.match(r'<svg [^>]*width="(\d+)" height="(\d+)"', open(source).read()).groups())
open(out, "wb").write(png(width, height))
"""


class ReportTest(Case):
    def small_run(self):
        (self.folder / "r.yaml").write_text(RECIPE.replace("OUT", str(self.folder / "out")))
        self.yopo("run", self.folder / "r.yaml")
        return self.folder / "out"

    def test_report(self):
        out = self.small_run()
        page = out / "report.html"
        self.assertEqual(self.yopo("report", out).stdout, f"{page}\n")
        first = page.read_bytes()
        self.yopo("report", out)
        self.assertEqual(page.read_bytes(), first)
        text = first.decode("utf-8")
        for source in re.findall(r"(?:src|href)=.{12}", text):
            self.assertTrue(source.startswith('src="data:image'), source)
        self.assertNotIn("<script", text)
        self.assertNotIn("url(", text)
        self.assertEqual(text.count("<svg role=\"img\""), text.count("<figure>"))
        self.assertGreaterEqual(text.count("<figure>"), 5)
        for part in ("KL against visual FLOPs", "Visual FLOPs of a prompt by part", "yopo compare", "KV cache after the prefill", "What compensation gives back", "Score against visual FLOPs"):
            self.assertIn(part, text)
        # Least squares leave no more than there was, on the rows that they were fitted to.
        plan = json.loads((out / "plan.json").read_text())
        fits = plan["provenance"]["compensation"]
        self.assertEqual([fit is not None for fit in fits], ["compensation" in layer for layer in plan["layers"]])
        self.assertTrue(all(left < lost for lost, left in filter(None, fits)), fits)
        self.assertIn(f"<td>{100 * fits[0][0]:.1f} %</td><td>{100 * fits[0][1]:.1f} %</td>", text)
        with self.subTest("chromium"):
            self.opens(page)
        self.draws(out)
        # A damaged file is named; a part that is gone is left out.
        (out / "eval.json").write_text("{")
        result = run("report", out)
        self.assertEqual(result.returncode, 2)
        self.assertIn("eval.json", result.stderr)
        for name in ("eval.json", "comparison.json", "plan.json"):
            (out / name).unlink()
        self.yopo("report", out)
        self.assertIn("yopo plan RECIPE", page.read_text())

    def opens(self, page):
        browser = shutil.which("chromium")
        if not browser:
            self.skipTest("chromium is not installed")
        result = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={self.folder}/profile",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("<h2>Provenance</h2>", result.stdout)
        self.assertNotIn("CONSOLE", result.stderr)

    def draws(self, out):
        """--png: through a stand-in that notes how it is called, and through every program that is installed."""
        programs = self.folder / "programs"
        programs.mkdir()
        stand_in = programs / "rsvg-convert"

        def draw(path):
            return run("report", out, "--png", env={**os.environ, "PATH": str(path)})

        result = draw(programs)
        self.assertEqual(result.returncode, 2)
        self.assertIn("librsvg2-bin", result.stderr)
        stand_in.write_text(f"#!{sys.executable}\n" + STAND_IN)
        stand_in.chmod(0o755)
        result = draw(programs)
        self.assertEqual(result.returncode, 0, result.stderr)
        names = {pathlib.Path(line).name for line in result.stdout.splitlines()}
        self.assertEqual(names - {"report.html"}, {path.name for path in (out / "report").iterdir()})
        self.assertLessEqual({"heads.png", "neurons.png", "flops.png", "search.png", "compensation.png", "times.png", "accuracy.png"}, names)
        self.assertEqual(stand_in.with_name("scale").read_text(), "2")
        for broken, said in (("sys.exit('no fonts here')", "no fonts here"), ("", "drew nothing"),
                             ("open(out, 'wb').write(png(3, 3))", "drew 3 x 3 pixels")):
            stand_in.write_text(f"#!{sys.executable}\n" + STAND_IN.rsplit("\n", 2)[0] + "\n" + broken + "\n")
            result = draw(programs)
            self.assertEqual(result.returncode, 2, broken)
            self.assertIn(said, result.stderr)
        stand_in.unlink()
        for name in ("rsvg-convert", "inkscape", "chromium"):
            program = shutil.which(name)
            if not program:
                continue
            with self.subTest(name):
                only = self.folder / name
                only.mkdir()
                (only / name).symlink_to(program)
                shutil.rmtree(out / "report")
                # Chromium's starter is a script that calls others.
                result = draw(f"{only}:{os.environ['PATH']}" if name == "chromium" else only)
                self.assertEqual(result.returncode, 0, result.stderr)
                pictures = sorted((out / "report").iterdir())
                self.assertEqual(len(pictures), len(names) - 1)
                for path in pictures:
                    data = path.read_bytes()
                    self.assertEqual(struct.unpack(">I", data[16:20])[0], 960, path)
                    self.assertGreater(len(data), 5000, f"{path}: nothing is on it")

    def test_nothing_there(self):
        result = run("report", self.folder)
        self.assertEqual(result.returncode, 2)
        self.assertIn("nothing of a run is here", result.stderr)


if __name__ == "__main__":
    unittest.main()
