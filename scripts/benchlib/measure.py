"""One run of a contender, and whether it counts."""

import os
import shutil
import signal
import time

from .cases import MIB, survey
from .processes import Child, Failed, machine_cpu_s, say, wait_for_idle
from .report import file_system

RUN_LIMIT_S = 900


def warm_up(folder, size):
    """Fills the memory that a run's files will take and frees it: in a virtual machine, memory that
    was free for some seconds may have gone back to the host, and its return doubles the cost of
    writing. Without this, the first contender of a round would pay for all."""
    path = folder / "warm-up"
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
    path.unlink()


def measure(lab, contender, source, expected):
    """One run on an idle machine; None if it failed."""
    wait_for_idle()
    warm_up(lab.folder, expected.bytes)
    into = lab.folder / f"arrived.{next(lab.arrivals)}"
    into.mkdir()

    def too_long(*_):
        raise Failed(f"not done within {RUN_LIMIT_S} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(RUN_LIMIT_S)
    try:
        begin, cpu_s = time.monotonic(), machine_cpu_s()
        run = contender.run(lab, source, into)
        signal.alarm(0)
        available = (time.monotonic() - begin) * os.cpu_count()
        run.others = max(0.0, machine_cpu_s() - cpu_s - run.cpu_s) / available
        if [entry.name for entry in into.iterdir()] != [source.name]:
            raise Failed("something else than what was sent arrived")
        if survey(into / source.name).digests[contender.keeps] != expected.digests[contender.keeps]:
            raise Failed("what arrived is not equal to what was sent")
        return run
    except Failed as failure:
        say(f"  {contender.name}: FAILED, does not count: {failure}")
        return None
    finally:
        signal.alarm(0)
        Child.kill_all()
        # Files go at once, for the room they take. But many on ext4 stay until the end: for up to
        # 5 minutes it does not give out freed inodes again, and finding others takes longer.
        if expected.files < 100 or file_system(into) == "tmpfs":
            shutil.rmtree(into)
