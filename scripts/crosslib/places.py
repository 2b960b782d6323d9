#!/usr/bin/env python3
"""Send from and receive into the places of Windows that other systems do not have.

    scripts/crosslib/places.py HERE WINE PROGRAM

HERE is the program for this machine (Linux), PROGRAM that for Windows, which WINE runs; $WINEPREFIX gets a
drive and a network share, which are folders here. Shows what is sent of each under which name, that a device is
refused at once and so is what has no room, that a long path is no obstacle, and what becomes of a read-only
file. Needs Python 3.9.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from names import LIMIT, listing, send, windows


def mount(prefix, name, folder):
    """Gives a folder a name of Windows."""
    place = prefix / "dosdevices" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(folder)


def fill(folder):
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_bytes(b"content")
    (folder / "sub" / "other").write_bytes(b"more")
    return folder


def same(what, one, other):
    good = listing(one) == listing(other)
    print(f"{what}: {'equal' if good else f'{listing(one)} is not {listing(other)}'}")
    return good


def refused(there, path):
    """A device that is named is an error, and nothing waits for it."""
    command = [*there, "send", "--pod", "--port", "0", "-y", path]
    ended = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    said = ended.stderr.decode(errors="replace").strip()
    print(f"send {path}: exit code {ended.returncode}: {said.splitlines()[0] if said else ''}")
    return ended.returncode == 2 and "is a device" in said


def has_no_room(here, there, work):
    """What does not fit is refused before a byte of it is sent."""
    (work / "huge").mkdir()
    with open(work / "huge" / "hole", "wb") as file:
        file.truncate(8 << 40)
    command = [*here, "send", "--pod", "--port", "0", "-y", str(work / "huge")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as sender:
        ticket = sender.stdout.readline().decode().split()[-1]
        command = [*there, "receive", "-y", "-o", windows(work / "small"), ticket]
        # Not for long: what is not refused fills the disk.
        ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
        sender.kill()
    said = ended.stderr.decode(errors="replace")
    good = ended.returncode == 1 and "not enough room in" in said
    print(f"8.8 TB into what has less room: {'refused' if good else said}")
    return good


def has_two_names(here, there, work):
    """The short name of a file: sent as the long one; and what comes under it leaves that file alone."""
    long, short = "averylongname.text", "AVER~4EM.TEX"  # As wine makes it of every such name.
    for folder in ("one", "two"):
        (work / folder).mkdir()
    (work / "two" / long).write_bytes(b"first")
    send(there, windows(work / "two" / short), here, str(work / "one"))
    (work / short).write_bytes(b"second")
    options = ["--on-conflict", "overwrite"]
    send(here, str(work / short), there, windows(work / "two"), options=options)
    sent = [file.name for file in (work / "one").iterdir()]
    came = {file.name: file.read_bytes() for file in (work / "two").iterdir()}
    good = sent == [long] and came == {long: b"first", "AVER~4EM (1).TEX": b"second"}
    print(f"{short} of {long}: sent as {sent}; one of that name came as another: {sorted(came)}")
    return good


def on_a_share_alone(here, there, prefix, work):
    """Receives into a share that no drive leads to, as those of other machines: wine tells of the drive otherwise."""
    *wine, program = there
    inside = prefix / "drive_c" / "transfer.exe"
    shutil.copy(program, inside)
    tree = fill(work / "alone")
    (tree / "sub" / "read-only").write_bytes(b"kept")
    (tree / "sub" / "read-only").chmod(0o444)
    z = prefix / "dosdevices" / "z:"
    leads = z.readlink()
    z.unlink()
    try:
        command = [*wine, "C:\\transfer.exe"]
        send(here, str(tree), command, r"\\server\share\alone")
        good = same("receive into a share that is no drive", tree, work / "share" / "alone" / "alone")
        (tree / "sub" / "other").write_bytes(b"other")
        send(here, str(tree), command, r"\\server\share\alone", options=["--on-conflict", "overwrite"])
        return good and same("the same again", tree, work / "share" / "alone" / "alone")
    finally:
        z.symlink_to(leads)
        inside.unlink()


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: scripts/crosslib/places.py HERE WINE PROGRAM")
    here, there = [os.path.abspath(sys.argv[1])], sys.argv[2:]
    prefix = pathlib.Path(os.environ["WINEPREFIX"])
    good = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_STATE_HOME"] = os.path.join(scratch, "state")
        work = pathlib.Path(scratch)
        drive, share = fill(work / "drive"), fill(work / "share")
        mount(prefix, "x:", drive)
        mount(prefix, "unc/server/share", share)

        into = work / "into"
        send(there, "X:\\", here, str(into))
        good.append(same("send X:\\ arrives as X", drive, into / "X"))
        # What Windows keeps at the top of a drive stays behind, and only that.
        for folder in [drive / "sub", drive]:
            (folder / "$RECYCLE.BIN").mkdir()
            (folder / "$RECYCLE.BIN" / "thrown").write_bytes(b"away")
        whole = pathlib.Path(shutil.copytree(drive, work / "whole"))
        shutil.rmtree(whole / "$RECYCLE.BIN")
        send(there, "X:\\", here, str(work / "clean"))
        good.append(same("send X:\\ without its $RECYCLE.BIN", whole, work / "clean" / "X"))
        send(there, r"\\server\share", here, str(into))
        good.append(same(r"send \\server\share arrives as share", share, into / "share"))
        send(there, r"\\server\share\sub", here, str(into))
        good.append(same(r"send \\server\share\sub arrives as sub", share / "sub", into / "sub"))

        # As "X:\\sub\" arrives: the backslash takes the quote.
        send(there, 'X:\\sub"', here, str(work / "quote"))
        good.append(same(r'send "X:\sub\" arrives as sub', drive / "sub", work / "quote" / "sub"))

        # Windows takes no notice of the dot.
        send(there, "X:\\sub.", here, str(work / "dots"))
        good.append(same("send X:\\sub. arrives as sub", drive / "sub", work / "dots" / "sub"))

        tree = fill(work / "tree")
        send(here, str(tree), there, "X:\\")
        good.append(same("receive -o X:\\", tree, drive / "tree"))
        send(here, str(tree), there, r"\\server\share\in")
        good.append(same(r"receive -o \\server\share\in", tree, share / "in" / "tree"))

        good.append(on_a_share_alone(here, there, prefix, work))

        # wine 8 cannot tell where a folder of so long a path is; a file of one is no obstacle.
        deep = work / "deep"
        bottom = fill(deep.joinpath(*["a folder with a long name"] * 7))
        (bottom / ("n" * 120)).write_bytes(b"far away")
        send(here, str(deep), there, windows(work / "long"))
        good.append(same("receive a path of more than 300 letters", deep, work / "long" / "deep"))
        send(there, windows(deep), here, str(into))
        good.append(same("send a path of more than 300 letters", deep, into / "deep"))

        kept = work / "kept"
        kept.mkdir()
        (kept / "file").write_bytes(b"first")
        (kept / "file").chmod(0o444)
        send(here, str(kept), there, windows(work / "over"))
        good.append(same("a read-only file", kept, work / "over" / "kept"))
        (kept / "file").unlink()
        (kept / "file").write_bytes(b"second")
        (kept / "file").chmod(0o444)
        send(here, str(kept), there, windows(work / "over"), options=["--on-conflict", "overwrite"])
        good.append(same("another in its place", kept, work / "over" / "kept"))

        good.append(has_no_room(here, there, work))
        good.append(has_two_names(here, there, work))
        for name in ("COM1", "aux.txt", r"sub\NUL"):
            good.append(refused(there, windows(work / "tree") + "\\" + name))
        for name in ("x:", "unc/server/share"):
            (prefix / "dosdevices" / name).unlink()
    sys.exit(0 if all(good) else 1)


main()
