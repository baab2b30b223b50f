"""Little memory, and other users: file systems on loop devices on mounted files, QEMU's own ways to open a file.

All that write through it are in a memory group that holds less than what is written. The daemon isn't: that takes a right
that it rarely has in a container, so vm/loop_pressure does it in a guest.
"""
import os
import subprocess
import time
import unittest

from coppice import MIB, SANITIZED, run, tool
from mounted import Loop, MountedTest

QEMU_IO = tool("qemu-io")
QEMU = tool("qemu-system-x86_64")
LIMIT = (1 << 30) if SANITIZED else 64 * MIB
WRITTEN = 192
PATIENCE = 120  # a deadlock takes longer


class MemoryGroup:
    """Of version 1 or 2, whichever has the memory controller; None where neither can be used."""

    @staticmethod
    def make():
        for parent, limit, swap in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes", None),
                                    ("/sys/fs/cgroup", "memory.max", "memory.swap.max")):
            path = f"{parent}/coppice-test-{os.getpid()}"
            try:
                os.mkdir(path)
                with open(f"{path}/{limit}", "w") as file:
                    file.write(str(LIMIT))
                if swap and os.path.exists(f"{path}/{swap}"):
                    with open(f"{path}/{swap}", "w") as file:
                        file.write("0")
                return MemoryGroup(path)
            except OSError:
                if os.path.isdir(path):
                    os.rmdir(path)
        return None

    def __init__(self, path):
        self.path = path

    def remove(self):
        parent = os.path.dirname(self.path)
        with open(f"{self.path}/cgroup.procs") as file:
            for pid in file.read().split():
                with open(f"{parent}/cgroup.procs", "w") as out:
                    out.write(pid)
        os.rmdir(self.path)


class Pressure(MountedTest):
    def test_little_memory(self):
        group = MemoryGroup.make()
        if group is None:
            self.skipTest("no memory group can be made here")
        self.addCleanup(group.remove)
        name = self.new_disk("1G")
        for direct in (True, False):
            with Loop(self.store, self.store.disk(name), direct) as loop:
                run("mkfs.ext4", "-q", "-F", loop.device)
                point = loop.mount()
                began = time.monotonic()
                # A shell that is in the group before it writes.
                script = (f"echo $$ >{group.path}/cgroup.procs; for i in 1 2; do "
                          f"dd if=/dev/urandom of={point}/f$i bs=1M count={WRITTEN // 2} status=none & done; wait; "
                          f"sync -f {point}; cat {point}/f1 {point}/f2 | cksum")
                writer = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
                try:
                    out, _ = writer.communicate(timeout=PATIENCE)
                except subprocess.TimeoutExpired:
                    subprocess.run(["umount", "-f", self.store.mountpoint])  # nothing else ends it
                    writer.kill()
                    self.fail(f"direct={direct}: nothing moves for {PATIENCE} s")
                self.assertEqual(writer.returncode, 0)
                self.assertEqual(int(out.split()[1]), WRITTEN // 2 * 2 * MIB)
                print(f"direct={direct}: {WRITTEN} MiB within {LIMIT // MIB} MiB in {time.monotonic() - began:.1f} s", flush=True)
            self.assertTrue(self.store.daemon.alive())
            run("e2fsck", "-fn", self.store.disk(name))


class OtherUser(MountedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.chmod(cls.store.folder, 0o755)
        cls.shared = cls.store.file("shared")
        os.mkdir(cls.shared)
        cls.store.run("mount", cls.shared, "--allow-other", "--uid", "65534", "--gid", "65534", "--mode", "0660")

    @classmethod
    def tearDownClass(cls):
        cls.store.run("unmount", cls.shared)
        super().tearDownClass()

    def as_nobody(self, *command, expect=0):
        return run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command, expect=expect)

    def test_qemu_opens_it(self):
        """Without a page cache, by Linux's own asynchronous calls, with its locks, as somebody else."""
        name = self.new_disk("64M")
        path = f"{self.shared}/disks/{name}"
        options = f"driver=raw,file.driver=file,file.filename={path},file.locking=on,file.cache.direct=on,cache.direct=on,file.aio=native"
        done = self.as_nobody(QEMU_IO, "--image-opts", options, "-c", "write -P 7 1M 1M", "-c", "flush",
                              "-c", "read -P 7 1M 1M").stdout.decode()
        self.assertNotIn("failed", done)
        machine = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", QEMU, "-nodefaults", "-display", "none",
                   "-accel", "tcg", "-m", "64", "-S", "-qmp", "stdio", "-drive", f"if=virtio,format=raw,cache=none,aio=native,file={path}"]
        first = subprocess.Popen(machine, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.assertIn(b"QMP", first.stdout.readline())  # its devices are there
            second = subprocess.run(machine, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            self.assertEqual(second.returncode, 1)
            self.assertIn(b"lock", second.stderr)
        finally:
            first.kill()
            first.communicate()

    def test_the_first_mount_is_not_theirs(self):
        name = self.new_disk("64M")
        refused = self.as_nobody("cat", self.store.disk(name), expect=None)
        self.assertNotEqual(refused.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
