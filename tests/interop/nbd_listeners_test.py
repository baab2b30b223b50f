"""What an administrator says of listeners, held against real clients: rights, permissions, limits, systemd's sockets.

COPPICE_NBD_IDLE=1000 has so many idle clients in place of 200.
"""
import grp
import json
import os
import pwd
import socket
import stat
import struct
import subprocess
import time
import unittest

import nbd  # Debian has it for its own Python only

from coppice import MIB, PATIENCE, PROGRAM, SANITIZED, Daemon, Store, Tail, run, tool, wait_until

NBDINFO = tool("nbdinfo")
IDLE = int(os.environ.get("COPPICE_NBD_IDLE", "200"))


def rss(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def client_of(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


class Listeners(unittest.TestCase):
    """A store with a few disks; each test serves it as it likes."""

    @classmethod
    def setUpClass(cls):
        cls.store = Store("listeners")
        cls.addClassCleanup(cls.store.remove)
        for disk in ("web", "webs", "db"):
            cls.store.run("create", disk, "--size", "8M")
        cls.store.run("snapshot", "web@one")
        cls.store.run("clone", "web@one", "twin")
        cls.store.run("snapshot", "twin@two")

    def setUp(self):
        self.addCleanup(self.end)
        self.daemon = None

    def end(self):
        if self.daemon is not None and self.daemon.alive():
            self.daemon.stop()

    def serve(self, *listeners, options=()):
        """Serves besides the usual socket, and answers where."""
        words = [word for text in listeners for word in ("--listen", text)]
        self.log = Tail(self.store.file("log"))
        self.daemon = self.store.daemon = Daemon(self.store.path, self.store.file("log"), serve=[*words, *options])
        lines = [self.daemon.process.stdout.readline().decode().strip() for _ in listeners]
        return [line.removeprefix("listening on ") for line in lines]

    def refused(self, *words, says=()):
        done = self.store.run("serve", *words, expect=2)
        text = done.stderr.decode()
        self.assertEqual(text.count("\n"), 1, text)
        for part in says:
            self.assertIn(part, text)

    def told(self, uri):
        """What the server says to a client that it refuses: QEMU shows it, libnbd does not."""
        return run(tool("qemu-img"), "info", uri, expect=1).stderr.decode()

    def at(self, uri, export):
        head, mark, query = uri.partition("?")
        return head.rstrip("/") + "/" + export + mark + query if mark == "" else f"{head}{export}{mark}{query}"

    def test_the_socket_of_a_listener_is_whose_it_says(self):
        path = self.store.file("mine.sock")
        nobody = pwd.getpwnam("nobody")
        group = grp.getgrgid(nobody.pw_gid).gr_name
        root = os.geteuid() == 0
        owner = "&owner=nobody" if root else ""
        group = f"&group={group}" if root else f"&group={os.getgid()}"
        uris = self.serve(f"nbd+unix:///?socket={path}&mode=0620{owner}{group}")
        status = os.stat(path)
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o620)
        self.assertEqual(status.st_uid, nobody.pw_uid if root else os.getuid())
        self.assertEqual(status.st_gid, nobody.pw_gid if root else os.getgid())
        run(NBDINFO, self.at(uris[0], "web"))
        self.assertEqual(stat.S_IMODE(os.stat(self.daemon.socket).st_mode), 0o660)
        self.daemon.stop()
        self.assertFalse(os.path.exists(path))

    def test_tcp_over_both_families(self):
        four, six = self.serve("nbd://127.0.0.1:0", "nbd://[::1]:0")
        self.assertRegex(six, r"^nbd://\[::1\]:[0-9]+/$")
        for uri in (four, six):
            self.assertEqual(json.loads(run(NBDINFO, "--json", self.at(uri, "web")).stdout)["exports"][0]["export-size"],
                             8 * MIB)

    def test_every_address_takes_both_families_beside_each_other(self):
        port = free_port()
        self.serve(f"nbd://0.0.0.0:{port}/?tls=off&read-only", f"nbd://[::]:{port}/?tls=off")
        run(NBDINFO, "--is", "read-only", f"nbd://127.0.0.1:{port}/web")
        run(NBDINFO, "--is", "read-only", f"nbd://[::1]:{port}/web", expect=2)
        self.assertEqual(self.log.text().count("without TLS"), 2)

    def test_a_read_only_listener(self):
        (uri,) = self.serve(f"nbd+unix:///?socket={self.store.file('ro.sock')}&read-only")
        listed = json.loads(run(NBDINFO, "--list", "--json", uri).stdout)["exports"]
        self.assertEqual({export["is_read_only"] for export in listed}, {True})
        reader = client_of(self.at(uri, "db"))
        self.assertTrue(reader.is_read_only())
        with self.assertRaises(nbd.Error):
            reader.pwrite(bytes(512), 0, 0)
            self.fail("written")
        # It is in no writer's way, and cannot become one.
        attached = self.store.json("attach", "db")
        self.addCleanup(self.store.run, "detach", "db", "--all")
        self.assertTrue(all("ro.sock" not in each for each in attached["nbd"]), attached["nbd"])
        self.assertIn("read-only", self.told(self.at(uri, attached["export"])))
        run(tool("qemu-io"), "-f", "raw", "-c", "write -P 1 0 4k", attached["nbd"][0])
        self.assertEqual(bytes(reader.pread(4096, 0)), b"\x01" * 4096)
        reader.shutdown()

    def test_a_listener_shows_the_disks_that_it_names(self):
        (uri,) = self.serve(f"nbd+unix:///?socket={self.store.file('some.sock')}&disks=web,tw*")
        listed = json.loads(run(NBDINFO, "--list", "--json", uri).stdout)["exports"]
        names = sorted(export["export-name"] for export in listed)
        self.assertEqual(names, ["twin", "twin@two", "web", "web@one"])
        said = [self.told(self.at(uri, name)).replace(name, "NAME") for name in ("db", "webs", "tw-none")]
        self.assertEqual(len(set(said)), 1, said)
        self.assertIn("no such export here", said[0])
        self.assertTrue(any("some.sock" in each for each in self.store.json("info", "web")["nbd"]))
        self.assertFalse(any("some.sock" in each for each in self.store.json("info", "db")["nbd"]))

    def test_no_bitmap_tells_of_a_disk_that_is_not_shown(self):
        both, one = self.serve(f"nbd+unix:///?socket={self.store.file('both.sock')}&disks=web,twin",
                               f"nbd+unix:///?socket={self.store.file('one.sock')}&disks=twin")
        context = "qemu:dirty-bitmap:web@one"
        for uri, there in ((both, True), (one, False)):
            handle = nbd.NBD()
            handle.add_meta_context(context)
            handle.connect_uri(self.at(uri, "twin"))
            self.assertEqual(handle.can_meta_context(context), there)
            handle.shutdown()

    def activate(self, names, addresses, *words):
        listen = [f"--listen={address}" for address in addresses]
        with open(self.store.file("activated.log"), "wb") as log:
            process = subprocess.Popen([tool("systemd-socket-activate"), *listen, f"--fdname={':'.join(names)}", PROGRAM,
                                        "--store", self.store.path, "serve", *words],
                                       stdout=subprocess.DEVNULL, stderr=log)
        self.addCleanup(self.finish, process)
        return process

    def finish(self, process):
        process.terminate()
        with open(self.store.file("activated.log")) as log:
            self.assertEqual(process.wait(timeout=PATIENCE), 0, log.read())

    def test_sockets_that_systemd_passes(self):
        path, port = self.store.file("passed.sock"), free_port()
        self.activate(["rw", "ro"], [path, f"127.0.0.1:{port}"], "--listen", "systemd:ro?read-only&disks=web",
                      "--listen", "systemd:rw")
        wait_until(lambda: os.path.exists(path), "systemd-socket-activate listens")
        run(NBDINFO, "--is", "read-only", f"nbd+unix:///webs?socket={path}", expect=2)
        run(NBDINFO, "--is", "read-only", f"nbd://127.0.0.1:{port}/web")
        run(NBDINFO, f"nbd://127.0.0.1:{port}/db", expect=1)

    def test_passed_sockets_need_no_listen(self):
        path = self.store.file("plain.sock")
        process = self.activate(["any"], [path])
        wait_until(lambda: os.path.exists(path), "systemd-socket-activate listens")
        run(NBDINFO, f"nbd+unix:///db?socket={path}")
        with open(f"/proc/{process.pid}/environ", "rb") as environ:
            self.assertIn(b"LISTEN_FDS=1", environ.read())
        self.assertFalse(os.path.exists(os.path.join(self.store.path, "nbd.sock")))
        # The socket is systemd's: it stays when the daemon ends.
        process.terminate()
        process.wait(timeout=PATIENCE)
        self.assertTrue(os.path.exists(path))
        os.remove(path)

    def test_a_passed_socket_goes_on_listening_for_the_next_daemon(self):
        for family, address in ((socket.AF_UNIX, self.store.file("next.sock")), (socket.AF_INET, ("127.0.0.1", 0))):
            with socket.socket(family) as passed, socket.socket(family) as waiting:
                passed.bind(address)
                passed.listen()
                passed.setblocking(False)
                unix = family == socket.AF_UNIX
                uri = f"nbd+unix:///web?socket={address}" if unix else f"nbd://127.0.0.1:{passed.getsockname()[1]}/web"
                first = self.start_with(passed.fileno())
                run(NBDINFO, uri)
                first.terminate()
                self.assertEqual(first.wait(timeout=PATIENCE), 0)
                # Who comes between the two is served by the second.
                waiting.settimeout(PATIENCE)
                waiting.connect(passed.getsockname())
                second = self.start_with(passed.fileno())
                self.assertEqual(waiting.recv(8, socket.MSG_WAITALL), b"NBDMAGIC")
                waiting.close()
                second.terminate()
                self.assertEqual(second.wait(timeout=PATIENCE), 0)

    def start_with(self, descriptor):
        script = f"export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&{descriptor}"
        return subprocess.Popen(["bash", "-c", script, "-", PROGRAM, "--store", self.store.path, "serve"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[descriptor])

    def refusal_with(self, descriptor, count, *words, names=""):
        """What `serve` says to descriptors that somebody else than systemd got wrong."""
        script = f"export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}; exec \"$@\" 3<&{descriptor}"
        done = subprocess.run(["bash", "-c", script, "-", PROGRAM, "--store", self.store.path, "serve", *words],
                              capture_output=True, pass_fds=[descriptor], timeout=PATIENCE)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        return done.stderr.decode()

    def test_sockets_that_are_passed_wrongly(self):
        with open("/dev/null") as null:
            self.assertIn("'unknown'", self.refusal_with(null.fileno(), 1))
            self.assertIn("is not open", self.refusal_with(null.fileno(), 40))
            self.assertIn("no number", self.refusal_with(null.fileno(), "many"))
        with socket.socket(socket.AF_UNIX) as unbound:
            self.assertIn("ListenStream=", self.refusal_with(unbound.fileno(), 1))
        with socket.socket(socket.AF_UNIX) as passed:
            passed.bind(self.store.file("s"))
            passed.listen()
            said = self.refusal_with(passed.fileno(), 1, "--listen", "systemd:vm", names="backup")
            self.assertIn("'systemd:backup'", said)
            self.assertIn("no such socket", self.refusal_with(passed.fileno(), 1, "--listen", "systemd:vm", "--listen",
                                                             "systemd:", names="backup"))
        self.refused("--listen", "systemd:vm", says=["systemd:vm", "no such socket"])

    def test_what_is_wrong_is_said_with_the_remedy(self):
        path = self.store.file("x.sock")
        self.refused("--listen", f"nbd+unix:///?socket={path}&mode=rw", says=["mode=rw", "0660"])
        self.refused("--listen", f"nbd+unix:///?socket={path}&owner=no-such-user", says=["no-such-user"])
        self.refused("--listen", f"nbd+unix:///?socket={path}&colour=red", says=["colour", "disks"])
        self.refused("--listen", "/tmp/" + "x" * 120, says=["107"])
        self.refused("--listen", "nbd://0.0.0.0:0", says=["TLS is required", "--tls-certificates", "tls=off"])
        self.refused("--listen", "nbd://127.0.0.1:0/?tls=on", says=["--tls-certificates", "--tls-psk"])
        self.refused("--max-connections", "0", says=["--max-connections"])
        self.refused("--idle-timeout", "soon", says=["--idle-timeout", "30m"])
        self.refused("--handshake-timeout", "off", says=["--handshake-timeout", "60s"])
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.refused("--listen", f"nbd://127.0.0.1:{taken.getsockname()[1]}", says=["another port"])
        self.assertFalse(os.path.exists(path))

    def test_clients_beyond_the_limit_are_told_so(self):
        self.serve(options=["--max-connections", "2"])
        uri = self.daemon.uri("web")
        first, second = client_of(uri), client_of(uri)
        for _ in range(3):
            with self.assertRaises(nbd.Error):
                client_of(uri)
        self.assertIn("2 clients", self.told(uri))
        wait_until(lambda: "--max-connections" in self.log.text(), "the log tells")
        self.assertEqual(self.log.text().count("--max-connections"), 1, self.log.text())
        first.shutdown()
        wait_until(lambda: self.store.json("info", "web")["attachments"] == 1, "the first has left")
        client_of(uri).shutdown()
        second.shutdown()

    def test_idle_clients_are_cut_off_where_that_is_wanted(self):
        self.serve(options=["--idle-timeout", "1s"])
        busy, idle = client_of(self.daemon.uri("web")), client_of(self.daemon.uri("db"))
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            busy.pread(512, 0)
            time.sleep(0.1)
        with self.assertRaises(nbd.Error):
            idle.pread(512, 0)
        self.assertIn("--idle-timeout", self.log.text())
        busy.shutdown()

    def raw(self, export):
        """Into the transmission phase by hand: libnbd would read what comes."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(self.daemon.socket)
        self.assertEqual(len(client.recv(18, socket.MSG_WAITALL)), 18)
        name = export.encode()
        client.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
        self.assertEqual(len(client.recv(10, socket.MSG_WAITALL)), 10)
        return client

    def test_a_client_that_does_not_read_holds_little_and_stalls_nobody(self):
        self.serve()
        run(tool("qemu-io"), "-f", "raw", "-c", "write -P 1 0 8M", self.daemon.uri("web"))
        before = rss(self.daemon.process.pid)
        greedy = self.raw("web")
        greedy.settimeout(2)
        request = struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 8 * MIB)
        sent = 0
        try:
            while sent < 100_000:
                greedy.sendall(request * 10)
                sent += 10
        except TimeoutError:
            pass
        self.assertLess(sent, 100_000)
        grown = rss(self.daemon.process.pid) - before
        self.assertLess(grown, (240 if SANITIZED else 100) * MIB)
        other = client_of(self.daemon.uri("webs"))
        started = time.monotonic()
        for index in range(200):
            other.pwrite(bytes([index]) * 4096, index * 4096, 0)
        other.flush(0)
        self.assertLess(time.monotonic() - started, PATIENCE / 10)
        other.shutdown()
        greedy.close()

    def test_slow_handshakes_end(self):
        self.serve(options=["--handshake-timeout", "2s"])
        slow = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for client in slow:
            client.settimeout(PATIENCE)
            client.connect(self.daemon.socket)
            client.recv(18, socket.MSG_WAITALL)
        run(NBDINFO, self.daemon.uri("web"))
        hello = struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 3, 0)
        started, gone = time.monotonic(), set()
        for byte in hello:
            for index, client in enumerate(slow):
                try:
                    client.send(bytes([byte]), socket.MSG_NOSIGNAL)
                except OSError:
                    gone.add(index)
            if len(gone) == len(slow):
                break
            time.sleep(0.25)
        self.assertEqual(len(gone), len(slow))
        self.assertLess(time.monotonic() - started, 4.5)
        self.assertEqual(self.log.text().count("handshake took too long"), len(slow))
        for client in slow:
            client.close()

    def test_idle_clients_cost_little(self):
        self.serve(options=["--max-connections", str(IDLE)])
        before = rss(self.daemon.process.pid)
        clients = [client_of(self.daemon.uri("web")) for _ in range(IDLE)]
        for client in clients:
            client.pread(4096, 0)
        grown = rss(self.daemon.process.pid) - before
        print(f"{IDLE} idle clients: {grown / MIB:.1f} MiB more than the {before / MIB:.1f} MiB without")
        if not SANITIZED:
            self.assertLess(grown, 100 * MIB * IDLE / 1000)
        for client in clients:
            client.shutdown()


if __name__ == "__main__":
    unittest.main(verbosity=2)
