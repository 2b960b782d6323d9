"""What the contenders need, installed or built."""

import json
import os
import subprocess
import sys
from pathlib import Path

from .processes import say

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "transfer-bench")
# Where --install puts what Debian does not have, below the cache folder.
CACHED = {"wormhole": "wormhole/bin/wormhole", "twist": "wormhole/bin/twist", "sendme": "sendme/bin/sendme"}


def install_debian(*packages):
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    subprocess.run([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
                    "--no-install-recommends", *packages], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def install_cached(cache):
    """magic-wormhole with its mailbox server from PyPI, sendme from crates.io; what is there stays."""
    if not (cache / CACHED["wormhole"]).exists():
        say("bench: installing magic-wormhole")
        subprocess.run([sys.executable, "-m", "venv", cache / "wormhole"], check=True)
        subprocess.run([cache / "wormhole/bin/pip", "install", "--quiet", "magic-wormhole",
                        "magic-wormhole-mailbox-server"], check=True, stdout=sys.stderr)
    if not (cache / CACHED["sendme"]).exists():
        say("bench: building sendme, which takes minutes")
        # Without its default features: those are for a terminal.
        subprocess.run(["nice", "cargo", "install", "--quiet", "--locked", "--no-default-features", "sendme",
                        "--root", cache / "sendme"], check=True, stdout=sys.stderr)


def cached(cache):
    """The programs that are in the cache, by name."""
    paths = {name: cache / path for name, path in CACHED.items()}
    return {name: path for name, path in paths.items() if path.exists()}


def build(bare=True):
    """The programs of this repository, by name."""
    if subprocess.run([REPOSITORY / "scripts/setup"]).returncode:
        sys.exit(1)  # it has said why
    programs = {"transfer": cargo_build("--bin", "transfer")}
    if bare:
        programs["bare"] = cargo_build("--bench", "bare")
    return programs


def cargo_build(*target):
    say(f"bench: building {target[-1]} (release)")
    result = subprocess.run(
        ["cargo", "build", "--release", "--locked", "--message-format=json-render-diagnostics", *target],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit("bench: the build failed")
    built = [json.loads(line) for line in result.stdout.splitlines()]
    return Path([line["executable"] for line in built
                 if line.get("executable") and line["target"]["name"] == target[-1]][-1])
