#!/usr/bin/env python3
"""A Holdfast daemon (see docs/protocol.md): serves one directory tree as every volume."""
import argparse
import errno
import hashlib
import os
import selectors
import socket
import stat
import struct

OPEN, CLOSE, READ, REJECTED = 0, 1, 2, 16
KINDS = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFLNK: 3}
MESSAGE_BYTES_MAX, PIECE_BYTES = 16 * 1024, 256 * 1024


def version(status):
    return f"{status.st_mtime_ns}-{status.st_size}".encode()


def record(path):
    """The record of one name; empty if it is gone, or neither file, directory nor symbolic link."""
    try:
        status = os.lstat(path)
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        target = os.readlink(path) if kind == 3 else b""
    except (FileNotFoundError, KeyError):
        return b""
    flags, size, validator = (7, status.st_size, version(status)) if kind == 1 else (6, 0, b"")
    name = os.path.basename(path)
    parts = name + validator + target
    parts += bytes(-len(parts) % 8)
    mtime, mode = divmod(status.st_mtime_ns, 10**9), stat.S_IMODE(status.st_mode)
    return struct.pack("<IBBHQqIIHHI", 40 + len(parts), kind, flags, len(name), size, *mtime, mode,
                       len(validator), len(target), 0) + parts


def document(paths, is_entry):
    """A listing, or an entry that may be negative, as a file in memory; and its validator."""
    records = list(filter(None, map(record, paths)))
    body = b"".join(records)
    negative, length = is_entry and not records, 32 + len(body)
    data = struct.pack("<8sIIQQ", b"HFLIST\0\1", negative, 0, len(records), length) + body
    fd = os.memfd_create("listing")
    os.write(fd, data)
    return fd, hashlib.sha256(data).digest()


def find(root, key, known):
    """Opens what a cookie key names, unless another version is known; and its validator."""
    kind, (path, _, wanted) = key[:1], key[1:].partition(b"\0")
    path = os.path.join(root, path) if path else root
    directory = path if kind == b"L" else os.path.dirname(path)
    if kind not in (b"D", b"E", b"L") or os.path.realpath(directory) != directory:
        raise OSError(errno.EINVAL, "unknown kind of object, or a path over a symbolic link")
    if kind == b"D":
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        validator = version(os.fstat(fd))
    else:
        paths = [os.path.join(path, name) for name in os.listdir(path)] if kind == b"L" else [path]
        fd, validator = document(paths, kind == b"E")
    if known not in (b"", validator) or (kind == b"D" and wanted != validator):
        os.close(fd)
        raise OSError(errno.ESTALE, "another version")
    return fd, validator


class Daemon:
    def __init__(self, device, root):
        self.device, self.root, self.objects = device, root, {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(device, selectors.EVENT_READ)

    def run(self):
        self.device.send(b"bind ondemand")
        self.device.send(b"credit 1")
        while True:
            for ready, _ in self.selector.select():
                if ready.data is None:
                    self.serve(*socket.recv_fds(self.device, MESSAGE_BYTES_MAX, 2)[:2])
                else:
                    self.close(ready.data)  # nothing is ever sent on a lease: it was hung up

    def serve(self, message, fds):
        if not message:
            raise SystemExit("the engine is gone")
        msg_id, opcode, _, object_id = struct.unpack_from("=IIII", message)
        if opcode == OPEN:
            self.device.send(self.open(msg_id, object_id, message, fds))
        elif opcode == READ and object_id in self.objects:  # else its lease was hung up
            self.read(msg_id, object_id, *struct.unpack_from("=QQ", message, 16))
        elif opcode == CLOSE:
            self.close(object_id)
        elif opcode == REJECTED:
            print("refused:", msg_id, os.strerror(*struct.unpack_from("=I", message, 16)))
        if opcode in (OPEN, READ):
            self.device.send(b"credit 1")

    def open(self, msg_id, object_id, message, fds):
        volume_key_size, cookie_key_size = struct.unpack_from("=II", message, 16)
        end = 32 + volume_key_size + cookie_key_size
        try:
            if len(fds) != 2:
                raise OSError(errno.EMFILE, "the descriptors were lost on the way")
            source, validator = find(self.root, message[end - cookie_key_size:end], message[end + 16:])
        except OSError as error:
            for fd in fds:
                os.close(fd)
            return b"copen %d,-%d" % (msg_id, error.errno)
        lease, opened = socket.socket(fileno=fds[1]), os.fstat(source)
        self.objects[object_id] = fds[0], lease, source, opened
        self.selector.register(lease, selectors.EVENT_READ, object_id)
        return b"copen %d,%d validator=%s" % (msg_id, opened.st_size, validator.hex().encode())

    def read(self, msg_id, object_id, offset, length):
        data_fd, lease, source, opened = self.objects[object_id]
        end, answer = min(offset + length, opened.st_size), b"cread %d" % msg_id
        try:
            while offset < end:
                length = min(PIECE_BYTES, end - offset)
                piece = os.pread(source, length, offset)
                if version(os.fstat(source)) != version(opened):
                    raise OSError(errno.ESTALE, "changed since it was opened")
                if os.pwrite(data_fd, piece, offset) != length:
                    raise OSError(errno.EIO, "read or written short")
                lease.send(b"present %d,%d" % (offset, length))
                offset += length
        except OSError as error:
            answer = b"cread %d,-%d" % (msg_id, error.errno)
        try:
            lease.send(answer)
        except ConnectionError:
            self.close(object_id)

    def close(self, object_id):
        if object_id in self.objects:
            data_fd, lease, source, _ = self.objects.pop(object_id)
            self.selector.unregister(lease)
            for fd in data_fd, lease.detach(), source:
                os.close(fd)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True, metavar="PATH", help="the engine's device.sock")
    parser.add_argument("--root", required=True, metavar="DIR", help="the directory to serve")
    arguments = parser.parse_args()
    device = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    device.connect(arguments.socket)
    Daemon(device, os.fsencode(os.path.realpath(arguments.root))).run()
