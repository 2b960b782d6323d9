"""What is sent, and whether that is what arrived."""

import array
import hashlib
import itertools
import math
import operator
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .install import REPOSITORY
from .processes import say

MIB = 1 << 20


def random_file(path, size):
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


def text_file(path, size):
    """Text files of programmers, one after the other; from the first again if they do not suffice."""
    with open(path, "wb") as file:
        texts = text_files()
        if next(texts, None) is None:
            raise SystemExit("bench: found no text files")
        while file.tell() < size:
            for _, original in text_files():
                file.write(Path(original).read_bytes())
                if file.tell() >= size:
                    break
        file.truncate(size)


def numeric_file(path, size):
    """What a sensor of 24 bits would give as 32-bit floats: a smooth signal, and noise of a
    thousandth of it, which fills the lower half of the mantissa. Always the same."""
    chance = random.Random(1)
    count = MIB  # floats in a block
    wave = [1.5 + math.sin(2 * math.pi * 5 * n / count) / 3 for n in range(count)]
    noise = [chance.gauss(0, 0.001) for _ in range(count)]
    with open(path, "wb") as file:
        for block in range(size // (4 * count)):
            # Every block gets its own strength, and its own piece of noise for each place.
            strength = itertools.repeat(1 + block % 7 / 10)
            shift = chance.randrange(count)
            shifted = itertools.chain(noise[shift:], noise[:shift])
            array.array("f", map(operator.add, map(operator.mul, wave, strength), shifted)).tofile(file)


def source_tree(path, count):
    """Copies of text files from where programmers have many, in their folders."""
    copied = 0
    for place, original in itertools.islice(text_files(), count):
        number, root = place
        copy = path / str(number) / os.path.relpath(original, root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(original, copy)
        copied += 1
    if copied < count:
        say(f"bench: found only {copied} text files")


def tiny_tree(path, count):
    """Files of 0 to 2 KB, a hundred in a folder."""
    chance = random.Random(2)
    for number in range(count):
        folder = path / f"{number // 100:04}"
        if number % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:06}").write_bytes(chance.randbytes(chance.randrange(2049)))


def text_files():
    """Text files, each with the numbered folder it was found below."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, cwd=REPOSITORY)
    cargo = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    places = [
        Path(sysroot.stdout.strip() or "/nonexistent", "lib/rustlib/src"),
        cargo / "registry/src",
        Path("/usr/include"),
        Path("/usr/share"),
    ]
    for place in enumerate(places):
        for folder, folders, files in os.walk(place[1]):
            folders.sort()
            for name in sorted(files):
                original = os.path.join(folder, name)
                if is_text(original):
                    yield place, original


def is_text(path):
    """A regular file of at most 1 MiB without a NUL in its beginning."""
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > MIB:
        return False
    with open(path, "rb") as file:
        return b"\0" not in file.read(8192)


@dataclass
class Case:
    name: str
    make: Callable[[Path, int], None]
    size: int  # bytes of a file, or number of files
    small: int  # the same for --small
    single_file: bool = True
    compressible: bool = False


CASES = {
    "file": Case("random file", random_file, 2048 * MIB, 64 * MIB),
    "text": Case("source text, one file", text_file, 512 * MIB, 16 * MIB, compressible=True),
    "numeric": Case("noisy 32-bit floats, one file", numeric_file, 512 * MIB, 16 * MIB, compressible=True),
    "tree": Case("source files", source_tree, 20_000, 2_000, single_file=False),
    "tiny": Case("tiny files", tiny_tree, 100_000, 2_000, single_file=False),
}


@dataclass
class Tree:
    files: int
    bytes: int
    digests: dict  # by what a contender keeps


def survey(root):
    """What a file or folder holds. Digests, not a table: this program's memory is the floor of
    what it can measure."""
    tree = Tree(0, 0, {})
    everything, contents = hashlib.sha256(), hashlib.sha256()
    for path in walk(root):
        stat = path.lstat()
        name = os.fsencode(path.relative_to(root))
        if path.is_dir():
            everything.update(b"folder %b\0%o\0" % (name, stat.st_mode))
            contents.update(b"folder %b\0" % name)
            continue
        tree.files += 1
        tree.bytes += stat.st_size
        everything.update(b"file %b\0%o %d\0" % (name, stat.st_mode, int(stat.st_mtime)))
        contents.update(b"file %b\0%d\0" % (name, stat.st_size))
        with open(path, "rb") as file:
            while block := file.read(MIB):
                contents.update(block)
    tree.digests["contents"] = contents.hexdigest()
    everything.update(contents.digest())
    tree.digests["all"] = everything.hexdigest()
    return tree


def walk(root):
    if root.is_file():
        yield root
        return
    for folder, folders, files in os.walk(root):
        folders.sort()
        yield Path(folder)
        for name in sorted(files):
            yield Path(folder, name)
