"""Two ends in network namespaces of their own, and the way between them. Needs Linux and root.

Both ends have a tailnet address and a `tailscale` that tells of the other, so that `transfer` runs
as it does over a tailnet, but without WireGuard.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from .contenders import RECEIVER, SENDER, Lab
from .install import REPOSITORY

ADDRESS = {SENDER: "100.64.0.1", RECEIVER: "100.64.0.2"}
FIXTURE = REPOSITORY / "tests/fixtures/tailscale/status_tun_4peers.json"
DEVICE = "tailscale0"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Network:
    """Both ends, and nothing between them yet."""

    def __init__(self, sysctls, congestion=None):
        self.namespace = {end: f"transfer-bench-{os.getpid()}-{end}" for end in (SENDER, RECEIVER)}
        self.sysctls = sysctls
        self.congestion = congestion  # control, where it is not the system's

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self):
        for namespace in self.namespace.values():
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        self.join()
        for end, namespace in self.namespace.items():
            ip("-n", namespace, "address", "add", f"{ADDRESS[end]}/10", "dev", DEVICE)
            ip("-n", namespace, "link", "set", DEVICE, "up")
            if self.congestion:
                # By the route: a namespace's sysctl takes only what the machine's allows everyone.
                ip("-n", namespace, "route", "change", "100.64.0.0/10", "dev", DEVICE, "proto", "kernel", "scope", "link",
                   "src", ADDRESS[end], "congctl", self.congestion)
            for setting in self.sysctls:
                subprocess.run(["ip", "netns", "exec", namespace, "sysctl", "-q", "-w", setting], check=True)

    def __exit__(self, *_):
        for namespace in self.namespace.values():
            subprocess.run(["ip", "netns", "delete", namespace])


class Link(Network):
    """A cable of 1 Gbit/s. The burst holds some of the packets of 64 KiB that the kernel hands down;
    tbf counts the headers that they will have. The queue holds a hundredth of a second."""

    mbit_per_s = 1000

    def join(self):
        one, other = self.namespace.values()
        ip("-n", one, "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", other)
        for namespace in (one, other):
            subprocess.run(["tc", "-n", namespace, "qdisc", "add", "dev", DEVICE, "root", "tbf",
                            "rate", f"{self.mbit_per_s}mbit", "burst", "256kb", "latency", "10ms"], check=True)


class LongPath(Network):
    """50 ms each way at 1 Gbit/s. Packets are large, since a Python program carries each of them."""

    mbit_per_s = 1000
    delay_ms = 50
    delay = None

    def join(self):
        names = [f"bench{os.getpid()}{letter}" for letter in "ab"]
        self.delay = subprocess.Popen(
            [sys.executable, "-B", Path(__file__).with_name("delay.py"), str(self.delay_ms), str(self.mbit_per_s), *names],
            stdout=subprocess.PIPE)
        self.delay.stdout.readline()
        for name, namespace in zip(names, self.namespace.values()):
            ip("link", "set", name, "netns", namespace)
            ip("-n", namespace, "link", "set", name, "name", DEVICE, "mtu", "9000", "txqueuelen", "10000")

    def __exit__(self, *_):
        if self.delay:
            self.delay.kill()
            self.delay.wait()
        super().__exit__()


class NetworkLab(Lab):
    """Runs the contenders at the ends of a network."""

    def __init__(self, folder, programs, network):
        super().__init__(folder, programs)
        self.host, self.sender_host = ADDRESS[RECEIVER], ADDRESS[SENDER]
        self.reach = []
        for end, namespace in network.namespace.items():
            (folder / end).mkdir(exist_ok=True)
            tailscale = folder / end / "tailscale"
            status = folder / end / "status.json"
            status.write_text(tailscale_status(end))
            tailscale.write_text(f"#!/bin/sh\n[ \"$*\" = 'status --json' ] && exec cat '{status}'\nexit 64\n")
            tailscale.chmod(0o755)
            self.prefix[end] = ["ip", "netns", "exec", namespace, "env", f"TRANSFER_TAILSCALE={tailscale}"]

    def iperf3(self, size):
        """Bits a second of one TCP connection that carries `size` bytes."""
        server = self.start("iperf3", "--server", "--one-off", "--forceflush", at=RECEIVER, stdout=subprocess.PIPE)
        with server.popen.stdout as stdout:
            next(line for line in stdout if b"listening" in line)
            answer = subprocess.run([*self.prefix[SENDER], "iperf3", "--client", self.host, "--bytes", str(size), "--json"],
                                    capture_output=True, text=True, check=True).stdout
            stdout.read()
        server.wait()
        return json.loads(answer)["end"]["sum_received"]["bits_per_second"]


def tailscale_status(own):
    """What `tailscale status --json` says at this end, made from a real answer."""
    status = json.loads(FIXTURE.read_text())
    like = status["Self"]

    def node(end):
        return {**like, "ID": f"n{end}CNTRL", "HostName": end, "DNSName": f"{end}.tail5f0c1e.ts.net.",
                "TailscaleIPs": [ADDRESS[end]], "KeyExpiry": None}

    status["Self"] = node(own)
    status["TUN"] = True
    status["TailscaleIPs"] = [ADDRESS[own]]
    status["Peer"] = {f"nodekey:{end}": node(end) for end in ADDRESS if end != own}
    return json.dumps(status)
