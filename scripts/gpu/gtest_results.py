"""What a GoogleTest program says of its tests."""
import json
import pathlib
import re


def from_json(path):
    """Figures of --gtest_output=json:PATH."""
    report = json.loads(pathlib.Path(path).read_text())
    failed, slowest, ran = [], [], 0
    for suite in report["testsuites"]:
        for test in suite["testsuite"]:
            if test.get("status") == "NOTRUN" or test.get("result") == "SUPPRESSED":
                continue
            ran += 1
            name = f"{suite['name']}.{test['name']}"
            slowest.append((float(test.get("time", "0s").rstrip("s")), name))
            if test.get("failures"):
                failed.append({"test": name, "why": test["failures"][0]["failure"][:600]})
    if ran == 0:
        raise ValueError("no test ran")
    slowest.sort(reverse=True)
    return {"tests": ran, "failed": failed, "slowest": [{"test": name, "seconds": seconds} for seconds, name in slowest[:5]]}


def from_output(text):
    """Figures of a program that did not come to its end: how many were good, which failed, and which one it was in."""
    begun = re.findall(r"^\[ RUN      \] (\S+)", text, re.M)
    good = re.findall(r"^\[       OK \] (\S+)", text, re.M)
    failed = list(dict.fromkeys(name.rstrip(",") for name in re.findall(r"^\[  FAILED  \] (\S+\.\S+)", text, re.M)))
    figures = {"tests": len(begun), "passed": len(good), "failed": [{"test": name, "why": ""} for name in failed]}
    if begun and begun[-1] not in good and begun[-1] not in failed:
        figures["ended_in"] = begun[-1]
        figures["reason"] = f"in {begun[-1]}"
    return figures
