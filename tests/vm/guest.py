#!/usr/bin/python3
"""Starts, commands and stops the guest that make_guest_disk.sh makes.

  guest.py start FOLDER --disk URI    boots it; returns when it answers
  guest.py run FOLDER COMMAND         runs a shell command in it; prints its output, ends with its code
  guest.py stop FOLDER                shuts it down cleanly
  guest.py kill FOLDER                pulls the plug
  guest.py command URI                prints the QEMU command line for a person at a terminal

URI is nbd+unix:///EXPORT?socket=PATH, nbd://HOST:PORT/EXPORT or a raw file. FOLDER holds the guest's sockets,
its console's log and its pid; one guest a folder. QEMU runs without KVM, so any machine will do.
"""

import argparse
import base64
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

# How long QEMU waits for a server that went away before the guest sees an error.
RECONNECT_DELAY_S = 60
BOOT_TIMEOUT_S = 300


class GuestError(Exception):
    pass


def blockdev(uri):
    """The -blockdev argument, as a JSON object, for a URI or a raw file."""
    url = urllib.parse.urlsplit(uri)
    if url.scheme == "nbd+unix":
        server = {"type": "unix", "path": urllib.parse.parse_qs(url.query)["socket"][0]}
    elif url.scheme == "nbd":
        server = {"type": "inet", "host": url.hostname, "port": str(url.port or 10809)}
    elif url.scheme == "":
        return {"driver": "raw", "node-name": "disk", "file": {"driver": "file", "filename": uri}}
    else:
        raise GuestError(f"{uri}: neither NBD nor a file")
    return {
        "driver": "nbd",
        "node-name": "disk",
        "server": server,
        "export": url.path.lstrip("/"),
        "reconnect-delay": RECONNECT_DELAY_S,
        "discard": "unmap",
    }


def qemu_command(uri):
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
        "-accel", "tcg", "-cpu", "max", "-m", "256",
        "-blockdev", json.dumps(blockdev(uri)), "-device", "virtio-blk-pci,drive=disk",
    ]  # fmt: skip


class Guest:
    """A running guest, known by its folder: its process and the port its agent listens at."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None  # if this object started it

    def path(self, name):
        return os.path.join(self.folder, name)

    def pid(self):
        try:
            with open(self.path("pid"), encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def alive(self):
        pid = self.pid()
        if pid is None:
            return False
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                name, rest = file.read().rsplit(")", 1)
        except OSError:
            return False
        # A dead one that nobody has waited for yet is a zombie; a number may have been given away again.
        return "qemu-system" in name and rest.split()[0] not in "ZX"

    def launch(self, uri, options=()):
        """Starts QEMU and doesn't wait for the guest."""
        if self.alive():
            raise GuestError(f"{self.folder}: a guest is running there already")
        os.makedirs(self.folder, exist_ok=True)
        for name in ("agent.sock", "pid", "console.log", "agent.log"):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        command = qemu_command(uri) + [
            "-display", "none", "-pidfile", self.path("pid"),
            "-serial", f"file:{self.path('console.log')}",
            "-chardev", f"socket,id=agent,path={self.path('agent.sock')},server=on,wait=off,"
                        f"logfile={self.path('agent.log')}",
            "-serial", "chardev:agent", *options,
        ]  # fmt: skip
        with open(self.path("qemu.log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start(self, uri, options=()):
        began = time.monotonic()
        self.launch(uri, options)
        while "ready" not in self.read("agent.log"):
            if self.process.poll() is not None:
                raise GuestError(f"QEMU ended while booting: {self.read('qemu.log').strip()}")
            if time.monotonic() - began > BOOT_TIMEOUT_S:
                self.process.kill()
                raise GuestError(f"no answer after {BOOT_TIMEOUT_S} s; its console said:\n" + self.read("console.log"))
            time.sleep(0.1)
        return time.monotonic() - began

    def read(self, name):
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def run(self, command, timeout_s=300):
        """Exit code and output of a shell command in the guest."""
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(timeout_s)
            agent.connect(self.path("agent.sock"))
            agent.sendall(base64.b64encode(command.encode()) + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                received = agent.recv(65536)
                if not received:
                    raise GuestError("the guest went away while it ran: " + command)
                answer += received
        code, _, output = answer.decode("ascii").strip().partition(" ")
        return int(code), base64.b64decode(output).decode("utf-8", errors="replace")

    def wait_for_end(self, timeout_s):
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > deadline:
                raise GuestError(f"QEMU (pid {self.pid()}) did not end in {timeout_s} s")
            time.sleep(0.05)

    def stop(self):
        if not self.alive():
            raise GuestError(f"{self.folder}: no guest is running there")
        try:
            self.run("poweroff")
        except GuestError:
            pass  # it is gone before it can answer
        self.wait_for_end(120)

    def kill(self):
        if self.alive():
            os.kill(self.pid(), signal.SIGKILL)
            self.wait_for_end(30)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start")
    start.add_argument("folder")
    start.add_argument("--disk", required=True)
    run = verbs.add_parser("run")
    run.add_argument("folder")
    run.add_argument("command")
    run.add_argument("--timeout", type=float, default=300)
    for verb in ("stop", "kill"):
        verbs.add_parser(verb).add_argument("folder")
    verbs.add_parser("command").add_argument("disk")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.verb == "command":
        print(shlex.join(qemu_command(arguments.disk) + ["-display", "none", "-serial", "mon:stdio"]))
        return 0
    guest = Guest(arguments.folder)
    if arguments.verb == "start":
        print(f"guest is up after {guest.start(arguments.disk):.1f} s")
    elif arguments.verb == "run":
        code, output = guest.run(arguments.command, arguments.timeout)
        sys.stdout.write(output)
        return code
    elif arguments.verb == "stop":
        guest.stop()
    else:
        guest.kill()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (GuestError, OSError) as error:
        print(f"guest.py: {error}", file=sys.stderr)
        sys.exit(2)
