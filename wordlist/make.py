#!/usr/bin/env python3
"""Make words.txt, the token words, from the SCOWL lists in a directory (README.md says how).

Usage: make.py SCOWL_DIRECTORY    e.g. /usr/share/dict/scowl

The commonest words come first. A word is kept only if it is at least two edits (a letter changed,
added, dropped, or two neighbours swapped) from every word kept before it, so that no single typo
turns one token word into another. The same input always gives the same list.
"""

import re
import sys
from fnmatch import fnmatchcase
from pathlib import Path

COUNT = 7776  # 12.9 bits a word
LEVELS = (10, 20, 35, 40)  # of SCOWL: 10 holds the commonest words
SPELLINGS = ("english", "american")  # what all of English shares, then American spelling
NAME_LEVELS = (10, 35, 40)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORD = re.compile("[a-z]{3,9}")
# An ending that makes another form of the same word: after taking it off, one of the stems below
# is left. Such forms sound alike ("walk", "walks", "walked") and there are words enough.
ENDINGS = ("s", "es", "d", "ed", "ing", "st", "est")


def read(directory, kind, levels):
    """Word -> level, from the lists named SPELLING-KIND.LEVEL; the lowest level counts."""
    found = {}
    for level in levels:
        for spelling in SPELLINGS:
            path = directory / f"{spelling}-{kind}.{level}"
            if path.exists():  # not every level has names
                for word in path.read_text("iso-8859-1").split():
                    found.setdefault(word, level)
    return found


def excluded_patterns(path):
    """The words and the patterns (`*` stands for any letters) of excluded.txt."""
    lines = (line.split("#")[0].strip() for line in path.read_text("ascii").splitlines())
    return [pattern for line in lines for pattern in line.split()]


def is_inflected(word, words):
    """Whether `word` is another form of a shorter one of `words`."""
    if word.endswith("er") and word[:-1] + "st" in words:  # brighter, brightest
        return True
    for ending in ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 2:
            continue
        stems = [stem, stem + "e"]
        if stem[-1] == "i":  # happy, happily
            stems.append(stem[:-1] + "y")
        if stem[-1] == stem[-2]:  # run, running
            stems.append(stem[:-1])
        if any(len(s) > 2 and s != word and s in words for s in stems):
            return True
    return False


def one_edit_away(word):
    """Every string that one typo makes of `word`."""
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        for letter in LETTERS:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]
        if tail:
            yield head + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory, here = Path(sys.argv[1]), Path(__file__).parent
    words = read(directory, "words", LEVELS)
    if not words:
        sys.exit(f"{directory}: no SCOWL list here (english-words.10 and so on)")
    names = {name.lower() for name in read(directory, "proper-names", NAME_LEVELS)}
    patterns = excluded_patterns(here / "excluded.txt")
    literal = {pattern for pattern in patterns if "*" not in pattern}
    globs = [pattern for pattern in patterns if "*" in pattern]

    kept = set()
    for word in sorted(words, key=lambda word: (words[word], len(word), word)):
        if (
            WORD.fullmatch(word)
            and word not in names
            and word not in literal
            and not any(fnmatchcase(word, pattern) for pattern in globs)
            and not is_inflected(word, words)
            and not any(other in kept for other in one_edit_away(word) if other != word)
        ):
            kept.add(word)
            if len(kept) == COUNT:
                break
    if len(kept) < COUNT:
        sys.exit(f"only {len(kept)} words, {COUNT} wanted")
    (here / "words.txt").write_text("".join(word + "\n" for word in sorted(kept)), "ascii")


if __name__ == "__main__":
    main()
