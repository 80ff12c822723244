"""`gpu_check.sh check`: the GPU tests, then a part of them under compute-sanitizer."""
import pathlib
import tempfile

import gtest_results
import machine
from steps import NotHere

# Suites by what they are about: the kernels first, as everything else stands on them. Seconds are limits.
TESTS = [
    ("tests: kernels", "*Cuda*:DeviceKernels*", 100),
    ("tests: reference cases", "*Reference*:*Compensation*", 120),
    ("tests: the rest", "-*Cuda*:DeviceKernels*:*Reference*:*Compensation*:Memory.TenThousand*", 120),
    ("tests: ten thousand cycles", "Memory.TenThousand*", 90),
]
# Under the sanitizer a kernel takes some hundred times as long. Suites of kernels alone: what they compute over is small.
SANITIZED = [("memcheck", 110, ["--leak-check", "no"]), ("racecheck", 110, []), ("synccheck", 70, [])]
SANITIZED_TESTS = "*Cuda*:-*LargeGrids*:*EveryCombination*:*MoreRequestsThanALaunchTakes*"


def run(steps, pack, options):
    program = pack / "bin" / "test_gpu"

    def environment(extra=None):
        return machine.environment(pack, extra)

    with tempfile.TemporaryDirectory(prefix="yopo-gpu-") as folder:
        def tests(name, chosen, limit, wrapper=(), extra=None):
            report = pathlib.Path(folder) / "report.json"
            report.unlink(missing_ok=True)

            def partly(ended):
                if report.exists():
                    found = gtest_results.from_json(report)
                    if found["failed"]:
                        found["reason"] = f"{len(found['failed'])} of {found['tests']} failed, the first {found['failed'][0]['test']}"
                    return found
                return gtest_results.from_output(ended.out)

            return steps.step(name, limit, lambda: [*wrapper, program, f"--gtest_filter={chosen}", f"--gtest_output=json:{report}"],
                              read=lambda ended: gtest_results.from_json(report), partly=partly, environment=environment(extra))

        steps.step("the test program starts", 30, [program, "--gtest_list_tests"],
                   read=lambda ended: {"tests": sum(line.startswith("  ") for line in ended.out.splitlines())}, environment=environment())
        broken = []
        for name, chosen, limit in TESTS:
            step = tests(name, chosen, limit)
            broken += [found["test"] for found in (step or {}).get("figures", {}).get("failed", [])]
        if broken:
            tests("failed tests again, each launch waited for", ":".join(broken[:20]), 40, extra={"YOPO_CUDA_CHECK": "1"})
        for tool, limit, more in SANITIZED:
            def wrapped(tool=tool, more=more):
                found = machine.sanitizer()
                if not found:
                    raise NotHere("compute-sanitizer is not installed")
                return [found, "--tool", tool, "--error-exitcode", "9", *more, program, f"--gtest_filter={SANITIZED_TESTS}"]
            steps.step(f"compute-sanitizer: {tool}", limit, wrapped, environment=environment(),
                       read=lambda ended: {**gtest_results.from_output(ended.out), "said": ended.out.strip().splitlines()[-1:]},
                       partly=lambda ended: gtest_results.from_output(ended.out))
