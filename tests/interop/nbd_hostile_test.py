"""Clients that lie, stall, vanish or send noise, beside one that does its work: it notices nothing."""
import contextlib
import json
import os
import random
import socket
import struct
import subprocess
import threading
import unittest

from coppice import MIB, SANITIZED, StoreTest, run, tool, wait_until
from nbd_wire import *

SECONDS = int(os.environ.get("COPPICE_HOSTILE_SECONDS", "6"))


class Hostile(StoreTest):
    def setUp(self):
        self.disk = self.new_disk("64M")
        self.random = random.Random(20261126)
        self.path = self.store.daemon.socket

    def handle(self, form):
        client = Wire(self.path)
        if form != "simple":
            client.agree(form).set_contexts(self.disk, "base:allocation", "qemu:allocation-depth")
        return client.go(self.disk)

    # Each is one client; it ends, and the server has hung up on it where it says so.
    def noise_at_once(self, client):
        client.send(self.random.randbytes(200))
        return client

    def a_wrong_option(self, client):
        client.send(b"IHAVEOPX" + struct.pack(">II", OPT_LIST, 0))
        return client

    def an_endless_option(self, client):
        client.send(b"IHAVEOPT" + struct.pack(">II", OPT_GO, 0xFFFFFFFF))
        return client

    def half_an_option(self, client):
        client.send(b"IHAVEOPT" + struct.pack(">II", OPT_GO, 100) + bytes(50))

    def a_wrong_request(self, _):
        client = self.handle(self.random.choice(("simple", "structured", "extended")))
        client.send(client.header(CMD_READ, 0, 512, magic=0xDEADBEEF))
        return client

    def a_payload_without_end(self, _):
        client = self.handle("extended")
        client.send(client.header(CMD_WRITE, 0, (1 << 64) - 1, FLAG_PAYLOAD_LEN) + bytes(1000))
        return client

    def half_a_payload(self, _):
        client = self.handle(self.random.choice(("structured", "extended")))
        flag = FLAG_PAYLOAD_LEN if client.form == "extended" else 0
        client.send(client.header(CMD_WRITE, 0, 32 * MIB, flag) + b"\xee" * self.random.randrange(MIB))

    def half_a_header(self, _):
        client = self.handle(self.random.choice(("structured", "extended")))
        client.send(client.header(CMD_FLUSH)[:self.random.randrange(1, 28)])

    def vanishing_with_requests_in_flight(self, _):
        client = self.handle("extended")
        for at in range(64):
            client.send(client.header(CMD_READ, at * MIB, MIB if at < 63 else 1) + client.header(CMD_TRIM, 0, 4096) +
                        client.header(CMD_BLOCK_STATUS, 0, 64 * MIB))

    def refused_requests(self, _):
        client = self.handle("extended")
        for _ in range(50):
            command, flags = self.random.randrange(12), self.random.choice((0, 1 << 9, FLAG_PAYLOAD_LEN))
            length = self.random.randrange(1, 10_000)
            if command == CMD_DISC or (command == CMD_WRITE and flags == FLAG_PAYLOAD_LEN):
                continue
            payload = bytes(length) if flags == FLAG_PAYLOAD_LEN else b""
            error = client.ask(command, 65 * MIB, length, flags, payload)[0]
            assert error or command == CMD_FLUSH, (command, flags)

    def noise_after_the_handshake(self, _):
        client = self.handle(self.random.choice(("simple", "structured", "extended")))
        for _ in range(20):
            header = client.header(self.random.randrange(10), self.random.getrandbits(64), self.random.getrandbits(32),
                                   self.random.getrandbits(16))
            client.send(header + self.random.randbytes(self.random.randrange(64)))

    ALL = (noise_at_once, a_wrong_option, an_endless_option, half_an_option, a_wrong_request, a_payload_without_end,
           half_a_payload, half_a_header, vanishing_with_requests_in_flight, refused_requests,
           noise_after_the_handshake)

    def one_hostile_client(self, behave):
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(Wire(self.path))
            try:
                cut_off = behave(self, client)
            except OSError:
                return  # it was hung up on before it was done
            if cut_off is not None:
                stack.enter_context(cut_off)
                while not cut_off.ended():
                    pass
            elif self.random.random() < 0.5:
                client.socket.shutdown(socket.SHUT_WR)

    def slow_clients(self):
        """Stand there for as long as the test: silent, stalled in a payload, not reading, one byte at a time."""
        greeted, silent = Wire(self.path), Wire(self.path, greet=False)
        stalled = self.handle("extended")
        stalled.send(stalled.header(CMD_WRITE, 0, MIB, FLAG_PAYLOAD_LEN) + b"\xee" * 1000)
        deaf = self.handle("structured")
        deaf.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            for _ in range(100_000):
                deaf.send(deaf.header(CMD_READ, 0, MIB))
        return [greeted, silent, stalled, deaf]

    def dribble(self, stop):
        with self.handle("extended") as client:
            request = client.header(CMD_READ, 0, 512)
            for count in range(1 << 30):
                if stop.wait(0.02):
                    return
                client.send(request[count % 32:count % 32 + 1])
                if count % 32 == 31:
                    client.reply(0)

    def memory_kib(self):
        with open(f"/proc/{self.store.daemon.process.pid}/status") as status:
            return int(status.read().split("VmRSS:")[1].split()[0])

    def test_a_good_client_beside_hostile_ones(self):
        good_disk = self.new_disk("64M")
        load = subprocess.Popen(
            [tool("fio"), "--name=good", "--ioengine=nbd", f"--uri={self.store.uri(good_disk)}", "--rw=randwrite",
             "--bs=4k", "--iodepth=8", "--size=64M", "--time_based", f"--runtime={SECONDS}", "--verify=xxhash",
             "--do_verify=1", "--verify_backlog=256", "--verify_fatal=1", "--fsync=32", "--verify_state_save=0",
             "--output-format=json"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(load.kill)
        before = self.memory_kib()
        slow = self.slow_clients()
        stop = threading.Event()
        dribbler = threading.Thread(target=self.dribble, args=(stop,))
        dribbler.start()
        counts = dict.fromkeys((behave.__name__ for behave in self.ALL), 0)
        while load.poll() is None:
            behave = self.random.choice(self.ALL)
            self.one_hostile_client(behave)
            counts[behave.__name__] += 1
        stop.set()
        dribbler.join()
        text = load.stdout.read().decode()
        load.stdout.close()
        self.assertEqual(load.returncode, 0, text[-2000:])
        job = json.loads(text[text.index("{"):])["jobs"][0]
        self.assertEqual(job["error"], 0)
        self.assertGreater(min(counts.values()), 0, counts)
        if not SANITIZED:
            self.assertLess(job["write"]["clat_ns"]["max"], 5e9)
            # 8 MiB of replies wait for the client that doesn't read them, and the good one has its map in memory. What
            # the others had goes back to the system once their last requests have ended.
            wait_until(lambda: self.memory_kib() - before < 160 << 10, f"the memory of {counts} is given back")
        for client in slow:
            client.socket.close()
        with self.handle("extended") as last:
            # What stalled never began; reads, trims and refusals changed nothing else.
            self.assertEqual(last.read(0, 1000), (0, bytes(1000)))
        self.assertEqual(run(tool("nbdinfo"), "--size", self.store.uri(self.disk)).stdout.strip(), b"67108864")


if __name__ == "__main__":
    unittest.main(verbosity=2)
