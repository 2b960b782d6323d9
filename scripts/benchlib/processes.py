"""Processes whose use of the machine is known when they end, and what a machine is doing.

CPU     User and system time of all processes of both ends, from wait4(2). What it reports for a
        child includes the descendants that the child has waited for: rsync and scp wait for
        their ssh; sshd waits for its sessions, and those for the commands they run. sshd does
        not wait for anything once it is told to stop, so it is stopped only after it has no
        children left. Starting sshd is part of its time: about 0.01 s.
memory  The largest resident set of one process at each end: ru_maxrss of a wait4 call, which
        covers the same descendants. A forked child begins as a copy of its parent, and exec does
        not forget how large that was. So it is GNU time, a very small program, that forks and
        reports; where it is not installed, this one does, and no value can be below the floor
        that is measured (with true(1)) and printed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List

DISTURBED = 0.1  # share of all processors that others took
# sshd and its session program are not on every user's PATH.
SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Failed(Exception):
    """A run that must not count, and why."""


def say(message):
    print(message, file=sys.stderr, flush=True)


def find(program):
    return shutil.which(program, path=SEARCH_PATH)


def first_line(*command):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return (result.stdout + result.stderr).strip().partition("\n")[0]


@dataclass
class Usage:
    cpu_s: float = 0.0
    peak_bytes: int = 0

    def __add__(self, other):
        return Usage(self.cpu_s + other.cpu_s, max(self.peak_bytes, other.peak_bytes))


class Child:
    """One process whose use of the machine is read when it ends."""

    running: List["Child"] = []

    def __init__(self, command, log, gnu_time=None, **popen):
        self.name = os.path.basename(str(command[0]))
        self.log = log
        self.peak = None
        if gnu_time:
            self.peak = Path(f"{log}.peak")
            command = [gnu_time, "--quiet", "--format=%M", f"--output={self.peak}", *command]
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.DEVNULL)
        with open(log, "wb") as stderr:
            # A process group of its own, to end it with all it started. And any preexec_fn at
            # all keeps Python from vfork, whose child would inherit this program's whole peak.
            self.popen = subprocess.Popen(command, stderr=stderr, preexec_fn=os.setpgrp, **popen)
        self.pid = self.popen.pid
        Child.running.append(self)

    def errors(self):
        return Path(self.log).read_text(errors="replace")

    def wait(self, success=(0,)):
        _, status, usage = os.wait4(self.pid, 0)
        Child.running.remove(self)
        # Popen must not wait for it as well.
        self.popen.returncode = code = os.waitstatus_to_exitcode(status)
        if code not in success:
            raise Failed(f"{self.name} ended with {code}: {self.errors()[-2000:].strip()}")
        peak = int(self.peak.read_text()) if self.peak else usage.ru_maxrss
        in_bytes = sys.platform == "darwin" and not self.peak
        return Usage(usage.ru_utime + usage.ru_stime, peak if in_bytes else peak * 1024)

    @classmethod
    def kill_all(cls):
        for child in cls.running:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.popen.wait()
        cls.running.clear()


def poll(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not happen within {seconds} s")
        time.sleep(0.01)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(pid):
    """Ids of the processes, zombies too, whose parent is `pid`."""
    lines = subprocess.run(["ps", "-A", "-o", "ppid=,pid="], capture_output=True, text=True, check=True).stdout
    return [int(child) for parent, child in map(str.split, lines.splitlines()) if int(parent) == pid]


def is_listening(port, pid="self"):
    """Asks the system, in the network namespace of `pid`: connecting would use up the one connection
    that nc accepts."""
    if sys.platform == "darwin":
        lines = subprocess.run(["netstat", "-anp", "tcp"], capture_output=True, text=True).stdout.splitlines()
        return any(f".{port} " in line and "LISTEN" in line for line in lines)
    rows = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def machine_cpu_s():
    """Seconds that all processors have worked, not counting this process; 0 where unknown."""
    if sys.platform != "linux":
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    own = os.times()
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def wait_for_idle(seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        cpu_s = machine_cpu_s()
        time.sleep(0.5)
        if machine_cpu_s() - cpu_s < 0.5 * os.cpu_count() * DISTURBED:
            return
