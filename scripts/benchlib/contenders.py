"""The contenders: each sends the path `source` into the folder `into`, and says what it took."""

import getpass
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Callable, List, Optional

from . import install
from .processes import Child, Failed, Usage, children, find, first_line, free_port, is_listening, poll


@dataclass
class Run:
    wall_s: float
    sender: Usage
    receiver: Usage
    others: float = 0.0  # share of all processors

    @property
    def cpu_s(self):
        return self.sender.cpu_s + self.receiver.cpu_s


SENDER, RECEIVER = "sender", "receiver"


class Lab:
    """The folder all happens in, the programs under test, a private ssh and a private mailbox.
    Both ends are on this machine, unless a subclass puts them elsewhere."""

    def __init__(self, folder, programs):
        self.folder = folder
        self.prefix = {SENDER: [], RECEIVER: []}  # what runs a command at that end
        self.host = self.sender_host = "127.0.0.1"  # the receiving end, and the sending one
        self.reach = ["--pod"]  # what `transfer send` is told of the network
        self.programs = programs  # those that are not on the PATH, by name
        self.logs = itertools.count()
        self.arrivals = itertools.count()
        self.codes = itertools.count(1)
        self.sshd_port = free_port()
        self.mailbox = None  # serves all runs: starting it is no part of any
        self.mailbox_port = free_port()
        self.gnu_time = find("time")
        if self.gnu_time and "GNU" not in first_line(self.gnu_time, "--version"):
            self.gnu_time = None

    def start(self, *command, at=SENDER, **popen):
        popen.setdefault("gnu_time", self.gnu_time)
        return Child([*self.prefix[at], *command], self.folder / f"log.{next(self.logs)}", **popen)

    def own_pid(self, child):
        """GNU time, standing between, does not pass signals on."""
        return children(child.pid)[0] if self.gnu_time else child.pid

    def close(self):
        Child.kill_all()
        if self.mailbox:
            self.mailbox.kill()
            self.mailbox.wait()

    def transfer(self, source, into, *options, reach=None, ticket=lambda typed, port: typed):
        begin = time.monotonic()
        port = free_port()
        sender = self.start(self.programs["transfer"], "send", *(reach or self.reach), "-y", "--port", str(port),
                            *options, source, stdout=subprocess.PIPE)
        with sender.popen.stdout as stdout:
            command = stdout.readline().decode().split()
            if not command:
                sender.wait()
                raise Failed("transfer send printed no ticket")
            receiver = self.start(self.programs["transfer"], "receive", "-y", "-o", into, ticket(command[-1], port),
                                  at=RECEIVER)
            received = receiver.wait()  # first: when it fails, the sender would wait for another
            sent = sender.wait()
        return Run(time.monotonic() - begin, sent, received)

    def direct(self, source, into):
        """Over QUIC, without a relay."""
        def here(typed, port):
            return f"{typed.partition('@')[0]}@{self.sender_host}:{port}"
        return self.transfer(source, into, reach=["--direct", "--relay", "none"], ticket=here)

    def device(self, end):
        return ["env", f"TRANSFER_CONFIG={self.folder}/device-{end}", self.programs["transfer"]]

    def pair(self):
        """Two devices that trust each other; once for all runs, as for a user."""
        for end in (SENDER, RECEIVER):
            subprocess.run([*self.device(end), "device"], check=True, capture_output=True)
        for end, other in ((SENDER, RECEIVER), (RECEIVER, SENDER)):
            certificate = f"{self.folder}/device-{other}/device.pem"
            subprocess.run([*self.device(end), "trust", "import", certificate], check=True, capture_output=True)

    def to_server(self, source, into):
        """Over TLS, to a server that is always there."""
        if not (self.folder / f"device-{SENDER}").exists():
            self.pair()
        port = free_port()
        server = self.start(*self.device(RECEIVER), "serve", into, "--flat", "--pod", "--hidden", "--port", str(port),
                            at=RECEIVER)
        poll(lambda: is_listening(port), "the server listening")
        begin = time.monotonic()
        sent = self.start(*self.device(SENDER), "send", "--to", f"{self.host}:{port}", "-y", source).wait()
        wall_s = time.monotonic() - begin
        os.kill(self.own_pid(server), signal.SIGTERM)
        return Run(wall_s, sent, server.wait())

    def bare(self, source, into):
        begin = time.monotonic()
        receiver = self.start(self.programs["bare"], "receive", into / source.name, at=RECEIVER,
                              stdout=subprocess.PIPE)
        with receiver.popen.stdout as stdout:
            port = stdout.readline().decode().strip()
        if not port:
            receiver.wait()
            raise Failed("the bare pipeline printed no port")
        sent = self.start(self.programs["bare"], "send", source, port).wait()
        received = receiver.wait()
        return Run(time.monotonic() - begin, sent, received)

    def tar_nc(self, source, into):
        port = free_port()
        listen = self.start("nc", "-l", self.host, str(port), at=RECEIVER, stdout=subprocess.PIPE)
        unpack = self.start("tar", "-xpf", "-", "-C", into, at=RECEIVER, stdin=listen.popen.stdout)
        listen.popen.stdout.close()
        poll(lambda: is_listening(port, self.own_pid(listen)), "nc listening")
        begin = time.monotonic()
        pack = self.start("tar", "-cf", "-", "-C", source.parent, source.name, stdout=subprocess.PIPE)
        connect = self.start("nc", "-N", self.host, str(port), stdin=pack.popen.stdout)
        pack.popen.stdout.close()
        sent = pack.wait() + connect.wait()
        received = listen.wait() + unpack.wait()
        return Run(time.monotonic() - begin, sent, received)

    def prepare_ssh(self):
        """Keys and configuration; None, or why ssh cannot be used."""
        for program in ("sshd", "ssh", "ssh-keygen"):
            if not find(program):
                return f"{program} is not installed"
        for key in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key], check=True)
        host_key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[{self.host}]:{self.sshd_port} {host_key}")
        # The sftp server inside sshd: where its program lies differs between systems.
        (self.folder / "sshd_config").write_text(f"""\
ListenAddress {self.host}:{self.sshd_port}
HostKey "{self.folder}/host_key"
AuthorizedKeysFile "{self.folder}/user_key.pub"
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile none
Subsystem sftp internal-sftp
""")
        (self.folder / "ssh_config").write_text(f"""\
Host bench
HostName {self.host}
Port {self.sshd_port}
User {getpass.getuser()}
IdentityFile "{self.folder}/user_key"
IdentitiesOnly yes
UserKnownHostsFile "{self.folder}/known_hosts"
StrictHostKeyChecking yes
BatchMode yes
Compression no
""")
        # Debian's sshd wants this folder, which only its service makes.
        if sys.platform == "linux" and os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        try:
            self.over_ssh("ssh", "-F", self.folder / "ssh_config", "bench", "true")
        except Failed as failure:
            return f"no ssh to this machine: {failure}"
        return None

    def over_ssh(self, *command):
        sshd = self.start(find("sshd"), "-D", "-e", "-f", self.folder / "sshd_config", at=RECEIVER)
        poll(lambda: "Server listening" in sshd.errors(), "sshd listening")
        pid = self.own_pid(sshd)
        begin = time.monotonic()
        sent = self.start(*command).wait()
        wall_s = time.monotonic() - begin
        poll(lambda: not children(pid), "the end of the ssh session")
        os.kill(pid, signal.SIGTERM)
        return Run(wall_s, sent, sshd.wait(success=(0, 255, -signal.SIGTERM)))

    def rsync(self, source, into, *options, ssh_options=()):
        ssh = " ".join(["ssh", "-F", f"'{self.folder}/ssh_config'", *ssh_options])
        return self.over_ssh("rsync", "-a", *options, "-e", ssh, source, f"bench:{into}/")

    def scp(self, source, into):
        return self.over_ssh("scp", "-F", self.folder / "ssh_config", "-q", "-rp", source, f"bench:{into}/")

    def start_mailbox(self):
        """The server at which two wormholes meet; the data goes from one to the other."""
        with open(self.folder / "mailbox.log", "wb") as log:
            self.mailbox = subprocess.Popen(
                [self.programs["twist"], "wormhole-mailbox", f"--port=tcp:{self.mailbox_port}:interface=127.0.0.1",
                 f"--channel-db={self.folder}/mailbox.sqlite"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        poll(lambda: is_listening(self.mailbox_port), "the mailbox server listening")

    def wormhole(self, source, into):
        """Both ends start at once, with a code that is given; a user would have to type it first."""
        if not self.mailbox:
            self.start_mailbox()
        # The relay is a port where nobody listens: the way is direct, or none.
        wormhole = [self.programs["wormhole"], "--relay-url", f"ws://127.0.0.1:{self.mailbox_port}/v1",
                    "--transit-helper", "tcp:127.0.0.1:1"]
        code = f"{next(self.codes)}-bench-mark"
        begin = time.monotonic()
        sender = self.start(*wormhole, "send", "--hide-progress", "--no-qr", "--code", code, source)
        receiver = self.start(*wormhole, "receive", "--hide-progress", "--accept-file", "-o", into, code, at=RECEIVER)
        received = receiver.wait()
        sent = sender.wait()
        return Run(time.monotonic() - begin, sent, received)

    def sendme(self, source, into):
        """Its sender serves until it is interrupted, so the clock stops with the receiver."""
        options = ["--no-progress", "--relay", "disabled"]
        begin = time.monotonic()
        sender = self.start(self.programs["sendme"], "send", *options, "--ticket-type", "addresses", source,
                            stdout=subprocess.PIPE, cwd=self.folder)
        with sender.popen.stdout as stdout:
            lines = (line.decode().split() for line in stdout)
            ticket = next((words[2] for words in lines if words[:2] == ["sendme", "receive"]), None)
            if not ticket:
                sender.wait()
                raise Failed("sendme send printed no ticket")
            received = self.start(self.programs["sendme"], "receive", *options, ticket, at=RECEIVER,
                                  cwd=into).wait()
            wall_s = time.monotonic() - begin
            os.kill(self.own_pid(sender), signal.SIGINT)
            return Run(wall_s, sender.wait(success=(0, 130)), received)


@dataclass
class Contender:
    name: str
    needs: List[str]  # programs; "ssh" stands for an sshd that lets us in
    run: Callable[..., Run]
    only_for: Callable[..., bool] = lambda case: True
    keeps: str = "all"  # or "contents": no modes and no times, so those are not compared
    cipher: Optional[str] = None


def single_file(case):
    return case.single_file


def compressible(case):
    return case.compressible


AES = "aes128-gcm@openssh.com"
CONTENDERS = [
    Contender("transfer", ["transfer"], Lab.transfer),
    Contender("transfer send --to (TLS)", ["transfer"], Lab.to_server),
    Contender("transfer --direct (QUIC)", ["transfer"], Lab.direct),
    Contender("transfer --compress", ["transfer"],
              lambda lab, source, into: lab.transfer(source, into, "--compress=auto"), compressible),
    Contender("bare pipeline (no protocol)", ["bare"], Lab.bare, single_file, keeps="contents"),
    Contender("tar through nc (not encrypted)", ["tar", "nc"], Lab.tar_nc),
    Contender("rsync over ssh", ["rsync", "ssh"], Lab.rsync),
    Contender("rsync over ssh, aes128-gcm", ["rsync", "ssh"],
              lambda lab, source, into: lab.rsync(source, into, ssh_options=("-c", AES)), cipher=AES),
    Contender("rsync -z over ssh", ["rsync", "ssh"],
              lambda lab, source, into: lab.rsync(source, into, "-z"), compressible),
    Contender("scp", ["scp", "ssh"], Lab.scp),
    Contender("magic-wormhole", ["wormhole", "twist"], Lab.wormhole, keeps="contents"),
    Contender("sendme", ["sendme"], Lab.sendme, keeps="contents"),
]


def why_not(contender, programs, ssh_problem):
    """None, or why this machine cannot run the contender."""
    for program in contender.needs:
        if program not in programs and not find(program):
            return f"{program} is not installed" + ("; --install does" if program in install.CACHED else "")
    if "ssh" in contender.needs and ssh_problem:
        return ssh_problem
    if contender.cipher:
        ciphers = subprocess.run(["ssh", "-Q", "cipher"], capture_output=True, text=True).stdout
        if contender.cipher not in ciphers.split():
            return f"ssh has no {contender.cipher}"
    if "nc" in contender.needs:
        usage = subprocess.run(["nc", "-h"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if "OpenBSD netcat" not in usage.stdout + usage.stderr:
            return "nc is not OpenBSD's"
    return None
