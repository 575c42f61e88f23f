#!/usr/bin/env python3
"""Daemons that misbehave, each in one way, on top of the example daemon; a line on stdout per misdeed.

Usage: fake_daemon.py EXAMPLE SOCKET ROOT MODE
"""
import importlib.util
import os
import re
import signal
import socket
import struct
import sys
import time

SPEC = importlib.util.spec_from_file_location("daemon", sys.argv[1])
example = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(example)


def version(status):
    """As Holdfast's own daemon says it: the two serve the same objects."""
    times = [b"%d.%09d" % divmod(ns, 10**9) for ns in (status.st_mtime_ns, status.st_ctime_ns)]
    return b"dir1:%s:%d:%d:%s" % (times[0], status.st_size, status.st_ino, times[1])


example.version = version


def did(what):
    print(what, flush=True)


class Device:
    """The session's socket; lets a fake say something before each answer, or in its stead."""

    def __init__(self, real, fake):
        self.real, self.fake = real, fake

    def send(self, text):
        if text.startswith(b"copen"):
            text = self.fake.copen(text)
        return self.real.send(text)

    def __getattr__(self, name):
        return getattr(self.real, name)


class Lease:
    """An object's descriptor, likewise."""

    def __init__(self, real, fake):
        self.real, self.fake = real, fake

    def send(self, text):
        if text.startswith(b"cread"):
            self.fake.before_cread(self, text)
        return self.real.send(text)

    def __getattr__(self, name):
        return getattr(self.real, name)


class Fake(example.Daemon):
    """Behaves; the subclasses do not."""

    def __init__(self, device, root):
        super().__init__(device, root)
        self.device = Device(device, self)

    def open(self, msg_id, object_id, message, fds):
        answer = super().open(msg_id, object_id, message, fds)
        if object_id in self.objects:
            data_fd, lease, source, opened = self.objects[object_id]
            self.objects[object_id] = data_fd, Lease(lease, self), source, opened
        return answer

    def copen(self, text):
        return text

    def before_cread(self, lease, text):
        pass


def is_data(message):
    volume, = struct.unpack_from("=I", message, 16)
    return message[32 + volume:33 + volume] == b"D"


class LeaseAfterRead(Fake):
    """Closes the object's descriptor after every READ, and lives on."""

    def read(self, msg_id, object_id, *where):
        super().read(msg_id, object_id, *where)
        self.close(object_id)
        did("closed")


class Garbage(Fake):
    noise = (b"\x00\xff\x80garbage\n", b"copen", b"copen ,", b"cread", b"copen -1,-1", b"\n", b"cread 1,2,3",
             b"copen 99999999999999999999,0", b"present", b"present x,y", b"credit 0", b"credit -1", b"bind ondemand")

    def say(self, socket_):
        for text in self.noise:
            socket_.send(text)
        did("garbage")

    def copen(self, text):
        self.say(self.device.real)
        return text

    def before_cread(self, lease, text):
        self.say(lease.real)


class LongCommands(Garbage):
    noise = (b"x" * 4096, b"copen 1," + b"1" * 4088, b"cread " + b"7" * 4090)


class WrongId(Fake):
    def copen(self, text):
        self.device.real.send(re.sub(rb"\d+", b"4000000000", text, count=1))
        did("wrong id")
        return text

    def before_cread(self, lease, text):
        lease.real.send(b"cread 4000000000")
        did("wrong id")


class Twice(Fake):
    def copen(self, text):
        self.device.real.send(text)
        did("twice")
        return text

    def before_cread(self, lease, text):
        lease.real.send(text)
        did("twice")


class WrongSize(Fake):
    """Says of each file that it is a block longer."""

    def open(self, msg_id, object_id, message, fds):
        answer = super().open(msg_id, object_id, message, fds)
        if not is_data(message) or b",-" in answer:
            return answer
        did("wrong size")
        return re.sub(rb",(\d+)", lambda size: b",%d" % (int(size[1]) + 4096), answer)


