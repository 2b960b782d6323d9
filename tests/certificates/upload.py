"""Uploads files to `transfer serve`, with nothing but Python's own ssl.

    upload.py --cert FILE --key FILE --ca FILE [--hold BYTES FILE] HOST:PORT PATH...

It is a stranger's program: written from docs/protocol.md (sections 12, 4.2 and 5 to 8) and from nothing else, so that
the page, and not a habit of one program, is what two programs agree on. It names no feature, so it is sent no blocks,
and sends no packed items. `--hold` is for the suite: at so many bytes of content it says `holding`, and gives no more
than signs of life until the file is there. Exit codes are those of the page.
"""

import argparse, hashlib, json, os, pathlib, secrets, select, socket, ssl, stat, struct, sys, time

CONTROL, ENTRIES, PLAN, DATA, RETRY, RESULTS = 1, 2, 3, 4, 6, 7
RECORD = 1_049_600  # bytes of plaintext in a record (4.1)
LIFE, LOST = 4, 20  # seconds: say something at least so often; silence that is a lost connection (2)
COMES_BACK = {"interrupted", "no-space", "too-many", "unwritable", "no-files", "disk-gone"}


class Stopped(Exception):
    """The server said `refuse` or `cancel`."""


class Line:
    """Bare records over TLS (4.2), and the messages in them."""

    def __init__(self, options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # asks for a name or address in the certificate
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(options.cert, options.key)
        context.load_verify_locations(options.ca)
        context.set_alpn_protocols(["transfer/2"])
        host, port = options.server.rsplit(":", 1)
        plain = socket.create_connection((host, int(port)), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(10)
        self.tls = context.wrap_socket(plain, server_hostname=host)  # an address sends no SNI
        self.got, self.said, self.heard = bytearray(), time.monotonic(), time.monotonic()
        if self.tls.selected_alpn_protocol() != "transfer/2":
            raise ssl.SSLError("it does not speak transfer/2")
        self.tls.settimeout(LOST)
        self.is_let_in = False

    def send(self, plaintext, last=False):
        self.tls.sendall(struct.pack(">I", len(plaintext) | last << 31) + plaintext)
        self.said = time.monotonic()

    def say(self, kind, last=False, **fields):
        self.send(bytes([CONTROL]) + json.dumps({"type": kind, **fields}).encode(), last)

    def alive(self):
        """A sign of life where one is due; and does not leave what the server says unread."""
        if time.monotonic() - self.said >= LIFE:
            self.say("wait")
        while select.select([self.tls], [], [], 0)[0] or self.tls.pending():
            if not self.more(0):
                break
        while (message := self.whole()) is not None:
            self.skip(*message) or self.out_of_turn(*message)

    def more(self, seconds):
        self.tls.settimeout(seconds)
        try:
            piece = self.tls.recv(65536)
        except (ssl.SSLWantReadError, TimeoutError):
            return False
        finally:
            self.tls.settimeout(LOST)
        if not piece:
            raise ConnectionError("the stream ended before the mark")
        self.got, self.heard = self.got + piece, time.monotonic()
        return True

    def whole(self):
        if len(self.got) < 4:
            return None
        (head,) = struct.unpack_from(">I", self.got)
        size = head & 0x7FFFFFFF
        assert 1 <= size <= RECORD, f"a record of {size} bytes"
        if len(self.got) < 4 + size:
            return None
        record = bytes(self.got[4 : 4 + size])
        del self.got[: 4 + size]
        fields = json.loads(record[1:]) if record[0] == CONTROL else {}
        assert (head >> 31) == (fields.get("type") in ("complete", "refuse", "cancel")), "the mark is elsewhere"
        return record[0], record[1:], fields

    def skip(self, kind, rest, fields):
        if fields.get("type") in ("refuse", "cancel"):
            raise Stopped(fields)
        return kind >= 0x80 or fields.get("type") == "wait" or str(fields.get("type")).startswith("note-")

    def out_of_turn(self, kind, rest, fields):
        raise AssertionError(f"out of turn: kind {kind} {fields}")

    def read(self, *kinds):
        """The next message that is more than a sign of life: its kind, its bytes, its fields if it is a control."""
        while True:
            while (message := self.whole()) is None:
                if not self.more(1):
                    if time.monotonic() - self.heard > LOST:
                        raise ConnectionError("not a byte came")
                    self.alive()
            if not self.skip(*message):
                if message[0] not in kinds:
                    self.out_of_turn(*message)
                return message

    def control(self, *types):
        message = self.read(CONTROL)
        if message[2].get("type") not in types:
            self.out_of_turn(*message)
        return message[2]

    def pages(self, *kinds):
        """A list to its last page (5.2): its kind and its items."""
        kind, page, _ = self.read(*kinds)
        items = page[1:]
        while not page[0]:
            _, page, _ = self.read(kind)
            items += page[1:]
        return kind, items


def tree(paths):
    """What to offer: (name, path, stat), in the order of 6.4, and the names that this program cannot send."""
    found, unsent = [], []
    roots = {os.fsencode(os.path.basename(os.path.abspath(path))) for path in paths}
    for path in map(os.path.abspath, paths):
        todo = [pathlib.Path(path)]
        while todo:
            here = todo.pop()
            name = os.fsencode(os.path.relpath(here, os.path.dirname(path)))
            status = here.lstat()
            try:
                name.decode()
                plain = all(ord(c) > 0x1F and not 0x7F <= ord(c) <= 0x9F for c in name.decode())
            except UnicodeDecodeError:
                plain = False  # `raw-names` is not among the features of this program
            if stat.S_ISLNK(status.st_mode):
                aim = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(os.fsencode(here))))
                plain = plain and not aim.startswith((b"/", b"..")) and aim.split(b"/")[0] in roots
            if not plain or stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                unsent.append(name)
                continue
            found.append((name, here, status))
            if stat.S_ISDIR(status.st_mode):
                todo.extend(here.iterdir())
    return sorted(found, key=lambda entry: entry[0].replace(b"/", b"\0")), unsent


