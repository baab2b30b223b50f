"""A store, its daemon, and its tree mounted: for tests with the kernel's own clients, as root.

Whatever a test leaves behind (mounts, loop devices, processes) is taken away at its end, also if it failed.
"""
import ctypes
import json
import os
import socket
import subprocess
import unittest

from coppice import PATIENCE, Store, run, wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16


def reason_to_skip():
    if os.geteuid() != 0:
        return "needs root, for loop devices and mounts"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(device):
            return f"{device} is not there"
    return None


def fallocate(descriptor, mode, offset, length):
    done = LIBC.fallocate(descriptor, mode, ctypes.c_long(offset), ctypes.c_long(length))
    if done != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def close_cut_off(descriptor):
    """Closing tells that the mount is gone, as all else does."""
    try:
        os.close(descriptor)
    except OSError:
        pass


def mounts_below(folder):
    with open("/proc/self/mounts") as table:
        points = [line.split()[1].replace("\\040", " ") for line in table]
    return [point for point in points if point == folder or point.startswith(folder + "/")]


def detach_loops(folder):
    listed = subprocess.run(["losetup", "--json", "-O", "NAME,BACK-FILE"], capture_output=True, text=True).stdout
    for loop in json.loads(listed or '{"loopdevices":[]}')["loopdevices"]:
        if (loop["back-file"] or "").startswith(folder):
            subprocess.run(["losetup", "-d", loop["name"]])


class Control:
    """Verbs over the control socket, for what would take too long as a process each."""

    def __init__(self, store):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(os.path.join(store, "control.sock"))
        self.stream = self.socket.makefile("rb")
        self.count = 0

    def call(self, method, **params):
        self.count += 1
        line = json.dumps({"jsonrpc": "2.0", "id": self.count, "method": method, "params": params})
        self.socket.sendall(line.encode() + b"\n")
        answer = json.loads(self.stream.readline())
        if "error" in answer:
            raise AssertionError(f"{method} {params}: {answer['error']['message']}")
        return answer["result"]

    def close(self):
        self.stream.close()
        self.socket.close()


class MountedStore(Store):
    def __init__(self, name="mounted"):
        super().__init__(name)
        self.mountpoint = self.file("mnt")
        os.mkdir(self.mountpoint)

    def mount(self, *options):
        self.run("mount", self.mountpoint, *options)

    def disk(self, name):
        return f"{self.mountpoint}/disks/{name}"

    def snapshot(self, disk, name):
        return f"{self.mountpoint}/snapshots/{disk}/{name}"

    def remove(self):
        for point in reversed(mounts_below(self.folder)):
            if not point.startswith(self.mountpoint):
                subprocess.run(["umount", "-l", point])
        detach_loops(self.folder)
        if self.daemon is not None and self.daemon.alive():
            self.daemon.kill()
        for point in reversed(mounts_below(self.folder)):
            subprocess.run(["umount", "-l", point])
        super().remove()


class Loop:
    """A loop device on a file, with what is mounted from it."""

    def __init__(self, store, path, direct=True, read_only=False):
        self.store = store
        options = [f"--direct-io={'on' if direct else 'off'}"] + (["-r"] if read_only else [])
        self.device = run("losetup", *options, "-f", "--show", path).stdout.decode().strip()
        self.point = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unmount()
        if self.device:
            subprocess.run(["losetup", "-d", self.device])
            name = os.path.basename(self.device)
            # It is given up when nobody has it open; the file is closed then.
            wait_until(lambda: not os.path.exists(f"/sys/block/{name}/loop/backing_file"), f"{name} stays")

    def mount(self, options="defaults"):
        self.point = self.store.file("loop")
        os.makedirs(self.point, exist_ok=True)
        run("mount", "-o", options, self.device, self.point)
        return self.point

    def unmount(self):
        if self.point:
            done = subprocess.run(["umount", self.point], capture_output=True, text=True)
            if done.returncode != 0:
                subprocess.run(["umount", "-l", self.point])
            self.point = None


@unittest.skipIf(reason_to_skip(), reason_to_skip() or "")
class MountedTest(unittest.TestCase):
    """One store, served and mounted, for all tests of a class; each test makes disks of its own."""

    @classmethod
    def setUpClass(cls):
        cls.store = MountedStore(cls.__name__)
        cls.addClassCleanup(cls.store.remove)
        cls.store.serve()
        cls.store.mount()
        cls.count = 0

    @classmethod
    def tearDownClass(cls):
        if not cls.store.daemon.alive():
            raise AssertionError("the daemon died: " + open(cls.store.file("daemon.log")).read()[-3000:])
        cls.store.run("unmount", cls.store.mountpoint)
        cls.store.daemon.stop()
        cls.store.run("check")

    def new_disk(self, size):
        type(self).count += 1
        name = f"disk{type(self).count}"
        self.store.run("create", name, "--size", str(size))
        return name

    def leave(self, client, name):
        """Ends an NBD client, and waits until the disk is free."""
        client.shutdown()
        wait_until(lambda: self.store.json("info", name)["attachments"] == 0, f"{name} stays attached")

    def refused(self, *arguments, says=()):
        done = self.store.run(*arguments, expect=None)
        text = done.stderr.decode()
        self.assertEqual(done.returncode, 2, text)
        self.assertEqual(text.count("\n"), 1, text)
        for part in says:
            self.assertIn(part, text)
        return text
