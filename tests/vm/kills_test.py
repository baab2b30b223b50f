"""A daemon that dies by kill -9 again and again under a guest that writes, on a disk with reconnect-delay.

Each time the guest has written since the last one; some deaths come right behind a snapshot, some while the daemon still
recovers from the one before. The guest must see no error, find all that it has synced, and leave a file system that
e2fsck finds whole. COPPICE_GUEST_KILLS (3) says how many deaths, COPPICE_GUEST_SEED repeats their moments.
"""
import os
import random
import time
import unittest

from coppice import MIB, Store, run, tool
from guest import Guest

HERE = os.path.dirname(os.path.abspath(__file__))
NBDCOPY = tool("nbdcopy")
KILLS = int(os.environ.get("COPPICE_GUEST_KILLS", "3"))
SEED = int(os.environ.get("COPPICE_GUEST_SEED", str(time.time_ns() % 1000000)))
WRITERS = 2
KEPT_SNAPSHOTS = 3
PARTITION_OFFSET = MIB

# Beside the writers something comes and goes, and is discarded.
START = f"""
set -e
cat >/run/writer.pl
mkdir -p /run/kills /srv/kills
for each in $(seq {WRITERS}); do
  (perl /run/writer.pl write $each /srv/kills/$each || echo "writer $each failed" >>/run/kills-errors
   touch /run/kills-done-$each) </dev/null >/dev/null 2>>/run/kills-errors &
done
( while [ ! -e /run/kills/stop ]; do
    dd if=/dev/zero of=/srv/kills/brief bs=1M count=4 conv=fsync status=none && rm /srv/kills/brief && fstrim / ||
      echo "coming and going failed" >>/run/kills-errors
    sleep 2
  done
  touch /run/kills-done-brief ) </dev/null >/dev/null 2>>/run/kills-errors &
"""

COUNT = "cat /run/kills/[0-9]* 2>/dev/null | wc -l"
WAIT_FOR_WRITES = f"""
before=$({COUNT})
for each in $(seq 600); do
  [ $({COUNT}) -gt $before ] && exit 0
  sleep 0.1
done
cat /run/kills-errors
exit 1
"""
STOP = f"""
touch /run/kills/stop
while [ $(ls /run/kills-done-* 2>/dev/null | wc -l) -lt {WRITERS + 1} ]; do sleep 0.1; done
cat /run/kills-errors
dmesg | grep -iE 'error|warning: |timeout|blocked for|remounting'
true
"""
VERIFY = f"""
sync; echo 3 >/proc/sys/vm/drop_caches
for each in $(seq {WRITERS}); do perl /run/writer.pl verify $each /srv/kills/$each || bad=1; done
[ -z "$bad" ]
"""


class Kills(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = Store("kills")
        cls.addClassCleanup(cls.store.remove)
        image = cls.store.file("debian.raw")
        run(os.path.join(HERE, "make_guest_disk.sh"), image, timeout=600)
        cls.store.run("import", image, "disk")
        os.unlink(image)
        cls.guest = Guest(cls.store.file("guest"))
        cls.addClassCleanup(cls.guest.kill)
        cls.store.serve()
        cls.guest.start(cls.store.uri("disk"))

    def in_guest(self, command):
        code, said = self.guest.run(command)
        self.assertEqual(code, 0, f"{command}\n{said}")
        return said

    def start_writers(self):
        with open(os.path.join(HERE, "kills_writer.pl")) as writer:
            program = writer.read()
        self.in_guest(START.replace("cat >/run/writer.pl", "cat >/run/writer.pl <<'PROGRAM'\n" + program + "PROGRAM"))

    def wait_for_writes(self):
        """Until the guest has synced more than it had, so that it is connected and writing."""
        code, said = self.guest.run(WAIT_FOR_WRITES)
        if code != 0:
            self.fail(f"the guest writes no more: {said}")

    def snapshot(self, number):
        """So that writes go elsewhere than before; the oldest goes, and its space is reclaimed."""
        self.store.run("snapshot", f"disk@kill{number}")
        self.snapshots.append(f"disk@kill{number}")
        if len(self.snapshots) > KEPT_SNAPSHOTS:
            self.store.run("rm", self.snapshots.pop(0))

    def die_and_come_back(self, chance):
        """How often it died."""
        self.store.daemon.kill()
        time.sleep(chance.choice([0, 0.05, 0.5]))
        if chance.random() < 0.25:
            # This one is killed while it opens the store, or shortly after.
            self.store.serve(wait=False)
            time.sleep(chance.uniform(0.01, 0.4))
            self.store.daemon.kill()
            self.store.serve()
            return 2
        self.store.serve()
        return 1

    def e2fsck(self, export, *options):
        """On a copy: the partition alone, as e2fsck forgets an offset when it opens a file again."""
        image, partition = self.store.file("copy.raw"), self.store.file("copy.ext4")
        run(NBDCOPY, self.store.uri(export), image)
        run("dd", f"if={image}", f"of={partition}", "bs=1M", f"skip={PARTITION_OFFSET // MIB}", "conv=sparse", "status=none")
        os.unlink(image)
        for option in options:
            done = run("/usr/sbin/e2fsck", *option.split(), partition, expect=None)
            # -p may have played the journal back (1); what it looked at then must be whole.
            self.assertIn(done.returncode, (0, 1) if option == "-p" else (0,), done.stdout.decode() + done.stderr.decode())
        os.unlink(partition)

    def test_deaths_under_a_writing_guest(self):
        chance, self.snapshots, deaths = random.Random(SEED), [], 0
        began = time.monotonic()
        self.start_writers()
        with self.subTest(seed=SEED):
            while deaths < KILLS:
                self.wait_for_writes()
                time.sleep(chance.uniform(0, 0.8))
                if chance.random() < 0.34:
                    self.snapshot(deaths)
                deaths += self.die_and_come_back(chance)
            self.wait_for_writes()
            self.assertEqual(self.in_guest(STOP), "")
            noted = int(self.in_guest(COUNT))
            checked = self.in_guest(VERIFY).strip().replace("\n", ", ")
            if not self.snapshots:
                self.snapshot(deaths)
            self.e2fsck(self.snapshots[-1], "-p", "-f -n")
            self.guest.stop()
            self.assertEqual(self.guest.read("qemu.log"), "")
            self.e2fsck("disk", "-f -n")
            self.store.daemon.stop()
            self.store.run("check")
            print(f"seed {SEED}: {deaths} deaths in {time.monotonic() - began:.0f} s, {noted} synced writes, none lost ({checked})")


if __name__ == "__main__":
    unittest.main()