def list_entries(line, entries):
    page = b""
    for name, path, status in entries:
        kind = {stat.S_IFREG: 0, stat.S_IFDIR: 1, stat.S_IFLNK: 2}[stat.S_IFMT(status.st_mode)]
        item = struct.pack(">BHq", kind, status.st_mode & 0o7777, status.st_mtime_ns)
        item += struct.pack(">Q", status.st_size) if kind == 0 else b""
        item += struct.pack(">H", len(name)) + name
        if kind == 2:
            target = os.readlink(os.fsencode(path))
            item += struct.pack(">H", len(target)) + target
        if len(page) + len(item) + 2 > RECORD:
            line.send(bytes([ENTRIES, 0]) + page)
            page = b""
        page += item
    line.send(bytes([ENTRIES, 1]) + page)


def read_plan(line):
    """What not to send, and from where on: {index: None, or (offset, hash)}."""
    (_, items), at, plan = line.pages(PLAN), 0, {}
    while at < len(items):
        index, step = struct.unpack_from(">IB", items, at)
        at += 5
        assert step in (0, 1), f"step {step} was not agreed on"
        plan[index] = None
        if step == 1:
            plan[index] = struct.unpack_from(">Q32s", items, at)
            at += 40
    return plan


class Content:
    """Data items (7.2), as many in a record as fit."""

    def __init__(self, line, hold):
        self.line, self.items, self.sent, self.hold = line, b"", 0, hold

    def put(self, item):
        if 1 + len(self.items) + len(item) > RECORD:
            self.flush()
        self.items += item

    def flush(self):
        if self.items:
            self.line.send(bytes([DATA]) + self.items)
        self.items = b""
        self.line.alive()
        if self.hold and self.sent >= int(self.hold[0]):
            go_on = self.hold[1]
            self.hold.clear()
            print("holding", flush=True)
            while not os.path.exists(go_on):
                time.sleep(0.05)
                self.line.alive()

    def file(self, index, path, size, resume):
        hasher, offset = hashlib.sha256(), 0
        with open(path, "rb") as file:
            if resume:
                for piece in pieces(file, resume[0]):
                    hasher.update(piece)
                    self.line.alive()
                offset = resume[0] if hasher.digest() == resume[1] else 0
                print(f"resume {index} at {offset} of {size}", flush=True)
            if offset == 0:
                hasher = hashlib.sha256()
            file.seek(offset)
            self.put(struct.pack(">BIQ", 1, index, offset))
            for piece in pieces(file, size - offset):
                hasher.update(piece)
                self.put(struct.pack(">BI", 2, len(piece)) + piece)
                self.sent += len(piece)
            changed = file.tell() != size or os.fstat(file.fileno()).st_size != size
        self.put(struct.pack(">BIB", 4, index, 3) if changed else struct.pack(">BQ", 3, size) + hasher.digest())


