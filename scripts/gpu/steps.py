"""Steps of a check or a bench: each a program in a process group of its own, under a time limit, with a status, a reason, its
seconds and its figures in one JSON file, which is whole after each step."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

PASSED, FAILED, SKIPPED, TIMEOUT = "passed", "failed", "skipped", "timeout"
LEAST_SECONDS = 3.0  # a step with less than this left is not begun
TAIL = 2000  # characters of a failed program's output that are kept


def write_json(path, value):
    """Whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=False) + "\n")
    os.replace(temporary, path)


class Ended:
    """How a program ended: `code` (negative: by that signal; None: stopped at its limit), its output and its seconds."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def why(self):
        if self.code is None:
            return "stopped at its time limit"
        if self.code < 0:
            try:
                return f"ended by {signal.Signals(-self.code).name}"
            except ValueError:
                return f"ended by signal {-self.code}"
        return f"exit code {self.code}"


def run_program(command, limit, environment=None):
    """Ended. The whole group is stopped at the limit: what a program started does not outlive it, and cannot hold it up by
    keeping its output open. OSError if it cannot be started."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   env=environment, start_new_session=True)
        code = None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        seconds = time.monotonic() - began
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Ended(code, *texts, seconds)


class NotHere(Exception):
    """A step that cannot run here, and why."""


class Steps:
    """Runs steps one after another and keeps the file up to date. `budget`: seconds for all of them together."""

    def __init__(self, path, section, facts, budget, only=()):
        self.path, self.section, self.budget, self.only = pathlib.Path(path), section, budget, set(only)
        self.began = time.monotonic()
        self.steps = []
        self.absent = None  # why no step can run
        try:
            self.whole = json.loads(self.path.read_text())
            if self.whole.get("format") != "yopo-gpu":
                raise ValueError
        except (OSError, ValueError, AttributeError):
            self.whole = {"format": "yopo-gpu", "version": 1}
        self.whole[section] = {"facts": facts, "seconds": 0.0, "steps": self.steps}
        self.save()

    def left(self):
        return self.budget - (time.monotonic() - self.began)

    def save(self):
        self.whole[self.section]["seconds"] = round(time.monotonic() - self.began, 3)
        write_json(self.path, self.whole)

    def add(self, name, status, reason="", seconds=0.0, figures=None):
        self.steps.append({"name": name, "status": status, "reason": reason, "seconds": round(seconds, 3), "figures": figures or {}})
        self.save()
        print(f"{status:8} {seconds:7.1f} s  {name}{': ' + reason.splitlines()[0] if reason else ''}", flush=True)
        return self.steps[-1]

    def step(self, name, limit, command, read=None, partly=None, environment=None):
        """`command`: a list, or a function that gives one and may raise NotHere. `read(ended)` gives the figures of a program
        that ended with 0; what it raises fails the step. `partly(ended)` gives those of one that did not."""
        if self.only and name not in self.only:
            return None
        if self.absent:
            return self.add(name, SKIPPED, self.absent)
        if self.left() < LEAST_SECONDS:
            return self.add(name, SKIPPED, f"no time left of the {self.budget:.0f} s of this command")
        limit = min(limit, self.left())
        try:
            ended = run_program(command() if callable(command) else command, limit, environment)
        except NotHere as reason:
            return self.add(name, SKIPPED, str(reason))
        except (OSError, subprocess.SubprocessError) as error:
            return self.add(name, FAILED, f"cannot be started: {error}")
        if ended.code == 0:
            try:
                return self.add(name, PASSED, "", ended.seconds, read(ended) if read else {})
            except Exception as error:  # whatever its output lacks
                return self.add(name, FAILED, f"its output is not what was expected: {error!r}\n{ended.out[-TAIL:]}", ended.seconds)
        figures = {}
        try:
            figures = partly(ended) if partly else {}
        except Exception as error:
            figures = {"unread": repr(error)}
        status, reason = (TIMEOUT, f"stopped after {limit:.1f} s") if ended.code is None else (FAILED, ended.why())
        said = (ended.err.strip() or ended.out.strip())[-TAIL:]
        return self.add(name, status, f"{reason}{': ' + figures.pop('reason') if 'reason' in figures else ''}\n{said}".strip(),
                        ended.seconds, figures)

    def code(self, allow_no_gpu):
        """0: something passed and nothing failed; without a GPU only where that is allowed."""
        statuses = [step["status"] for step in self.steps]
        if self.absent:
            return 0 if allow_no_gpu else 1
        return 0 if PASSED in statuses and not {FAILED, TIMEOUT} & set(statuses) else 1
