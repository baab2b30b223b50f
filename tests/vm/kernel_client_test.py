"""The Linux kernel's own NBD client, in a Debian guest, against the daemon's TCP listener: four connections to a disk.

What the kernel learns of a disk, ext4 with discard, raw discards and zeroes that touch no neighbour, snapshots that
can't be written, and a daemon that dies under a mounted file system. What the guest wrote is read on this side as well.
"""
import hashlib
import os
import re
import shutil
import socket
import subprocess
import unittest

from coppice import MIB, Daemon, Store, run, tool
from guest import Guest

HERE = os.path.dirname(os.path.abspath(__file__))
NBDCOPY = tool("nbdcopy")
CONNECTIONS = 4
NETWORK = ("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=")
HOST = "10.0.2.2"  # this machine, as QEMU's user network has it

SET_UP = """
set -e
busybox modprobe virtio_net
busybox modprobe nbd nbds_max=4
busybox ip link set eth0 up
busybox ip addr add 10.0.2.15/24 dev eth0
mkdir -p /mnt
"""

# Four at once, so that all connections have writes in flight; each file is synced, the last one of all is not.
FILL = """
set -e
for each in 1 2 3 4; do
  ( set -e; mkdir /mnt/d$each
    for file in 1 2 3; do
      dd if=/dev/urandom of=/mnt/d$each/f$file bs=64K count=8 conv=fsync status=none
    done ) &
  writers="$writers $!"
done
for writer in $writers; do wait $writer; done
dd if=/dev/urandom of=/mnt/last bs=64K count=8 status=none
sync
cd /mnt && find . -type f ! -path '*lost+found*' | sort | xargs sha256sum
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def file_sums(folder):
    """As FILL prints them."""
    sums = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                sums["./" + os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    return sums


def parse_sums(text):
    return {path: digest for digest, path in (line.split() for line in text.splitlines())}


class KernelClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = Store("kernel_client")
        cls.addClassCleanup(cls.store.remove)
        cls.port = free_port()
        cls.serve()
        image = cls.store.file("debian.raw")
        run(os.path.join(HERE, "make_guest_disk.sh"), image, timeout=600)
        cls.guest = Guest(cls.store.file("guest"))
        cls.addClassCleanup(cls.guest.kill)
        cls.guest.start(image, NETWORK)
        code, said = cls.guest.run(SET_UP)
        if code != 0:
            raise AssertionError(f"the guest has no network or no NBD client: {said}")

    @classmethod
    def serve(cls):
        cls.store.daemon = Daemon(
            cls.store.path, cls.store.file("daemon.log"), serve=("--listen", f"nbd://127.0.0.1:{cls.port}")
        )

    @classmethod
    def tearDownClass(cls):
        cls.guest.stop()
        cls.store.daemon.stop()
        cls.store.run("check")

    def in_guest(self, command, expect=0):
        code, said = self.guest.run(command)
        self.assertEqual(code, expect, f"{command}\n{said}")
        return said

    def connect(self, export, device="nbd0", options=f"-C {CONNECTIONS}"):
        self.in_guest(f"nbd-client -N {export} {HOST} {self.port} /dev/{device} {options}")
        self.connected.add(device)

    def disconnect(self, device="nbd0"):
        self.in_guest(f"nbd-client -d /dev/{device} && [ ! -e /sys/block/{device}/pid ]")
        self.connected.remove(device)

    def setUp(self):
        self.connected = set()

    def tearDown(self):
        for device in self.connected:  # of a test that failed
            self.guest.run(f"umount -l /mnt; nbd-client -d /dev/{device}")

    def create(self, name, size):
        self.store.run("create", name, "--size", str(size))

    def queue(self, device="nbd0"):
        """What the kernel believes of the device."""
        said = self.in_guest(f"cd /sys/block/{device} && grep . size ro queue/* 2>/dev/null; true")
        return dict(line.replace("queue/", "", 1).split(":", 1) for line in said.splitlines())

    def assert_queue(self, queue, **expected):
        self.assertEqual({key: queue[key] for key in expected}, {key: str(value) for key, value in expected.items()})

    def clients(self, name):
        return self.store.json("info", name)["attachments"]

    def frees(self, name):
        return self.store.json("du", name)[0]["frees"]

    def kernel_said(self):
        """Complaints since the last call."""
        return [line for line in self.in_guest("dmesg -c").splitlines() if re.search("error|fail|corrupt", line, re.I)]

    def host_copy(self, export, device_size):
        """The disk as a file on this side, through another client."""
        image = self.store.file("copy.raw")
        if os.path.exists(image):
            os.unlink(image)
        run(NBDCOPY, self.store.uri(export), image)
        self.assertEqual(os.path.getsize(image), device_size)
        return image

    def host_sums(self, export, device_size):
        """The files in the disk's ext4, which has to be whole, read without this machine's kernel."""
        image = self.host_copy(export, device_size)
        run("/usr/sbin/e2fsck", "-f", "-n", image)
        folder = self.store.file("files")
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        # debugfs complains of owners that it can't set where this is not root.
        subprocess.run(["/usr/sbin/debugfs", "-R", f"rdump / {folder}", image], check=True, capture_output=True)
        return file_sums(folder)

    def test_what_the_kernel_learns(self):
        size = 6 << 30  # above what one request of the protocol can discard
        self.create("large", size)
        self.connect("large")
        self.assertEqual(self.clients("large"), CONNECTIONS)
        queue = self.queue()
        self.assert_queue(queue, size=size // 512, ro=0, fua=1, write_cache="write back", rotational=0)
        self.assert_queue(queue, logical_block_size=512, physical_block_size=512, discard_granularity=512)
        # Linux 6.1 discards as much as a bio holds, and has no write-zeroes on NBD: it sends zeroes.
        self.assert_queue(queue, discard_max_bytes=((1 << 32) - 1) << 9, write_zeroes_max_bytes=0)
        write = "dd if=/dev/urandom of=/dev/nbd0 bs=1M count=2 oflag=direct status=none"
        self.in_guest(f"{write} && {write} seek=6142")
        self.assertEqual(self.frees("large"), 4 * MIB)
        self.in_guest("blkdiscard -f /dev/nbd0")
        self.assertEqual(self.frees("large"), 0)
        self.in_guest("cmp -n 2M /dev/nbd0 /dev/zero && cmp -n 2M -i 6142M:0 /dev/nbd0 /dev/zero")
        self.disconnect()
        self.assertEqual(self.clients("large"), 0)

        self.connect("large", options="-b 4096")
        queue = self.queue()
        self.assert_queue(queue, logical_block_size=4096, physical_block_size=4096, discard_granularity=4096)
        self.assertEqual(self.clients("large"), 1)
        self.disconnect()
        self.assertEqual(self.kernel_said(), [])

    def test_a_size_that_is_no_whole_block(self):
        sectors = 65536 + 3
        self.create("odd", sectors * 512)
        self.connect("odd")
        self.assert_queue(self.queue(), size=sectors)
        write = f"yes coppice | dd of=/dev/nbd0 bs=512 count=4 seek={sectors - 4} oflag=direct iflag=fullblock status=none"
        self.in_guest(write)
        beyond = self.in_guest(f"dd if=/dev/zero of=/dev/nbd0 bs=512 count=1 seek={sectors} status=none", expect=1)
        self.assertIn("No space left", beyond)
        self.disconnect()
        with open(self.host_copy("odd", sectors * 512), "rb") as copy:
            self.assertEqual(copy.read((sectors - 4) * 512).strip(b"\0"), b"")
            self.assertEqual(copy.read(), (b"coppice\n" * 256))

    def test_file_system(self):
        size = 512 * MIB
        self.create("files", size)
        self.connect("files")
        self.in_guest("mkfs.ext4 -q -b 4096 -E root_owner=0:0 /dev/nbd0 && mount -o noinit_itable /dev/nbd0 /mnt")
        sums = parse_sums(self.in_guest(FILL))
        self.assertEqual(len(sums), 13)
        before = self.frees("files")
        self.in_guest("rm -r /mnt/d4 && sync && fstrim /mnt")
        self.assertLessEqual(self.frees("files"), before - MIB)
        self.in_guest("umount /mnt && e2fsck -f -n /dev/nbd0")
        self.disconnect()
        self.assertEqual(self.kernel_said(), [])
        left = {path: digest for path, digest in sums.items() if not path.startswith("./d4/")}
        self.assertEqual(len(left), 10)
        self.assertEqual(self.host_sums("files", size), left)

        # The kernel of the guest finds them as well, on a device and by connections of another time.
        self.store.run("snapshot", "files@done")
        self.connect("files@done", "nbd1")
        self.in_guest("mount -o ro /dev/nbd1 /mnt")
        again = self.in_guest("cd /mnt && find . -type f ! -path '*lost+found*' | sort | xargs sha256sum")
        self.assertEqual(parse_sums(again), left)
        self.in_guest("umount /mnt")
        self.disconnect("nbd1")

    def test_discards_and_zeroes_touch_no_neighbour(self):
        size = 16 * MIB
        self.create("raw", size)
        self.connect("raw")
        self.in_guest("perl -e 'print q(x) x (16 << 20)' | dd of=/dev/nbd0 bs=1M iflag=fullblock oflag=direct status=none")
        holes = ((MIB, 4 * MIB, ""), (8 * MIB + 512, 5120, ""), (10 * MIB + 512, MIB + 1536, "-z"))
        self.in_guest(" && ".join(f"blkdiscard {how} -o {offset} -l {length} /dev/nbd0" for offset, length, how in holes))
        self.disconnect()
        with open(self.host_copy("raw", size), "rb") as copy:
            data = copy.read()
        end = 0
        for offset, length, _ in (*holes, (size, 0, "")):
            self.assertEqual(data[end:offset].strip(b"x"), b"", f"changed between {end} and {offset}")
            end = offset + length
        self.assertEqual(data[MIB : 5 * MIB].strip(b"\0"), b"")
        # Of a discard that is no whole block the kernel promises nothing; zeroes are zeroes.
        self.assertEqual(data[holes[2][0] : sum(holes[2][:2])].strip(b"\0"), b"")

    def test_snapshot_is_read_only(self):
        self.create("base", 2 * MIB)
        self.connect("base")
        self.in_guest("yes first | dd of=/dev/nbd0 bs=1M count=2 iflag=fullblock oflag=direct status=none")
        self.store.run("snapshot", "base@first")
        self.in_guest("yes other | dd of=/dev/nbd0 bs=1M count=2 iflag=fullblock oflag=direct status=none")
        self.connect("base@first", "nbd1")
        self.assertEqual(self.clients("base@first"), CONNECTIONS)
        self.assert_queue(self.queue("nbd1"), size=2 * MIB // 512, ro=1, discard_max_bytes=0)
        write = self.in_guest("dd if=/dev/zero of=/dev/nbd1 bs=4096 count=1 oflag=direct status=none", expect=1)
        self.assertIn("Operation not permitted", write)
        self.in_guest("! blkdiscard -f /dev/nbd1 && ! blkdiscard -z -f /dev/nbd1")
        self.in_guest("yes first | head -c 2M | cmp - /dev/nbd1 && yes other | head -c 2M | cmp - /dev/nbd0")
        self.disconnect("nbd1")
        self.disconnect()
        refused = self.in_guest(f"nbd-client -N base@none {HOST} {self.port} /dev/nbd1", expect=1)
        self.assertIn("snapshot base@none is not there", refused)

    def test_daemon_dies(self):
        """Without a way to come back the kernel fails what is in flight; what was synced is there."""
        size = 256 * MIB
        self.create("dying", size)
        self.connect("dying")
        self.in_guest("mkfs.ext4 -q -b 4096 -E root_owner=0:0 /dev/nbd0 && mount -o noinit_itable /dev/nbd0 /mnt")
        sums = parse_sums(self.in_guest(FILL))
        self.in_guest("(while echo x >>/mnt/more && sync /mnt/more; do :; done; echo failed >/run/more) >/dev/null 2>&1 &")
        self.store.daemon.kill()
        self.in_guest("while [ ! -e /run/more ]; do sleep 0.1; done")
        self.in_guest("umount -l /mnt")
        self.disconnect()
        self.serve()
        self.connect("dying", "nbd1")
        self.in_guest("{ e2fsck -p /dev/nbd1 || [ $? -eq 1 ]; } && e2fsck -f -n /dev/nbd1")
        self.disconnect("nbd1")
        self.guest.run("dmesg -c")
        found = self.host_sums("dying", size)
        found.pop("./more", None)
        self.assertEqual(found, sums)


if __name__ == "__main__":
    unittest.main()