def pieces(file, left):
    while left and (piece := file.read(min(left, 1 << 18))):
        left -= len(piece)
        yield piece


def session(line, options, run, entries, unsent):
    """One connection, from `welcome` to `bye` (8). Returns the number of entries that did not arrive."""
    welcome = line.control("welcome", "ready")
    print(json.dumps(welcome), flush=True)
    if welcome["type"] == "welcome":
        line.control("ready")
    line.is_let_in = True
    sizes = {i: entry[2].st_size for i, entry in enumerate(entries) if stat.S_ISREG(entry[2].st_mode)}
    folders = sum(stat.S_ISDIR(entry[2].st_mode) for entry in entries)
    line.say("offer", files=len(sizes), folders=folders, links=len(entries) - len(sizes) - folders,
             bytes=sum(sizes.values()), unsent=len(unsent), features=[], run=run,
             **({key: options.claim for key in ["id", "device", "certificate"]} if options.claim else {}))
    list_entries(line, entries)
    plan = read_plan(line)
    wanted = [index for index in sizes if plan.get(index, True)]
    print(f"skip {len(sizes) - len(wanted)}", flush=True)
    while True:
        content = Content(line, options.hold)
        for index in wanted:
            content.file(index, entries[index][1], sizes[index], plan.get(index))
        content.flush()
        line.say("done")
        kind, items = line.pages(RETRY, RESULTS)
        if kind == RESULTS:
            break
        plan, wanted = {}, [index for (index,) in struct.iter_unpack(">I", items)]
    results = list(struct.iter_unpack(">IB", items))
    for index, fault in results:
        print(f"fault {fault}: {os.fsdecode(entries[index][0])!r}", flush=True)
    complete = line.control("complete")
    assert complete["failed"] == len(results), complete
    line.say("bye", last=True)
    print(json.dumps(complete), flush=True)
    return len(results)


def main():
    parser = argparse.ArgumentParser()
    for name in ("--cert", "--key", "--ca"):
        parser.add_argument(name, required=True)
    parser.add_argument("--hold", nargs=2, default=[], metavar=("BYTES", "FILE"))
    parser.add_argument("--claim", help="who to say that this is, in the offer")
    parser.add_argument("server")
    parser.add_argument("paths", nargs="+")
    options = parser.parse_args()
    run, pause, until, line = secrets.token_hex(16), 0.5, time.monotonic() + 60, None
    had_session = False
    while True:
        had_session |= line is not None and line.is_let_in
        try:
            line = None
            line = Line(options)
            entries, unsent = tree(options.paths)  # anew: what was made meanwhile is no less welcome
            failed = session(line, options, run, entries, unsent)
            return 1 if failed or unsent else 0
        except ssl.SSLCertVerificationError as error:
            print(f"this device does not accept the server: {error}", file=sys.stderr)
            return 4
        except ssl.SSLError as error:
            if not (line and line.is_let_in) and "ALERT" in (error.reason or ""):
                print(f"the server does not accept this device: {error}", file=sys.stderr)
                return 4
            lost = error
        except Stopped as stop:
            reason = stop.args[0]["reason"]
            if reason not in COMES_BACK and not (reason == "busy" and had_session):
                print(f"the server said {stop.args[0]}", file=sys.stderr)
                return {"busy": 5, "declined": 7, "conflict": 7}.get(reason, 1)
            lost = stop
        except OSError as error:
            lost = error
        if time.monotonic() > until:
            print(f"the server is gone: {lost}", file=sys.stderr)
            return 5
        print(f"again: {lost}", flush=True)
        time.sleep(pause)
        pause = min(pause * 2, 16)


if __name__ == "__main__":
    sys.exit(main())
