#!/usr/bin/env python3
"""Use the program for Windows on a console: a text that is not ASCII, and Ctrl-C.

    scripts/crosslib/console.py HERE THERE...

HERE is the program for this machine, which sends; THERE what runs that for Windows on it (`wine64
transfer.exe`), which receives in a terminal. After Ctrl-C the exit code must be 130, the sender must have
been told, what came must still be there, and the same line must end with the whole file. Needs Python 3.9.
"""

import os
import pathlib
import pty
import select
import subprocess
import sys
import tempfile
import time

LIMIT = 60
TEXT = "Grüße, naïve – 写真"


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, command):
        self.said = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)

    def read_until(self, is_enough):
        end = time.monotonic() + LIMIT
        while not is_enough():
            if time.monotonic() > end:
                os.kill(self.pid, 9)
                sys.exit(f"console: it hangs; it said {self.said!r}")
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self.master, 65536)
                except OSError:  # It has ended.
                    time.sleep(0.1)

    def code(self):
        """Its exit code, once it has ended."""
        ended = []

        def has_ended():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                ended.append(os.waitstatus_to_exitcode(status))
            return bool(pid)

        self.read_until(has_ended)
        return ended[0]


def offer(here, *words):
    command = [here, "send", "--pod", "--port", "0", "-y", *words]
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return sender, sender.stdout.readline().decode().split()[-1]


def interrupted(work, here, there):
    into = work / "into"
    into.mkdir()
    content = os.urandom(24_000_000)
    (work / "content").write_bytes(content)
    sender, ticket = offer(here, "--limit", "6MB", str(work / "content"))
    receive = [*there, "receive", "-y", "-o", "Z:" + str(into).replace("/", "\\"), ticket]
    try:
        terminal = Terminal(receive)
        terminal.read_until(lambda: any(part.stat().st_size > 3_000_000 for part in into.glob("*.part")))
        os.write(terminal.master, b"\x03")
        code = terminal.code()
        left = sorted(file.name for file in into.iterdir())
        again = subprocess.run(receive, capture_output=True, timeout=LIMIT, check=False)
        _, heard = sender.communicate(timeout=LIMIT)
    finally:
        sender.kill()
    print(f"Ctrl-C: exit code {code}, left {left}; the same line again: exit code {again.returncode}")
    return (
        code == 130
        and ".transfer_lock.json" in left
        and any(name.endswith(".part") for name in left)
        and b"the receiver was interrupted" in heard
        and again.returncode == 0
        and [file.name for file in into.iterdir()] == ["content"]
        and (into / "content").read_bytes() == content
    )


def shown(here, there):
    sender, ticket = offer(here, "--text", TEXT)
    try:
        terminal = Terminal([*there, "receive", "-y", ticket])
        code = terminal.code()
    finally:
        sender.kill()
    is_whole = TEXT.encode() in terminal.said
    print(f"a text on the console: exit code {code}, {'whole' if is_whole else terminal.said}")
    return code == 0 and is_whole


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: scripts/crosslib/console.py HERE THERE...")
    here, there = os.path.abspath(sys.argv[1]), sys.argv[2:]
    with tempfile.TemporaryDirectory() as work:
        os.environ["XDG_STATE_HOME"] = os.path.join(work, "state")
        os.environ["TERM"] = "xterm"
        good = [shown(here, there), interrupted(pathlib.Path(work), here, there)]
    sys.exit(0 if all(good) else 1)


main()