class Unwritten(Fake):
    """Says that it has written what it has not."""

    def read(self, msg_id, object_id, offset, length):
        did("not written")
        self.objects[object_id][1].real.send(b"present %d,%d" % (offset, length))
        self.objects[object_id][1].real.send(b"cread %d" % msg_id)


class OtherLease(Fake):
    """Answers a READ on every other object's descriptor first."""

    def before_cread(self, lease, text):
        for _, other, _, _ in self.objects.values():
            if other.real is not lease.real:
                other.real.send(text)
                did("other lease")


class BeyondEnd(Fake):
    def before_cread(self, lease, text):
        for where in (b"0,1099511627776", b"1099511627776,4096", b"9223372036854771712,4096",
                      b"18446744073709547520,4096", b"1,1", b"0,0"):
            lease.real.send(b"present " + where)
        did("beyond the end")


class LeaseInsteadOfCopen(Fake):
    """Closes what came with an OPEN and says nothing, half of the time."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.opens = 0

    def serve(self, message, fds):
        if message[4:8] == struct.pack("=I", example.OPEN):
            self.opens += 1
            if self.opens % 2:
                for fd in fds:
                    os.close(fd)
                did("closed instead of copen")
                return self.device.send(b"credit 1")
        return super().serve(message, fds)


class Restores(Fake):
    """Asks for everything once more before its first few answers."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.left = 20

    def again(self):
        if self.left:
            self.left -= 1
            self.device.real.send(b"restore")
            did("restore")

    def copen(self, text):
        self.again()
        return text

    def before_cread(self, lease, text):
        self.again()


def die():
    did("died")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


class DiesAtOpen(Fake):
    def open(self, msg_id, object_id, message, fds):
        return die() if is_data(message) else super().open(msg_id, object_id, message, fds)


class DiesAtRead(Fake):
    """Dies of a READ of a file, with half of it written and nothing said."""

    def read(self, msg_id, object_id, offset, length):
        data_fd, _, source, opened = self.objects[object_id]
        if opened.st_size < 1 << 20:
            return super().read(msg_id, object_id, offset, length)
        os.pwrite(data_fd, os.pread(source, length // 2, offset), offset)
        die()


class DiesBeforeCread(Fake):
    def before_cread(self, lease, text):
        die()


class DiesAtClose(Fake):
    def serve(self, message, fds):
        if message[4:8] == struct.pack("=I", example.CLOSE):
            die()
        return super().serve(message, fds)


class HandsOver(Fake):
    """At its first READ of a file leaves the session to a child, which writes `restore`."""

    handed_over = False

    def read(self, msg_id, object_id, *where):
        if not HandsOver.handed_over and self.objects[object_id][3].st_size >= 1 << 20:
            HandsOver.handed_over = True
            if os.fork():
                while True:
                    signal.pause()
            # The request in hand is forgotten: only `restore` brings it back.
            self.device.real.send(b"restore")
            did("restore by a successor")
            return
        super().read(msg_id, object_id, *where)


def silent(device):
    did("connected")
    while True:
        signal.pause()


def deaf(device):
    """Takes all there is, and never reads."""
    device.send(b"bind ondemand")
    device.send(b"credit 1000000")
    silent(device)


MODES = {
    "behaves": Fake, "lease-after-read": LeaseAfterRead, "garbage": Garbage, "long-commands": LongCommands,
    "wrong-id": WrongId, "twice": Twice, "wrong-size": WrongSize, "unwritten": Unwritten,
    "other-lease": OtherLease, "beyond-end": BeyondEnd, "lease-instead-of-copen": LeaseInsteadOfCopen,
    "restores": Restores, "dies-at-open": DiesAtOpen, "dies-at-read": DiesAtRead,
    "dies-before-cread": DiesBeforeCread, "dies-at-close": DiesAtClose, "hands-over": HandsOver,
}

if __name__ == "__main__":
    _, _, path, root, mode = sys.argv
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(path)
    if mode in ("silent", "deaf"):
        {"silent": silent, "deaf": deaf}[mode](connection)
    MODES[mode](connection, os.fsencode(os.path.realpath(root))).run()
