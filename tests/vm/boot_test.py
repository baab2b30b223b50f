#!/usr/bin/python3
"""usage: boot_test.py COPPICE

A Debian guest boots from a coppice disk over NBD, and:
  - a daemon that dies by kill -9 and comes back under the writing guest costs it no error and no byte;
  - a snapshot of the running disk brings back what the guest then destroyed, and the destroyed state stays
    readable beside it;
  - rolling back under the running guest is refused, and nothing changed by the try;
  - the snapshot, read by its own export, is a file system that e2fsck finds whole.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from guest import Guest

HERE = os.path.dirname(os.path.abspath(__file__))
PARTITION_OFFSET = 1 << 20

# Writes records of 64 KiB until told to stop; each is synced and its checksum noted before the next one.
WRITER = """
mkdir -p /srv/records && cd /srv/records && rm -f /run/stop
( n=0
  while [ ! -e /run/stop ]; do
    dd if=/dev/urandom of=r$n bs=64K count=1 conv=fsync status=none || { echo write-failed >>/run/writer-errors; break; }
    sha256sum r$n >>/run/sums
    n=$((n + 1))
  done
  echo done >/run/writer-done ) >/dev/null 2>&1 &
"""

CHECKSUMS = "echo 3 >/proc/sys/vm/drop_caches; cd /srv && sha256sum letter records/r0 2>&1"


class Failure(Exception):
    pass


def demand(condition, text):
    if not condition:
        raise Failure(text)


class Daemon:
    """`coppice serve` on one Unix socket."""

    def __init__(self, coppice, folder):
        self.coppice = coppice
        self.socket = os.path.join(folder, "nbd.sock")
        self.log = os.path.join(folder, "serve.log")
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.coppice, "serve", "--listen", f"nbd+unix:///?socket={self.socket}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 40
        while not self.answers():
            demand(self.process.poll() is None, f"the daemon ended with {self.process.returncode}; see {self.log}")
            demand(time.monotonic() < deadline, f"the daemon does not answer; see {self.log}")
            time.sleep(0.1)

    def answers(self):
        # The socket of a killed daemon still lies there: only an answer counts.
        return subprocess.run(["nbdinfo", "--size", self.uri("disk")], capture_output=True).returncode == 0

    def uri(self, export):
        return f"nbd+unix:///{export}?socket={self.socket}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        demand(self.process.wait(timeout=30) == 0, f"the daemon ended with {self.process.returncode}; see {self.log}")


def survive_daemon_death(daemon, guest):
    demand(guest.run(WRITER)[0] == 0, "the guest's writer did not start")
    for _ in range(3):
        time.sleep(1.5)
        daemon.kill()
        time.sleep(0.5)
        daemon.start()
    time.sleep(1)
    code, output = guest.run("touch /run/stop; while [ ! -e /run/writer-done ]; do sleep 0.1; done; wc -l </run/sums")
    demand(code == 0 and int(output) >= 5, f"the guest wrote too little to prove anything: {output}")
    print(f"  {output.strip()} records written while the daemon died three times")
    code, output = guest.run("cat /run/writer-errors 2>/dev/null; dmesg | grep -iE 'I/O error|ext4-fs error|ext4-fs warning'")
    demand(output == "", f"the guest saw errors:\n{output}")
    code, output = guest.run("echo 3 >/proc/sys/vm/drop_caches; cd /srv/records && sha256sum --quiet -c /run/sums")
    demand(code == 0, f"records changed:\n{output}")


def rolled_back(coppice, daemon, guest):
    demand(guest.run("echo 'all is well' >/srv/letter && sync")[0] == 0, "the guest could not write")
    before = guest.run(CHECKSUMS)[1]
    coppice("snapshot", "disk@good")
    guest.run("echo 'all is lost' >/srv/letter; rm -r /srv/records; sync")
    after = guest.run(CHECKSUMS)[1]
    demand(before != after, "the damage changed nothing")

    refused = coppice("rollback", "disk@good", code=2)
    demand("disk" in refused and refused.count("\n") == 1, f"the refusal is not one line that names the disk: {refused}")
    demand(guest.run(CHECKSUMS)[1] == after, "a refused rollback changed the disk")
    guest.stop()

    coppice("rollback", "disk@good", "--keep", "damaged")
    guest.start(daemon.uri("disk"))
    demand(guest.run(CHECKSUMS)[1] == before, "the rollback did not bring the files back")
    guest.stop()
    coppice("clone", "disk@damaged", "look")
    guest.start(daemon.uri("look"))
    demand(guest.run(CHECKSUMS)[1] == after, "what the rollback left is not what was kept")
    guest.stop()


def snapshot_is_whole(daemon, folder):
    image = os.path.join(folder, "good.raw")
    subprocess.run(["nbdcopy", daemon.uri("disk@good"), image], check=True)
    # Taken under a mounted file system: its journal is replayed first, as after a power cut.
    # In a file of its own, because e2fsck forgets an offset when it opens the file again after that.
    partition = os.path.join(folder, "good.ext4")
    subprocess.run(
        ["dd", f"if={image}", f"of={partition}", "bs=1M", f"skip={PARTITION_OFFSET >> 20}", "conv=sparse", "status=none"],
        check=True,
    )
    replay = subprocess.run(["e2fsck", "-p", partition], capture_output=True, text=True)
    demand(replay.returncode in (0, 1), f"e2fsck -p: {replay.stdout}{replay.stderr}")
    check = subprocess.run(["e2fsck", "-f", "-n", partition], capture_output=True, text=True)
    demand(check.returncode == 0, f"e2fsck -f: {check.stdout}{check.stderr}")


def main():
    program = os.path.abspath(sys.argv[1])
    folder = tempfile.mkdtemp(prefix="coppice-vm.")
    os.environ["COPPICE_STORE"] = os.path.join(folder, "store")
    os.environ["PATH"] += ":/usr/sbin:/sbin"

    def coppice(*arguments, code=0):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
        demand(done.returncode == code, f"coppice {' '.join(arguments)}: {done.returncode}, {done.stdout}{done.stderr}")
        return done.stderr

    daemon = Daemon(program, folder)
    guest = Guest(os.path.join(folder, "guest"))
    began = time.monotonic()

    def part(text):
        print(f"[{time.monotonic() - began:5.1f} s] {text}", flush=True)

    try:
        image = os.path.join(folder, "debian.raw")
        part("making the disk")
        subprocess.run([os.path.join(HERE, "make_guest_disk.sh"), image], check=True)
        coppice("init")
        coppice("import", image, "disk")
        daemon.start()
        part("booting")
        guest.start(daemon.uri("disk"))
        part("killing the daemon under the writing guest")
        survive_daemon_death(daemon, guest)
        part("snapshot, damage, rollback")
        rolled_back(coppice, daemon, guest)
        part("checking the snapshot's file system")
        snapshot_is_whole(daemon, folder)
        daemon.stop()
        coppice("check")
        part("all as it should be")
    except (Failure, subprocess.SubprocessError) as failure:
        print(f"boot_test: {failure}\n(the folder is kept: {folder})", file=sys.stderr)
        return 1
    finally:
        guest.kill()
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
