"""The real program under test: a store of its own, its commands, its daemon.

Every call has a time limit. The program is $COPPICE (ctest sets it); scratch space is made in the current
folder, which has to be on a disk with O_DIRECT.
"""
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

PROGRAM = os.environ.get("COPPICE", "")
SANITIZED = os.environ.get("COPPICE_SANITIZED", "") == "1"
PATIENCE = 300.0 if SANITIZED else 120.0  # seconds for one command
MIB = 1 << 20


def tool(name):
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is missing: run ./setup")
    return path


def run(*command, expect=0, input=None, timeout=PATIENCE):
    """Runs a command and returns what it printed; fails with all it said if it ends with another code."""
    done = subprocess.run([str(part) for part in command], input=input, capture_output=True, timeout=timeout)
    if expect is not None and done.returncode != expect:
        raise AssertionError(
            f"{' '.join(map(str, command))}: exit code {done.returncode}, not {expect}\n"
            f"{done.stdout.decode(errors='replace')[-3000:]}{done.stderr.decode(errors='replace')[-3000:]}"
        )
    return done


class Daemon:
    """`coppice serve`, from its start until stop() or kill()."""

    def __init__(self, store, log, wait=True, options=(), serve=()):
        self.socket = os.path.join(store, "test.sock")
        self.log_path = log
        with open(log, "ab") as log_file:
            self.process = subprocess.Popen(
                [PROGRAM, "--store", store, *options, "serve", "--listen", self.socket, *serve],
                stdout=subprocess.PIPE,
                stderr=log_file,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self):
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line.startswith(b"listening on"):
            self.process.wait(timeout=PATIENCE)
            with open(self.log_path, "rb") as log_file:
                raise AssertionError(
                    f"the daemon ended with {self.process.returncode}: {log_file.read()[-2000:].decode(errors='replace')}"
                )

    def uri(self, export=""):
        return f"nbd+unix:///{export}?socket={self.socket}"

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        """An orderly end, which has to come within 30 s and with exit code 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()
        if code != 0:
            raise AssertionError(f"the daemon ended with {code} after SIGTERM")

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()


class Tail:
    """What a log says from now on."""

    def __init__(self, path):
        self.path = path
        self.start = os.path.getsize(path) if os.path.exists(path) else 0

    def text(self):
        with open(self.path) as log:
            log.seek(self.start)
            return log.read()


class Store:
    def __init__(self, name="interop", init=True):
        if not PROGRAM:
            raise RuntimeError("COPPICE is not set: it names the program to test")
        self.folder = tempfile.mkdtemp(prefix=f"{name}.", dir=os.getcwd())
        self.path = os.path.join(self.folder, "store")
        self.daemon = None
        if init:
            self.run("init")

    def file(self, name):
        return os.path.join(self.folder, name)

    def run(self, *arguments, expect=0, input=None):
        return run(PROGRAM, "--store", self.path, *arguments, expect=expect, input=input)

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json").stdout)

    def start(self, *arguments, **options):
        return subprocess.Popen([PROGRAM, "--store", self.path, *arguments], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, **options)

    def serve(self, wait=True):
        self.daemon = Daemon(self.path, self.file("daemon.log"), wait)
        return self.daemon

    def uri(self, export=""):
        return self.daemon.uri(export)

    def remove(self):
        if self.daemon is not None and self.daemon.alive():
            self.daemon.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class StoreTest(unittest.TestCase):
    """One store, served, for all tests of a class; each test makes disks of its own."""

    @classmethod
    def setUpClass(cls):
        cls.store = Store(cls.__name__)
        cls.store.serve()
        cls.count = 0

    @classmethod
    def tearDownClass(cls):
        try:
            if cls.store.daemon.alive():
                cls.store.daemon.stop()
                cls.store.run("check")
            else:
                raise AssertionError("the daemon died: " + open(cls.store.file("daemon.log")).read()[-3000:])
        finally:
            cls.store.remove()

    def new_disk(self, size):
        type(self).count += 1
        name = f"disk{type(self).count}"
        self.store.run("create", name, "--size", str(size))
        return name

    def write(self, disk, *commands):
        """Commands of qemu-io; its reads verify."""
        arguments = [part for command in commands for part in ("-c", command)]
        done = run(tool("qemu-io"), "-f", "raw", *arguments, self.store.uri(disk))
        self.assertNotIn(b"failed", done.stdout)

    def refused(self, *arguments, says=(), input=None):
        """Exit code 2, nothing on stdout, one line on stderr that names what it is about."""
        done = self.store.run(*arguments, expect=None, input=input)
        text = done.stderr.decode()
        what = " ".join(arguments) + ": " + text
        self.assertEqual(done.returncode, 2, what)
        self.assertEqual(done.stdout, b"", what)
        self.assertEqual(text.count("\n"), 1, what)
        for part in says:
            self.assertIn(part, text)
        return text


def random_image(path, size, seed, holes=True):
    """Random bytes with some stretches of zeroes, as an image of a disk has."""
    source = random.Random(seed)
    with open(path, "wb") as image:
        while image.tell() < size:
            piece = min(source.choice([4096, 65536, 512, 1 * MIB]), size - image.tell())
            if holes and source.random() < 0.3:
                image.seek(piece, os.SEEK_CUR)
                image.truncate(image.tell())
            else:
                image.write(source.randbytes(piece))
        image.truncate(size)
    return path


def same_files(left, right):
    return subprocess.run(["cmp", left, right], capture_output=True).returncode == 0


def wait_until(condition, what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
