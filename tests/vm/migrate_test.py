#!/usr/bin/python3
"""usage: migrate_test.py COPPICE

A Debian guest that writes all the time migrates live from one QEMU to another, both on one disk, each by an
attachment of its own:
  - the destination's first write fences the source, whose late flushes cost it nothing;
  - the guest sees no error and finds every record that it has written;
  - a migration that is called off leaves the source writing;
  - a daemon that dies by kill -9, again and again, costs a guest on an attachment no error and no byte.

COPPICE_MIGRATIONS (1) says how often the guest migrates, COPPICE_MIGRATE_KILLS (3) how often the daemon dies.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from boot_test import WRITER, Daemon, Failure, demand
from guest import Guest, GuestError

HERE = os.path.dirname(os.path.abspath(__file__))
MIGRATIONS = int(os.environ.get("COPPICE_MIGRATIONS", "1"))
KILLS = int(os.environ.get("COPPICE_MIGRATE_KILLS", "3"))
PATIENCE_S = 120


class Monitor:
    """QMP, each answer within a time."""

    def __init__(self, path):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE_S)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                demand(time.monotonic() < deadline, f"no monitor at {path}")
                time.sleep(0.05)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            if "event" in answer:
                continue
            demand("error" not in answer, f"{command}: {answer.get('error')}")
            return answer["return"]

    def close(self):
        self.lines.close()
        self.socket.close()


class Machine:
    """A QEMU process with an attachment of its own."""

    def __init__(self, coppice, daemon, folder, number, incoming):
        self.coppice = coppice
        self.guest = Guest(os.path.join(folder, f"machine{number}"))
        options = ["--label", f"machine{number}"] + (["--incoming"] if incoming else [])
        self.attachment = json.loads(coppice("attach", "disk", *options, "--json"))
        uri = daemon.uri(self.attachment["export"])
        qmp = ["-qmp", f"unix:{self.guest.path('qmp.sock')},server=on,wait=off"]
        if incoming:
            self.guest.launch(uri, [*qmp, "-incoming", "defer"])
        else:
            self.guest.start(uri, qmp)
        self.monitor = Monitor(self.guest.path("qmp.sock"))

    def state(self):
        for each in json.loads(self.coppice("info", "disk", "--json"))["attached"]:
            if each["token"] == self.attachment["token"]:
                return each["state"]
        return "detached"

    def wait_for_status(self, wanted):
        deadline = time.monotonic() + PATIENCE_S
        while self.monitor.execute("query-status")["status"] != wanted:
            demand(time.monotonic() < deadline, f"it is {self.monitor.execute('query-status')}, not {wanted}")
            time.sleep(0.02)

    def quit(self):
        self.monitor.execute("quit")
        self.monitor.close()
        demand(self.guest.process.wait(timeout=PATIENCE_S) == 0, "QEMU did not end in order")
        said = self.guest.read("qemu.log").strip()
        demand(said == "", f"QEMU complained: {said}")
        self.coppice("detach", "disk", self.attachment["token"])


def migrate(source, target):
    path = target.guest.path("migration.sock")
    target.monitor.execute("migrate-incoming", uri=f"unix:{path}")
    source.monitor.execute("migrate-set-parameters", max_bandwidth=1 << 32, downtime_limit=500)
    source.monitor.execute("migrate", uri=f"unix:{path}")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        progress = source.monitor.execute("query-migrate")
        if progress["status"] == "completed":
            return progress
        demand(progress["status"] not in ("failed", "cancelled"), f"the migration failed: {progress}")
        demand(time.monotonic() < deadline, f"the migration does not end: {progress}")
        time.sleep(0.02)


def count_records(guest):
    return int(guest.run("cat /run/sums 2>/dev/null | wc -l")[1])


def writes_on(guest, seconds=60):
    before = count_records(guest)
    deadline = time.monotonic() + seconds
    while count_records(guest) <= before + 1:
        demand(time.monotonic() < deadline, "the guest writes no more")
        time.sleep(0.1)


def stop_and_verify(guest, least):
    code, output = guest.run("touch /run/stop; while [ ! -e /run/writer-done ]; do sleep 0.1; done; wc -l </run/sums")
    demand(code == 0 and int(output) >= least, f"the guest wrote too little to prove anything: {output}")
    errors = guest.run("cat /run/writer-errors 2>/dev/null; dmesg | grep -iE 'I/O error|ext4-fs error|ext4-fs warning'")[1]
    demand(errors == "", f"the guest saw errors:\n{errors}")
    code, wrong = guest.run("echo 3 >/proc/sys/vm/drop_caches; cd /srv/records && sha256sum --quiet -c /run/sums")
    demand(code == 0, f"records changed:\n{wrong}")
    guest.run("rm -rf /srv/records /run/sums /run/writer-done")
    return int(output)


def start_writer(guest):
    demand(guest.run(WRITER)[0] == 0, "the guest's writer did not start")
    deadline = time.monotonic() + PATIENCE_S
    while count_records(guest) < 2:
        demand(time.monotonic() < deadline, "the guest's writer does not write")
        time.sleep(0.1)


def migrate_once(coppice, daemon, folder, number, source):
    target = Machine(coppice, daemon, folder, number, incoming=True)
    demand((source.state(), target.state()) == ("active", "incoming"), "the states before the migration")
    writes_on(source.guest)
    progress = migrate(source, target)
    target.wait_for_status("running")
    writes_on(target.guest)
    demand((source.state(), target.state()) == ("fenced", "active"), "the states after the migration")
    again = subprocess.run(["qemu-img", "info", daemon.uri(source.attachment["export"])], capture_output=True, text=True)
    # Its connection is still there: who comes now is told, and nobody is disturbed.
    demand(again.returncode != 0 and "fenced" in again.stderr, f"a fenced attachment is told so: {again.stderr}")
    # The source flushes twice more when it ends.
    source.quit()
    writes_on(target.guest)
    return target, progress["downtime"]


def call_off(coppice, daemon, folder, number, source):
    target = Machine(coppice, daemon, folder, number, incoming=True)
    writes_on(source.guest)
    target.quit()
    demand((source.state(), target.state()) == ("active", "detached"), "the states after it was called off")
    writes_on(source.guest)


def survive_kills(daemon, guest):
    start_writer(guest)
    for _ in range(KILLS):
        time.sleep(1.5)
        daemon.kill()
        time.sleep(0.5)
        daemon.start()
    writes_on(guest)
    return stop_and_verify(guest, 3)


def main():
    program = os.path.abspath(sys.argv[1])
    folder = tempfile.mkdtemp(prefix="coppice-migrate.")
    os.environ["COPPICE_STORE"] = os.path.join(folder, "store")
    os.environ["PATH"] += ":/usr/sbin:/sbin"

    def coppice(*arguments):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
        demand(done.returncode == 0, f"coppice {' '.join(arguments)}: {done.returncode}, {done.stdout}{done.stderr}")
        return done.stdout

    daemon = Daemon(program, folder)
    machines = []
    began = time.monotonic()

    def part(text):
        print(f"[{time.monotonic() - began:5.1f} s] {text}", flush=True)

    try:
        image = os.path.join(folder, "debian.raw")
        subprocess.run([os.path.join(HERE, "make_guest_disk.sh"), image], check=True)
        coppice("init")
        coppice("import", image, "disk")
        daemon.start()
        part("booting")
        machines.append(Machine(coppice, daemon, folder, 0, incoming=False))
        start_writer(machines[-1].guest)
        part("calling a migration off")
        call_off(coppice, daemon, folder, "-none", machines[-1])
        for number in range(1, MIGRATIONS + 1):
            target, downtime = migrate_once(coppice, daemon, folder, number, machines[-1])
            machines.append(target)
            part(f"migration {number}: the guest stood still for {downtime} ms")
        part(f"{stop_and_verify(machines[-1].guest, 4)} records, all there")
        part(f"killing the daemon {KILLS} times: {survive_kills(daemon, machines[-1].guest)} records, all there")
        machines[-1].guest.stop()
        coppice("detach", "disk", "--all")
        daemon.stop()
        coppice("check")
        part("all as it should be")
    except (Failure, GuestError, OSError, subprocess.SubprocessError) as failure:
        print(f"migrate_test: {failure}\n(the folder is kept: {folder})", file=sys.stderr)
        return 1
    finally:
        for machine in machines:
            machine.guest.kill()
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
