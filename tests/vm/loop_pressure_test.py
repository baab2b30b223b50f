"""A file system on a loop device on a mounted disk, in a Debian guest, with hardly any memory for it.

There the daemon may have itself marked as one that writes back for others (CAP_SYS_RESOURCE, which containers rarely
give). Unmarked it waits for others' write-back when it needs memory or dirties a page of its own: seen here as a deadlock in
tighter groups, and once as a fourth of the speed in this one, which is not what fails; the flag's test is.
"""
import os
import re
import shutil
import time
import unittest

from coppice import MIB, PROGRAM, SANITIZED, Store, run, tool
from guest import Guest

HERE = os.path.dirname(os.path.abspath(__file__))
LDD = tool("ldd")
# So often it is looked whether anything has moved, each time half a second later. No deadline: a machine that stands still
# for a minute under the guest (seen in CI: its clock jumped 79 s) costs one look.
PATIENCE = 240
PF_MEMALLOC_NOIO = 0x00080000
WRITERS = 3
DIRTY = 8 * MIB
GROUP = "/sys/fs/cgroup/pressed"
# The daemon takes some 40 MiB of it. It has to hold what may be dirty as well: of version 1, a group that is full of that is
# one in which the daemon is killed, for it doesn't wait.
LIMIT = 64 * MIB
# Of the whole machine's memory, beside the pages of programs that are in use: a machine that has none for these fetches them
# again and again, and nothing else is done (seen at 15 MiB).
LEFT = 32 * MIB

# With the libraries that it was linked with, whatever the guest has.
START_PROGRAM = """#!/bin/sh
exec /x/lib/ld-linux-x86-64.so.2 --library-path /x/lib /x/lib/coppice --store /x/store "$@"
"""

# A group of version 1: when it is full, who needs memory waits for the write-back of single pages.
SET_UP = f"""
set -e
busybox modprobe fuse
busybox modprobe loop
mkdir -p /x /tree /mnt /hog
mount /dev/vdb /x
mount -t tmpfs -o size=100% tmpfs /hog
mount -t cgroup -o memory cgroup /sys/fs/cgroup
mkdir {GROUP}
echo {LIMIT} >{GROUP}/memory.limit_in_bytes
echo {DIRTY} >/proc/sys/vm/dirty_bytes
/x/coppice init
"""

# In the group from its first page on.
SERVE = f"""
(sh -c 'echo $$ >{GROUP}/cgroup.procs; echo $$ >/run/daemon.pid; exec /x/coppice serve --listen /run/nbd.sock --cache 16M'
 echo $? >/run/daemon.code) >/run/daemon.log 2>&1 &
for each in $(seq 300); do
  grep -q '^listening' /run/daemon.log && exec /x/coppice mount /tree
  sleep 0.1
done
cat /run/daemon.log
exit 1
"""

STOP = """
/x/coppice unmount /tree && kill $(cat /run/daemon.pid) || exit
for each in $(seq 300); do
  [ -e /run/daemon.code ] && exec [ $(cat /run/daemon.code) = 0 ]
  sleep 0.1
done
exit 1
"""

# Each 4 KiB tell whose they are and which.
CONTENT = "perl -e '($writer, $blocks) = @ARGV; print substr(\"$writer $_ \" x 1024, 0, 4096) for 1 .. $blocks'"

WRITE = f"""
for each in $(seq {WRITERS}); do
  (echo $BASHPID >$group/cgroup.procs && {CONTENT} $each $blocks >/mnt/$each) &
  writers="$writers $!"
done
for writer in $writers; do wait $writer || exit; done
sync
"""

COMPARE = f"""
echo 3 >/proc/sys/vm/drop_caches
for each in $(seq {WRITERS}); do
  {CONTENT} $each $blocks | cmp - /mnt/$each || exit
done
"""

# So much that `LEFT` stays; there is no swap.
TAKE_MEMORY = f"""
echo 3 >/proc/sys/vm/drop_caches
free=$(sed -n 's/^MemFree: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
head -c $((free * 1024 - {LEFT})) /dev/zero >/hog/memory
"""

# The second time tells whether the machine is busy with fetching the same pages again and again.
WHERE_IT_WAITS = """
for each in /proc/$(cat /run/daemon.pid)/task/*; do cat $each/comm $each/stack; done
dmesg | tail -n 80
for each in 1 2; do
  cat /proc/uptime
  sed -n '/^\\(MemFree\\|MemAvailable\\|Dirty\\|Writeback\\|AnonPages\\|Mapped\\|SUnreclaim\\):/p' /proc/meminfo
  sed -n '/^\\(pgmajfault\\|workingset_refault_file\\|allocstall_.*\\|pgpgin\\|pgpgout\\) /p' /proc/vmstat
  sleep 5
done
"""


