"""TLS, with certificates and with users' keys, against every client that speaks it: libnbd's tools, nbdsh's handle, QEMU's.

COPPICE_NBD_SPEED=1 measures what TLS costs, and prints it.
"""
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import unittest

import nbd  # Debian has it for its own Python only

from coppice import MIB, PATIENCE, SANITIZED, Daemon, Store, Tail, random_image, run, same_files, tool, wait_until

NBDINFO, NBDCOPY, CERTTOOL = tool("nbdinfo"), tool("nbdcopy"), tool("certtool")
QEMU_IMG, QEMU_IO = tool("qemu-img"), tool("qemu-io")


class Authority:
    """A CA, and the certificates that it signs, in folders as QEMU and libnbd have them."""

    def __init__(self, folder):
        self.folder = folder
        os.mkdir(folder)
        self.key(f"{folder}/ca-key.pem")
        self.make(f"{folder}/ca-cert.pem", f"{folder}/ca-key.pem", "--generate-self-signed",
                  ["cn = coppice tests", "ca", "cert_signing_key", "expiration_days = 100"])

    def key(self, path):
        run(CERTTOOL, "--generate-privkey", "--key-type=ecdsa", "--curve=secp256r1", "--outfile", path)

    def make(self, path, key, how, lines, *options):
        template = path + ".template"
        with open(template, "w") as out:
            out.write("\n".join(lines) + "\n")
        run(CERTTOOL, how, "--load-privkey", key, "--template", template, "--outfile", path, *options)

    def issue(self, folder, role, expired=False):
        """DIR with ROLE-cert.pem, ROLE-key.pem and this authority's own certificate."""
        os.makedirs(folder, exist_ok=True)
        key, certificate = f"{folder}/{role}-key.pem", f"{folder}/{role}-cert.pem"
        self.key(key)
        lines = [f"cn = {role}", f"tls_www_{role}", "signing_key", "encryption_key"]
        if role == "server":
            lines += ["dns_name = localhost", "ip_address = 127.0.0.1", "ip_address = ::1"]
        if expired:
            lines += ['activation_date = "2020-01-01 00:00:00"', 'expiration_date = "2020-01-02 00:00:00"']
        else:
            lines.append("expiration_days = 99")
        self.make(certificate, key, "--generate-certificate", lines, "--load-ca-certificate",
                  f"{self.folder}/ca-cert.pem", "--load-ca-privkey", f"{self.folder}/ca-key.pem")
        shutil.copy(f"{self.folder}/ca-cert.pem", folder)
        return folder


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.store = Store("tls")
        cls.addClassCleanup(cls.store.remove)
        authority = Authority(cls.store.file("ca"))
        other = Authority(cls.store.file("other-ca"))
        cls.server = authority.issue(cls.store.file("server"), "server")
        cls.stale_server = authority.issue(cls.store.file("stale-server"), "server", expired=True)
        cls.client = authority.issue(cls.store.file("client"), "client")
        cls.stale = authority.issue(cls.store.file("stale"), "client", expired=True)
        # Of another authority, but trusting the server's.
        cls.stranger = other.issue(cls.store.file("stranger"), "client")
        shutil.copy(f"{cls.server}/ca-cert.pem", cls.stranger)
        # Trusts another authority than the server's.
        cls.distrustful = other.issue(cls.store.file("distrustful"), "client")
        # Shows a server's certificate as its own.
        cls.posing = cls.store.file("posing")
        os.mkdir(cls.posing)
        shutil.copy(f"{cls.server}/ca-cert.pem", cls.posing)
        for part in ("cert", "key"):
            shutil.copy(f"{cls.server}/server-{part}.pem", f"{cls.posing}/client-{part}.pem")
        # Shows nothing of itself.
        cls.anonymous = cls.store.file("anonymous")
        os.mkdir(cls.anonymous)
        shutil.copy(f"{cls.server}/ca-cert.pem", cls.anonymous)
        cls.psk = cls.store.file("psk")
        os.mkdir(cls.psk)
        cls.keys = f"{cls.psk}/keys.psk"
        for user in ("alice", "bob"):
            run(tool("psktool"), "-u", user, "-p", cls.keys)
        cls.wrong_keys = cls.store.file("wrong.psk")
        run(tool("psktool"), "-u", "alice", "-p", cls.wrong_keys)
        run(tool("psktool"), "-u", "mallory", "-p", cls.wrong_keys)
        for disk in ("web", "copy"):
            cls.store.run("create", disk, "--size", "32M")

    def setUp(self):
        self.addCleanup(self.end)
        self.daemon = None

    def end(self):
        if self.daemon is not None and self.daemon.alive():
            self.daemon.stop()
            self.store.run("check")

    def serve(self, *words):
        """Serves on TCP as the words say; answers the port."""
        self.log = Tail(self.store.file("log"))
        self.daemon = self.store.daemon = Daemon(self.store.path, self.store.file("log"), serve=words)
        line = self.daemon.process.stdout.readline().decode().strip()
        return line.rstrip("/").rpartition(":")[2]

    def logs_once(self, text):
        wait_until(lambda: text in self.log.text(), f"the log tells '{text}'")
        self.assertEqual(self.log.text().count(text), 1, self.log.text())

    def uri(self, port, export, certificates=None, user=None, keys=None):
        query = f"tls-certificates={certificates}" if certificates else f"tls-psk-file={keys or self.keys}"
        return f"nbds://{user + '@' if user else ''}localhost:{port}/{export}?{query}"

    def qemu(self, port, export, certificates=None, user=None):
        """QEMU's words for a disk."""
        kind = f"tls-creds-x509,dir={certificates}" if certificates else f"tls-creds-psk,dir={self.psk},username={user}"
        return (["--object", f"{kind.partition(',')[0]},id=tls0,endpoint=client,{kind.partition(',')[2]}"],
                f"driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=localhost,file.server.port={port},"
                f"file.export={export},file.tls-creds=tls0")

    def served_well(self, port):
        run(NBDINFO, self.uri(port, "web", self.client))

    def test_every_client_with_certificates(self):
        port = self.serve("--listen", "nbds://localhost:0", "--tls-certificates", self.server, "--tls-verify-peer")
        image = random_image(self.store.file("image"), 32 * MIB, seed=5)
        back = self.store.file("back")
        info = json.loads(run(NBDINFO, "--json", self.uri(port, "web", self.client)).stdout)
        self.assertTrue(info["TLS"])
        run(NBDINFO, "--list", self.uri(port, "", self.client))
        run(NBDCOPY, "--connections=4", image, self.uri(port, "web", self.client))
        run(NBDCOPY, self.uri(port, "web", self.client), self.uri(port, "copy", self.client))
        run(NBDCOPY, self.uri(port, "copy", self.client), back)
        self.assertTrue(same_files(image, back))
        objects, disk = self.qemu(port, "web", self.client)
        run(QEMU_IMG, "compare", *objects, "--image-opts", disk, f"driver=raw,file.driver=file,file.filename={image}")
        run(QEMU_IO, *objects, "--image-opts", disk, "-c", "write -P 7 1M 3M", "-c", "flush", "-c", "read -P 7 1M 3M")
        handle = nbd.NBD()
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_tls_certificates(self.client)
        handle.set_export_name("web")
        handle.connect_tcp("localhost", port)
        self.assertTrue(handle.get_tls_negotiated())
        self.assertEqual(bytes(handle.pread(4096, 1 * MIB)), b"\x07" * 4096)
        handle.shutdown()
        self.assertNotIn("TLS with", self.log.text())

    def test_every_client_with_keys(self):
        port = self.serve("--listen", "nbds://localhost:0", "--tls-psk", self.keys)
        run(NBDCOPY, self.uri(port, "web", user="bob"), self.uri(port, "copy", user="alice"))
        objects, disk = self.qemu(port, "copy", user="alice")
        run(QEMU_IO, *objects, "--image-opts", disk, "-c", "write -P 9 0 1M", "-c", "read -P 9 0 1M")
        run(QEMU_IMG, "map", *objects, "--image-opts", disk)
        handle = nbd.NBD()
        handle.set_tls(nbd.TLS_REQUIRE)
        handle.set_tls_psk_file(self.keys)
        handle.set_tls_username("alice")
        handle.set_export_name("copy")
        handle.connect_tcp("localhost", port)
        self.assertEqual(bytes(handle.pread(4096, 0)), b"\x09" * 4096)
        handle.shutdown()
        # A user comes without a restart.
        run(tool("psktool"), "-u", "carol", "-p", self.keys)
        run(NBDINFO, self.uri(port, "web", user="carol"))

    def test_both_kinds_beside_each_other_and_over_a_unix_socket(self):
        path = self.store.file("tls.sock")
        self.serve("--listen", f"nbds+unix:///?socket={path}", "--tls-certificates", self.server, "--tls-psk", self.keys)
        run(NBDINFO, f"nbds+unix://alice@/web?socket={path}&tls-psk-file={self.keys}")
        run(NBDINFO, f"nbds+unix://localhost/web?socket={path}&tls-certificates={self.anonymous}")
        run(NBDINFO, f"nbd+unix:///web?socket={path}", expect=1)
        self.logs_once("TLS, which is required here")
        # The usual socket offers it and does not insist.
        run(NBDINFO, self.daemon.uri("web"))
        run(NBDINFO, self.daemon.uri("web").replace("nbd+unix:///", "nbds+unix://alice@/") + f"&tls-psk-file={self.keys}")
        shown = self.store.json("info", "web")
        self.assertIn(f"nbds+unix:///web?socket={path}", shown["nbd"])

    def test_off_loopback_tls_is_required_unless_it_is_said_otherwise(self):
        port = self.serve("--listen", "nbd://0.0.0.0:0", "--tls-psk", self.keys)
        run(NBDINFO, f"nbd://127.0.0.1:{port}/web", expect=1)
        run(NBDINFO, self.uri(port, "web", user="alice").replace("localhost", "127.0.0.1"))

    def test_clients_whose_certificate_is_not_accepted(self):
        port = self.serve("--listen", "nbds://localhost:0", "--tls-certificates", self.server, "--tls-verify-peer")
        for folder, said in ((self.stranger, "issuer"), (self.stale, "expired"), (self.anonymous, "no certificate"),
                             (self.posing, "purpose")):
            done = run(NBDINFO, self.uri(port, "web", folder), expect=1)
            self.assertIn("TLS", done.stderr.decode())
            wait_until(lambda: said in self.log.text(), f"the log tells '{said}': {self.log.text()}")
            self.served_well(port)
        self.assertEqual(self.log.text().count("TLS with"), 4, self.log.text())

    def test_a_client_that_does_not_trust_us(self):
        port = self.serve("--listen", "nbds://localhost:0", "--tls-certificates", self.server)
        run(NBDINFO, self.uri(port, "web", self.distrustful), expect=1)
        wait_until(lambda: "TLS with" in self.log.text(), "the log tells")
        self.assertEqual(self.log.text().count("TLS with"), 1, self.log.text())
        self.served_well(port)
        objects, disk = self.qemu(port, "web", self.distrustful)
        run(QEMU_IMG, "info", *objects, "--image-opts", disk, expect=1)
        self.served_well(port)

    def test_a_certificate_of_ours_that_has_expired_is_told_at_the_start(self):
        port = self.serve("--listen", "nbds://localhost:0", "--tls-certificates", self.stale_server)
        self.assertIn("server-cert.pem has expired", self.log.text())
        run(NBDINFO, self.uri(port, "web", self.client), expect=1)

    def test_plain_clients_where_tls_is_required(self):
        port = self.serve("--listen", "nbds://localhost:0", "--tls-psk", self.keys)
        run(NBDINFO, f"nbd://localhost:{port}/web", expect=1)
        self.logs_once("TLS, which is required here")
        done = run(QEMU_IMG, "info", f"nbd://localhost:{port}/web", expect=1)
        self.assertIn("TLS", done.stderr.decode())
        run(NBDINFO, self.uri(port, "web", user="alice"))

    def test_tls_clients_where_it_is_off(self):
        port = self.serve("--listen", "nbd://localhost:0/?tls=off", "--tls-psk", self.keys)
        run(NBDINFO, self.uri(port, "web", user="alice"), expect=1)
        self.logs_once("asked for TLS, which this listener does without")
        run(NBDINFO, f"nbd://localhost:{port}/web")

    def test_users_who_are_not_known(self):
        port = self.serve("--listen", "nbds://localhost:0", "--tls-psk", self.keys)
        for user, said in (("mallory", "is not in"), ("alice", "has another key than in")):
            run(NBDINFO, self.uri(port, "web", user=user, keys=self.wrong_keys), expect=1)
            self.logs_once(f"user '{user}' {said} {self.keys}")
        run(NBDINFO, self.uri(port, "web", user="alice"))

    def refused(self, *words, says=()):
        done = self.store.run("serve", *words, expect=2)
        text = done.stderr.decode()
        self.assertEqual(text.count("\n"), 1, text)
        for part in says:
            self.assertIn(part, text)

    def test_keys_that_cannot_be_used(self):
        empty = self.store.file("empty")
        os.mkdir(empty)
        self.refused("--tls-certificates", empty, says=[f"{empty}/server-cert.pem", "--tls-certificates"])
        mixed = self.store.file("mixed")
        shutil.copytree(self.server, mixed)
        shutil.copy(f"{self.stale_server}/server-key.pem", mixed)
        self.refused("--tls-certificates", mixed, says=[f"{mixed}/server-key.pem", "not the key"])
        with open(f"{mixed}/server-cert.pem", "w") as certificate:
            certificate.write("nothing\n")
        self.refused("--tls-certificates", mixed, says=[f"{mixed}/server-cert.pem"])
        os.remove(f"{mixed}/ca-cert.pem")
        self.refused("--tls-certificates", mixed, "--tls-verify-peer", says=["ca-cert.pem"])
        self.refused("--tls-psk", f"{self.psk}/none", says=[f"{self.psk}/none", "psktool"])
        self.refused("--tls-psk", self.keys, "--tls-verify-peer", says=["--tls-certificates"])
        self.refused("--tls-psk", self.keys, "--listen", "nbd://localhost:0/?tls=off", says=["tls=off"])
        if os.geteuid() != 0:
            os.chmod(f"{mixed}/server-cert.pem", 0)
            self.refused("--tls-certificates", mixed, says=["Permission denied"])

    def test_many_idle_clients_with_tls(self):
        count = int(os.environ.get("COPPICE_NBD_IDLE", "100"))
        port = self.serve("--listen", "nbds://localhost:0", "--tls-psk", self.keys)
        pid = self.daemon.process.pid
        before = self.rss(pid)
        handles = []
        for _ in range(count):
            handle = nbd.NBD()
            handle.set_uri_allow_local_file(True)
            handle.connect_uri(self.uri(port, "web", user="alice"))
            handle.pread(4096, 0)
            handles.append(handle)
        grown = self.rss(pid) - before
        print(f"{count} idle clients with TLS: {grown / MIB:.1f} MiB, {len(os.listdir(f'/proc/{pid}/task'))} threads")
        if not SANITIZED:
            self.assertLess(grown, 300 * MIB * count / 1000)
        for handle in handles:
            handle.shutdown()
        del handles
        wait_until(lambda: self.store.json("info", "web")["attachments"] == 0, "all have left")
        wait_until(lambda: len(os.listdir(f"/proc/{pid}/task")) < 20, "their threads end")

    @staticmethod
    def rss(pid):
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))

    @unittest.skipUnless(os.environ.get("COPPICE_NBD_SPEED"), "by hand: COPPICE_NBD_SPEED=1")
    def test_what_it_costs(self):
        self.store.run("create", "large", "--size", "512M")
        port = self.serve("--listen", "nbd://localhost:0", "--tls-psk", self.keys)
        image = random_image(self.store.file("large"), 512 * MIB, seed=9, holes=False)
        for name, uri in (("plain", f"nbd://localhost:{port}/large"), ("TLS", self.uri(port, "large", user="alice"))):
            for what, words in (("write", (image, uri)), ("read", (uri, "null:"))):
                best = None
                for _ in range(3):
                    started = time.monotonic()
                    run(NBDCOPY, "--connections=1", *words)
                    took = time.monotonic() - started
                    best = min(best or took, took)
                print(f"{name} {what}: {512 / best:.0f} MiB/s")
            handle = nbd.NBD()
            handle.set_uri_allow_local_file(True)
            handle.connect_uri(uri)
            started = time.monotonic()
            for index in range(5000):
                handle.pread(4096, index % 1000 * 4096)
            print(f"{name} 4k reads, one at a time: {(time.monotonic() - started) / 5000 * 1e6:.0f} us")
            handle.shutdown()
        self.store.run("rm", "large", "--now")


if __name__ == "__main__":
    unittest.main(verbosity=2)
