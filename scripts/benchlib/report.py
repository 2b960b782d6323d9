"""Results of `scripts/bench` as tables; they are plain data, as --json writes them."""

import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from .cases import MIB
from .processes import DISTURBED, find, first_line


def to_json(run):
    return {**vars(run), "cpu_s": run.cpu_s, "sender": vars(run.sender), "receiver": vars(run.receiver)}


def show(result):
    """Prints the tables and returns the number of runs that failed."""
    print(f"\n{result['machine']}. Loopback, {result['rounds']} interleaved rounds: median (lowest–highest). "
          "Ratios: the median of those within a round.")
    for title, case in result["cases"].items():
        table(title, case)
    print(f"\nMB = 10⁶ bytes, GB = 10⁹; peak memory is that of the largest process, "
          f"at least {result['floor_bytes'] / MIB:.0f} MiB.")
    compared = [name for name in result["contents_only"] if any(name in case["runs"] for case in result["cases"].values())]
    if compared:
        print(f"- Names and contents only were compared for: {', '.join(compared)}.")
    for line in result["notes"]:
        print(f"- {line}")
    runs = [run for case in result["cases"].values() for done in case["runs"].values() for run in done]
    disturbed = sum(run["others"] > DISTURBED for run in runs if run)
    if disturbed:
        print(f"\n**Other processes took more than a tenth of the processors during {disturbed} runs.**")
    failures = runs.count(None)
    if failures:
        print(f"\n**{failures} runs failed and do not count.**")
    return failures


def table(title, case):
    print(f"\n### {title}: {case['files']:,} {'file' if case['files'] == 1 else 'files'}, {case['bytes'] / 1e6:,.0f} MB\n")
    print("| | wall, s | MB/s | CPU-s/GB, both ends | peak MiB, sender | receiver "
          "| transfer's time ÷ this | transfer's CPU ÷ this |")
    print("|---|---|---|---|---|---|---|---|")
    for name, runs in case["runs"].items():
        done = [run for run in runs if run]
        if not done:
            print(f"| {name} | failed | | | | | | |")
            continue
        cells = [
            name,
            spread([run["wall_s"] for run in done], 2),
            spread([case["bytes"] / 1e6 / run["wall_s"] for run in done], 0),
            spread([run["cpu_s"] / (case["bytes"] / 1e9) for run in done], 2),
            spread([run["sender"]["peak_bytes"] / MIB for run in done], 0),
            spread([run["receiver"]["peak_bytes"] / MIB for run in done], 0),
            *(paired(case["runs"]["transfer"], runs, key) if name != "transfer" else "" for key in ("wall_s", "cpu_s")),
        ]
        print("| " + " | ".join(cells) + " |")


def paired(ours, theirs, key):
    """The median of the ratios within each round in which both succeeded."""
    ratios = [one[key] / other[key] for one, other in zip(ours, theirs) if one and other]
    return f"{statistics.median(ratios):.2f}" if ratios else ""


def spread(values, digits):
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def machine(folder):
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    else:
        model = first_line("sysctl", "-n", "machdep.cpu.brand_string")
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, data on {file_system(folder)}"


def file_system(folder):
    if sys.platform != "linux":
        return "?"
    return subprocess.run(["df", "--output=fstype", folder], capture_output=True, text=True).stdout.split()[-1]


def versions(programs):
    asked = [["transfer", "--version"], ["rustc", "--version"], ["tar", "--version"], ["nc", "-h"],
             ["rsync", "--version"], ["ssh", "-V"], ["wormhole", "--version"], ["sendme", "--version"]]
    asked = [[str(programs.get(name, name)), option] for name, option in asked]
    return [first_line(*command) for command in asked if find(command[0])]
