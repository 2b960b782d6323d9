#!/usr/bin/env python3
"""Use the program for Windows on a console: a text that is not ASCII, a question, keys, and the ways to end
a program.

    scripts/crosslib/console.py HERE EVENT WINE PROGRAM

HERE is the program for this machine, which sends; PROGRAM that for Windows, which WINE runs and which receives;
EVENT is event.c, built for Windows. `p` must pause and go on. After `q` and Ctrl-C in a terminal, and after
Ctrl-Break and a closed window, the exit code must be 130, the sender must have been told, what came must still be there, and the same line
must end with the whole file. Needs Python 3.9.
"""

import os
import pathlib
import pty
import re
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

    def write(self, keys):
        os.write(self.master, keys)

    def wait(self, seconds):
        end = time.monotonic() + seconds
        self.read_until(lambda: time.monotonic() > end)

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


def windows(path):
    return "Z:" + str(path).replace("/", "\\")


def pause_and_quit(terminal, size):
    """Presses `p` twice and `q`; how much has come must stand still between the first two."""
    terminal.write(b"p")
    terminal.read_until(lambda: b"paused" in terminal.said)
    terminal.wait(1)  # What was on its way.
    paused = size()
    terminal.wait(1)
    if size() != paused:
        sys.exit("console: it goes on, though it is paused")
    terminal.write(b"p")
    terminal.read_until(lambda: size() > paused)
    terminal.write(b"q")


def interrupted(here, event, wine, program, what, way):
    with tempfile.TemporaryDirectory() as work:
        return interrupted_in(pathlib.Path(work), here, event, wine, program, what, way)


def interrupted_in(work, here, event, wine, program, what, way):
    """`way` is what is done in a terminal, or the number of an event of Windows."""
    into = work / "into"
    into.mkdir()
    content = os.urandom(24_000_000)
    (work / "content").write_bytes(content)
    sender, ticket = offer(here, "--limit", "6MB", str(work / "content"))
    words = ["receive", "-y", "-o", windows(into), ticket]
    receive = [wine, program, *words]

    def size():
        return sum(part.stat().st_size for part in into.glob("*.part"))

    def has_begun():
        return size() > 3_000_000

    try:
        if callable(way):
            terminal = Terminal(receive)
            terminal.read_until(has_begun)
            way(terminal, size)
            code = terminal.code()
        else:
            told = [wine, event, str(way), windows(program), *words]
            with subprocess.Popen(told, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
                end = time.monotonic() + LIMIT
                while not has_begun() and process.poll() is None and time.monotonic() < end:
                    time.sleep(0.1)
                process.communicate(b"!", timeout=LIMIT)
                code = process.returncode
        left = sorted(file.name for file in into.iterdir())
        again = subprocess.run(receive, capture_output=True, timeout=LIMIT, check=False)
        _, heard = sender.communicate(timeout=LIMIT)
    finally:
        sender.kill()
    print(f"{what}: exit code {code}, left {left}; the same line again: exit code {again.returncode}")
    return (
        code == 130
        and ".transfer_lock.json" in left
        and any(name.endswith(".part") for name in left)
        and re.search(b"the receiver (was interrupted|stopped)", heard)
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


def asked(here, there):
    """Questions of a sender: one is answered, and the next is dropped when the other side is there."""
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        (work / "tree" / "node_modules").mkdir(parents=True)
        (work / "tree" / "node_modules" / "dependency").write_bytes(b"again")
        (work / "tree" / "content").write_bytes(os.urandom(200_000))
        (work / "tree" / "package.json").write_bytes(b"{}")
        into = work / "into"
        send = ["send", "--pod", "--port", "0", windows(work / "tree")]
        terminal = Terminal([*there, *send])
        terminal.read_until(lambda: b"leave out" in terminal.said)
        terminal.write(b"k")
        terminal.read_until(lambda: b"now and later" in terminal.said)
        terminal.write(b"ky")
        ticket = []

        def has_ticket():
            ticket[:] = re.findall(rb"transfer receive ([0-9.]+:[0-9]+:[a-z0-9-]+)", terminal.said)
            return bool(ticket) and b"compression?" in terminal.said

        terminal.read_until(has_ticket)
        receive = [here, "receive", "-y", "-o", str(into), ticket[0].decode()]
        with subprocess.Popen(receive, stderr=subprocess.PIPE) as receiver:
            terminal.read_until(lambda: receiver.poll() is not None)
        code = terminal.code()
        came = sorted(str(file.relative_to(into)) for file in into.rglob("*") if file.is_file())
    print(f"questions: exit code {code}, {came} came")
    return (
        code == 0
        and came == ["tree/content", "tree/package.json"]
        and b"nobody answered" in terminal.said
    )


def main():
    if len(sys.argv) != 5:
        sys.exit("usage: scripts/crosslib/console.py HERE EVENT WINE PROGRAM")
    here, event, wine, program = (os.path.abspath(word) for word in sys.argv[1:])
    with tempfile.TemporaryDirectory() as work:
        os.environ["XDG_STATE_HOME"] = os.path.join(work, "state")
        os.environ["TERM"] = "xterm"
        good = [shown(here, [wine, program])]
        good.append(asked(here, [wine, program]))
        ways = (
            ("p and q", pause_and_quit),
            ("Ctrl-C", lambda terminal, _: terminal.write(b"\x03")),
            ("Ctrl-Break", 1),
            ("a closed window", 2),
        )
        for what, way in ways:
            good.append(interrupted(here, event, wine, program, what, way))
    sys.exit(0 if all(good) else 1)


main()
