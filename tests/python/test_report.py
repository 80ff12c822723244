"""`yopo report` on a small run: one page that opens without a network and says nothing on the console."""
import re
import shutil
import subprocess
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
        for part in ("KL against visual FLOPs", "Visual FLOPs of a prompt by part", "yopo compare", "KV cache after the prefill"):
            self.assertIn(part, text)
        with self.subTest("chromium"):
            self.opens(page)
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

    def test_nothing_there(self):
        result = run("report", self.folder)
        self.assertEqual(result.returncode, 2)
        self.assertIn("nothing of a run is here", result.stderr)


if __name__ == "__main__":
    unittest.main()
