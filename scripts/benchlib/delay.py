"""A long path, for kernels without netem: packets of one TUN device come out of another later.

    delay.py MILLISECONDS MBIT_PER_S DEVICE DEVICE

Prints a line when the two devices are there, to be moved to other network namespaces. Each
direction sends at the given rate, queues what comes faster, and drops what would wait longer than
the path is long. Runs until it is killed. Needs Linux and root.
"""

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET = 1 << 16
AT_ONCE = 64  # packets read before any is written: neither may starve


def device(name):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


class Direction:
    def __init__(self, source, sink, delay, bytes_per_s):
        self.source, self.sink, self.delay = source, sink, delay
        self.bytes_per_s = bytes_per_s
        self.free = 0.0  # when the last packet will have left
        self.flying = deque()  # when to arrive, packet

    def take(self):
        try:
            for _ in range(AT_ONCE):
                packet = os.read(self.source, PACKET)
                now = time.monotonic()
                left = max(now, self.free) + len(packet) / self.bytes_per_s
                if left - now < self.delay:
                    self.free = left
                    self.flying.append((left + self.delay, packet))
        except OSError:
            pass  # no more, or the device is down

    def deliver(self):
        now = time.monotonic()
        while self.flying and self.flying[0][0] <= now:
            try:
                os.write(self.sink, self.flying.popleft()[1])
            except OSError:
                pass  # the device is down


def main():
    delay, rate = float(sys.argv[1]) / 1e3, float(sys.argv[2]) * 1e6 / 8
    one, other = map(device, sys.argv[3:])
    directions = {one: Direction(one, other, delay, rate), other: Direction(other, one, delay, rate)}
    print("ready", flush=True)
    while True:
        due = [direction.flying[0][0] for direction in directions.values() if direction.flying]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        for source in select.select(list(directions), [], [], wait)[0]:
            directions[source].take()
        for direction in directions.values():
            direction.deliver()


if __name__ == "__main__":
    main()
