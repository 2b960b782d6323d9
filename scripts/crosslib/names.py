#!/usr/bin/env python3
"""Send a tree of odd names to another system and back, and tell what became of each name.

    scripts/crosslib/names.py HERE THERE...

HERE is the program for this machine (Linux), THERE what runs that for Windows on it (`wine64
transfer.exe`). The tree goes there twice, which must make nothing new the second time, and comes
back. Then a tree of everything that both systems can hold goes from there to here and back, and
must be equal in names, contents, times and the one bit of a mode that Windows has. Writes a table of
what is not the same everywhere; the exit code is 1 if something came that nobody was told of.
Needs Python 3.9.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

LIMIT = 120
OLD = -299_000_000  # 1960
LONG = b"n" * 200

# Files, by path; the content of each is its own path, so that it is known under any name.
NAMES = [
    b"a:b",
    b"a?b",
    b"a_b",
    b"q?",
    b"less<more>",
    b'quote"pipe|star*',
    b"back\\slash",
    b"con",
    b"aux.txt",
    b"COM1",
    b"lpt9.log",
    b"CONIN$",
    b"dot.",
    b"space ",
    b"dots and space.. ",
    b" in front",
    b"-dash",
    b".hidden",
    b"~$tilde",
    b"100%PATH%",
    b"tab\there",
    b"new\nline",
    b"no text \xff\xe9",
    "café composed".encode(),
    "cafe\u0301 decomposed".encode(),
    "Grüße 写真 🚀".encode(),
    "right \u202e to left".encode(),
    b"README",
    b"readme",
    b"Twins/x",
    b"twins/y",
    b"nul/in a device",
    b"folder./in a dot",
    b"c:d/e:f/g",
    b"COM1.d/aux/prn.txt",
    LONG,
    b"z.part",
    b"$RECYCLE.BIN/x",
    b"Thumbs.db",
]
# What both systems can hold.
PLAIN = [name for name in NAMES if not re.search(rb'[<>:"|?*\\\t\n\xff]', name)]
PLAIN = [name for name in PLAIN if not re.search(rb"(?i)[. ](/|$)|(^|/)(con|aux|prn|nul|com1|lpt9|conin\$)", name)]
PLAIN = [name for name in PLAIN if name not in (b"readme", b"twins/y")]


def make(root, names):
    for name in names:
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name)
        os.utime(path, ns=(0, 1_000_000_000 * len(name) + 123_456_700))
    os.makedirs(os.path.join(root, b"empty folder"))
    pathlib.Path(os.fsdecode(root), "empty").write_bytes(b"")
    read_only = pathlib.Path(os.fsdecode(root), "read-only")
    read_only.write_bytes(b"read-only")
    read_only.chmod(0o444)
    os.makedirs(os.path.join(root, b"old"))
    pathlib.Path(os.fsdecode(root), "old", "old file").write_bytes(b"old/old file")
    for old in (b"old/old file", b"old"):
        os.utime(os.path.join(root, old), (OLD, OLD))


def listing(root):
    """Everything beneath a folder: kind, content, time in pieces of 100 ns, whether it may be written."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind, content = "folder", b""
            if os.path.islink(path):
                kind, content = "link", os.readlink(path)
            elif name in files:
                kind = "file"
                with open(path, "rb") as file:
                    content = file.read()
            writable = kind != "file" or bool(status.st_mode & 0o200)
            found[os.path.relpath(path, root)] = (kind, content, status.st_mtime_ns // 100, writable)
    return found


def windows(path):
    return "Z:" + os.fsdecode(path).replace("/", "\\")


def send(sender, path, receiver, into, codes=(0,), options=()):
    """One transfer; what the receiver said, once both ended with one of these exit codes."""
    command = [*sender, "send", "--pod", "--port", "0", "-y", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
        try:
            ticket = sending.stdout.readline().decode().split()[-1]
            command = [*receiver, "receive", "-v", "-y", *options, "-o", into, ticket]
            received = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
            _, said = sending.communicate(timeout=LIMIT)
        except BaseException:
            sending.kill()
            raise
    said, heard = said.decode(errors="replace"), received.stderr.decode(errors="replace")
    if sending.returncode not in codes or received.returncode != sending.returncode:
        sys.exit(f"names: exit codes {sending.returncode} and {received.returncode}\n{said}\n{heard}")
    return heard


def shown(name):
    if name is None:
        return "-"
    text = "".join(
        c if c.isprintable() and c not in "`|" else c.encode("unicode_escape").decode() if c not in "`|" else f"\\x{ord(c):02x}"
        for c in name.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
    )
    return "`" + text.replace("n" * 200, "nnn…") + "`"


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: scripts/crosslib/names.py HERE THERE...")
    here, there = [os.path.abspath(sys.argv[1])], sys.argv[2:]
    with tempfile.TemporaryDirectory() as work:
        os.environ["XDG_STATE_HOME"] = os.path.join(work, "state")
        root = os.fsencode(work)
        tree, into, back = (os.path.join(root, name) for name in (b"tree", b"into", b"back"))
        make(tree, NAMES)
        os.symlink("empty", os.path.join(tree, b"link"))
        offered = listing(tree)
        # Not every Windows makes links; one that does not arrive must be told of.
        heard = send(here, os.fsdecode(tree), there, windows(into), (0, 3))
        arrived = listing(os.path.join(into, b"tree"))
        send(here, os.fsdecode(tree), there, windows(into), (0, 3))
        if listing(os.path.join(into, b"tree")) != arrived:
            sys.exit("names: the second transfer changed what was there")
        send(there, windows(os.path.join(into, b"tree")), here, os.fsdecode(back))
        returned = listing(os.path.join(back, b"tree"))
        failed = report(offered, arrived, returned, heard)

        plain, here_too, again = (os.path.join(root, name) for name in (b"plain", b"here", b"again"))
        make(plain, PLAIN)
        send(there, windows(plain), here, os.fsdecode(here_too))
        send(here, os.path.join(os.fsdecode(here_too), "plain"), there, windows(again))
        for system, copy in (("Linux", here_too), ("Windows", again)):
            if listing(os.path.join(copy, b"plain")) != listing(plain):
                failed.append(f"what both can hold is not equal on {system}")
        print(f"\n{len(listing(plain))} entries that both can hold: there and back, equal in names, contents and times")
    for failure in failed:
        print(f"names: {failure}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def report(offered, arrived, returned, heard):
    failed = []
    files = {entry[1]: path for path, entry in arrived.items() if entry[0] == "file"}
    backs = {entry[1]: path for path, entry in returned.items() if entry[0] == "file"}
    print("| On Linux | On Windows | Back on Linux |\n|---|---|---|")
    equal = 0
    for path, entry in sorted(offered.items()):
        kind, content, time, _ = entry
        if kind == "folder":
            continue
        there = files.get(content) if kind == "file" else path if path in arrived else None
        back = backs.get(content) if kind == "file" else path if path in returned else None
        if there == path and back == path:
            equal += 1
            if not arrived[path] == returned[path] == entry:
                failed.append(f"{path!r}: {entry}, there {arrived[path]}, back {returned[path]}")
            continue
        print(f"| {shown(path)} | {shown(there)} | {shown(back)} |")
        if there is None and f"tree/{os.fsdecode(path)}: " not in heard:
            failed.append(f"{path!r} is not there, and the receiver did not say so")
        if there is not None and (arrived[there][2], returned[back][2]) != (time, time):
            failed.append(f"{path!r} has another time")
        if there != path and there is not None and os.path.basename(there) != os.path.basename(path) and os.fsdecode(os.path.basename(there)) not in heard:
            failed.append(f"{path!r} became {there!r}, and the receiver did not say so")
    print(f"\n{equal} others have the same names everywhere")
    return failed


if __name__ == "__main__":
    main()
