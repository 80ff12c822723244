"""Ways to run the command: in a process of its own, or in a fork of one that has loaded its libraries (server.c)."""
import collections
import os
import select
import signal
import struct
import subprocess

from support import YOPO

Ended = collections.namedtuple("Ended", "returncode stdout stderr")
EXITED = 1  # CLD_EXITED


class Processes:
    """A process for each run."""

    def start(self, arguments):
        self.process = subprocess.Popen([str(one) for one in arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        return self.process.pid

    def wait(self, process, seconds=300):
        out, error = self.process.communicate(timeout=seconds)
        return Ended(self.process.returncode, out, error)

    def run(self, *arguments):
        return self.wait(self.start(*arguments))


class Server:
    def __init__(self, library, files, environment):
        """`files`: where stdout and stderr go, `files`.out and `files`.err."""
        self.output = [files.with_name(files.name + ending) for ending in (".out", ".err")]
        theirs_in, self.requests = os.pipe()
        self.replies, theirs_out = os.pipe()
        preloaded = [part for part in os.environ.get("LD_PRELOAD", "").split(":") if part] + [str(library)]
        self.process = subprocess.Popen(
            [str(YOPO)], pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL,
            env={**os.environ, **environment, "LD_PRELOAD": ":".join(preloaded), "YOPO_SERVER": f"{theirs_in} {theirs_out}",
                 # AddressSanitizer wants to come first, for what a preloaded library may hide from it; this one hides nothing.
                 "ASAN_OPTIONS": ":".join([*filter(None, [os.environ.get("ASAN_OPTIONS")]), "verify_asan_link_order=0"])})
        os.close(theirs_in)
        os.close(theirs_out)

    def number(self, seconds):
        if not select.select([self.replies], [], [], seconds)[0]:
            raise TimeoutError(f"no answer in {seconds} s")
        data = os.read(self.replies, 4)
        assert len(data) == 4, f"the server ended: {self.process.wait()}"
        return struct.unpack("=i", data)[0]

    def start(self, arguments, call="", at=0, kind=""):
        """Gives the id of the process; it stays its own until the next start."""
        texts = [*self.output, call, at, kind, *arguments]
        request = b"".join(str(text).encode() + b"\0" for text in texts)
        os.write(self.requests, struct.pack("=I", len(request)) + request)
        return self.number(60)

    def wait(self, process, seconds=300):
        try:
            code = self.number(seconds)
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            code = self.number(60)
        status = self.number(60)
        return Ended(status if code == EXITED else -status, *(one.read_text(errors="replace") for one in self.output))

    def run(self, *arguments):
        return self.wait(self.start(*arguments))

    def close(self):
        os.close(self.requests)
        self.process.wait()
        os.close(self.replies)
