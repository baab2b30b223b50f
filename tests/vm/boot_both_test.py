"""One disk, booted in turn from its file in the mounted tree and over NBD: each boot finds what the others wrote, byte for
byte, and while a guest has the disk by one way, the other way doesn't get to write."""
import errno
import hashlib
import os
import subprocess
import unittest

from coppice import MIB, run, tool, wait_until
from guest import Guest
from mounted import MountedStore, reason_to_skip

HERE = os.path.dirname(os.path.abspath(__file__))
NBDCOPY = tool("nbdcopy")

WRITE = "mkdir -p /srv/both && cd /srv/both && dd if=/dev/urandom of={name} bs=1M count=4 status=none && sync"
REWRITE = "dd if=/dev/urandom of=/srv/both/{name} bs=4096 count=16 seek=77 conv=notrunc status=none && sync"
SUMS = "echo 3 >/proc/sys/vm/drop_caches; cd /srv/both && sha256sum *"


@unittest.skipIf(reason_to_skip(), reason_to_skip() or "")
class BootBoth(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = MountedStore("boot_both")
        cls.addClassCleanup(cls.store.remove)
        image = cls.store.file("debian.raw")
        run(os.path.join(HERE, "make_guest_disk.sh"), image, timeout=600)
        cls.store.run("import", image, "disk")
        os.unlink(image)
        cls.store.serve()
        cls.store.mount()
        cls.guest = Guest(cls.store.file("guest"))
        cls.addClassCleanup(cls.guest.kill)

    def in_guest(self, command):
        code, said = self.guest.run(command)
        self.assertEqual(code, 0, f"{command}\n{said}")
        return said

    def boot(self, where):
        self.guest.start(where)
        self.addCleanup(self.guest.kill)

    def shut_down(self):
        errors = self.guest.run("dmesg | grep -iE 'I/O error|ext4-fs error|ext4-fs warning'")[1]
        self.assertEqual(errors, "")
        self.guest.stop()
        self.assertEqual(self.guest.read("qemu.log"), "")
        wait_until(lambda: self.store.json("info", "disk")["attachments"] == 0, "the disk stays in use")

    def same_bytes(self):
        """The whole disk, by both ways: one digest."""
        image = self.store.file("copy.raw")
        run(NBDCOPY, self.store.uri("disk"), image)
        digests = []
        for path in (image, self.store.disk("disk")):
            with open(path, "rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        self.assertEqual(*digests)
        run("dd", f"if={image}", f"of={image}.ext4", "bs=1M", "skip=1", "conv=sparse", "status=none")
        run("/usr/sbin/e2fsck", "-f", "-n", f"{image}.ext4")
        os.unlink(image)
        os.unlink(f"{image}.ext4")
        return digests[0]

    def test_in_turn(self):
        file = self.store.disk("disk")
        self.boot(file)
        self.in_guest(WRITE.format(name="by-file"))
        first = self.in_guest(SUMS)
        refused = subprocess.run(["nbdinfo", "--size", self.store.uri("disk")], capture_output=True, text=True)
        self.assertNotEqual(refused.returncode, 0, "an NBD client got a disk that a mount has open for writing")
        self.store.run("snapshot", "disk@first")
        self.shut_down()
        after_file = self.same_bytes()

        self.boot(self.store.uri("disk"))
        self.assertEqual(self.in_guest(SUMS), first)
        self.in_guest(WRITE.format(name="by-nbd"))
        self.in_guest(REWRITE.format(name="by-file"))
        second = self.in_guest(SUMS)
        self.assertEqual(len({*first.split("\n"), *second.split("\n")}), 4, f"{first}{second}")
        with self.assertRaises(OSError) as busy:
            os.close(os.open(file, os.O_RDWR))
        self.assertEqual(busy.exception.errno, errno.EBUSY)
        self.shut_down()
        self.assertNotEqual(self.same_bytes(), after_file)

        self.boot(file)
        self.assertEqual(self.in_guest(SUMS), second)
        self.shut_down()

        # A snapshot's file and its export as well, of a moment when the guest ran.
        by_export = self.store.file("first.raw")
        run(NBDCOPY, self.store.uri("disk@first"), by_export)
        self.assertEqual(os.path.getsize(by_export), 512 * MIB)
        run("cmp", by_export, self.store.snapshot("disk", "first"))
        self.store.run("unmount", self.store.mountpoint)
        self.store.daemon.stop()
        self.store.run("check")


if __name__ == "__main__":
    unittest.main()