@unittest.skipIf(SANITIZED, "a sanitizer needs more memory than there is")
class LoopPressure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = Store("loop_pressure", init=False)  # it is in the guest; its folder is here
        cls.addClassCleanup(cls.store.remove)
        image = cls.store.file("debian.raw")
        run(os.path.join(HERE, "make_guest_disk.sh"), image, timeout=600)
        cls.guest = Guest(cls.store.file("guest"))
        cls.addClassCleanup(cls.guest.kill)
        disk = f"raw,node-name=store,file.driver=file,file.filename={cls.make_disk()},cache.no-flush=on"
        cls.guest.start(image, ("-blockdev", disk, "-device", "virtio-blk-pci,drive=store"))
        cls.in_guest(SET_UP)
        cls.in_guest(SERVE)

    @classmethod
    def tearDownClass(cls):
        if cls.guest.alive():  # else a test has failed
            cls.in_guest(STOP)
            cls.in_guest("/x/coppice check")
            cls.guest.stop()

    @classmethod
    def make_disk(cls):
        """The program, its libraries, and room for a store."""
        folder = cls.store.file("x")
        os.makedirs(f"{folder}/lib")
        for path in re.findall(r"(/\S+) \(0x", run(LDD, PROGRAM).stdout.decode()):
            shutil.copy(path, f"{folder}/lib")
        shutil.copy(PROGRAM, f"{folder}/lib/coppice")
        with open(f"{folder}/coppice", "w") as file:
            file.write(START_PROGRAM)
        os.chmod(f"{folder}/coppice", 0o755)
        image = cls.store.file("x.raw")
        run("/usr/sbin/mkfs.ext4", "-q", "-b", "4096", "-d", folder, image, "2G")
        shutil.rmtree(folder)
        return image

    @classmethod
    def in_guest(cls, command):
        code, said = cls.guest.run(command)
        if code != 0:
            raise AssertionError(f"{command}\n{said}")
        return said

    def ends(self, command, device):
        """In the background, so that the guest can still be asked if it never ends. It may be slow, but has to move."""
        self.in_guest(f"rm -f /run/code; ( ({command}\n) >/run/said 2>&1; echo $? >/run/code ) >/dev/null 2>&1 &")
        moved, still = None, 0
        while self.guest.run("[ -s /run/code ]")[0] != 0:
            counters = self.in_guest(f"read -r line </sys/block/{os.path.basename(device)}/stat; echo $line").split()
            done = counters[0], counters[4]  # reads and writes
            still = still + 1 if done == moved else 0
            moved = done
            if still == PATIENCE or self.guest.run("[ -e /run/daemon.code ]")[0] == 0:
                where = self.guest.run(WHERE_IT_WAITS)[1]
                self.guest.kill()  # nothing there can be ended or unmounted
                self.fail(f"nothing has moved in {still} looks, or the daemon is gone:\n{where}")
            time.sleep(0.5)
        said = self.in_guest("cat /run/said /run/daemon.log")
        self.assertEqual(self.in_guest("cat /run/code").strip(), "0", f"{command}\n{said}")

    def write_through_loop(self, name, direct, group, size):
        self.in_guest(f"/x/coppice create {name} --size 512M")
        device = self.in_guest(f"losetup --direct-io={direct} -f --show /tree/disks/{name}").strip()
        self.in_guest(f"mkfs.ext4 -q -E root_owner=0:0 {device} && mount -o noinit_itable {device} /mnt")
        # After 1024 transfers the daemon registers all its I/O memory with the ring, 32 MiB at once: not under pressure, where
        # it is killed for that in a group of version 1.
        self.in_guest("dd if=/dev/zero of=/mnt/first bs=4096 count=1200 oflag=direct status=none")
        began = time.monotonic()
        variables = f"blocks={size // WRITERS // 4096}\ngroup={group}\n"
        self.ends(variables + WRITE, device)
        written = time.monotonic()
        self.ends(variables + COMPARE, device)
        print(f"{name}: {size // MIB} MiB in {written - began:.0f} s, read in {time.monotonic() - written:.0f} s", flush=True)
        self.ends(f"umount /mnt && e2fsck -f -n {device}", device)
        self.in_guest(f"losetup -d {device}")

    def test_flags(self):
        """On every thread, the kernel's own for io_uring among them: it was asked before there was a second one."""
        for line in self.in_guest("cat /proc/$(cat /run/daemon.pid)/task/*/stat").splitlines():
            flags = int(line.rsplit(")", 1)[1].split()[6])
            self.assertTrue(flags & PF_MEMALLOC_NOIO, line)
        self.assertNotIn("CAP_SYS_RESOURCE", self.in_guest("cat /run/daemon.log"))

    def test_little_memory_in_the_group(self):
        self.write_through_loop("group-direct", "on", GROUP, 144 * MIB)
        # Much slower: a request for each page.
        self.write_through_loop("group-cached", "off", GROUP, 48 * MIB)

    def test_little_memory_in_the_machine(self):
        self.in_guest(TAKE_MEMORY)
        self.write_through_loop("machine-direct", "on", "/sys/fs/cgroup", 144 * MIB)
        self.in_guest("rm /hog/memory")


if __name__ == "__main__":
    unittest.main()
