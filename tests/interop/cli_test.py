"""The command line with and without a daemon: import, export, answers, and how bad input is refused."""
import json
import os
import re
import subprocess
import unittest

import nbd

from coppice import MIB, PATIENCE, PROGRAM, Store, StoreTest, random_image, run, same_files, tool, wait_until

QEMU_IO = tool("qemu-io")


def state(store):
    """All that a failed verb must not change."""
    return (store.run("tree", "--json").stdout, store.run("ls", "--json").stdout)


def first(answer):
    return answer[0] if isinstance(answer, list) else answer


def documented_keys():
    """The table of docs/cli.md: | document | … | `key` `key` … |"""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/cli.md")
    keys = {}
    with open(path, encoding="utf-8") as text:
        for line in text:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if line.startswith("| `") and len(cells) == 3:
                keys[cells[0].replace("`", "")] = set(re.findall("`([a-z_]+)`", cells[2]))
    return keys


class WithDaemon(StoreTest):
    def test_import_and_export_are_byte_equal(self):
        image = random_image(self.store.file("in.raw"), 37 * MIB + 1536, seed=4)
        self.store.run("import", image, "imported")
        out = self.store.file("out.raw")
        self.store.run("export", "imported", out)
        self.assertTrue(same_files(image, out))
        self.assertLessEqual(os.stat(out).st_blocks, os.stat(image).st_blocks * 1.1 + 1024)
        self.store.run("snapshot", "imported@one")
        self.write("imported", "write -P 9 0 1M")
        os.remove(out)
        self.store.run("export", "imported@one", out)
        self.assertTrue(same_files(image, out))

    def test_import_and_export_through_pipes(self):
        image = random_image(self.store.file("pipe.raw"), 5 * MIB, seed=5)
        with open(image, "rb") as source:
            content = source.read()
        self.store.run("import", "-", "piped", input=content)
        self.assertEqual(self.store.run("export", "piped", "-").stdout[: 5 * MIB], content)

    def test_the_path_of_an_import_is_the_command_s(self):
        folder = self.store.file("elsewhere")
        os.mkdir(folder)
        random_image(os.path.join(folder, "local.raw"), 1 * MIB, seed=6)
        done = subprocess.run([PROGRAM, "--store", self.store.path, "import", "local.raw", "relative"], cwd=folder,
                              capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_rollback_and_tree(self):
        disk = self.new_disk("1M")
        self.write(disk, "write -P 1 0 64k")
        self.store.run("snapshot", f"{disk}@a")
        self.write(disk, "write -P 2 0 64k")
        self.store.run("rollback", f"{disk}@a", "--keep", "kept")
        self.write(disk, "read -P 1 0 64k")
        done = run(QEMU_IO, "-r", "-f", "raw", "-c", "read -P 2 0 64k", self.store.uri(f"{disk}@kept"))
        self.assertNotIn(b"failed", done.stdout)
        picture = self.store.run("tree", disk).stdout.decode()
        for name in ("a", "kept", disk):
            self.assertIn(name, picture)
        heads = {head["disk"] for head in self.store.json("tree")["heads"]}
        self.assertIn(disk, heads)

    def test_diff_answers(self):
        disk = self.new_disk("4M")
        self.store.run("snapshot", f"{disk}@a")
        self.store.run("diff", "--quiet", f"{disk}@a", disk)
        self.write(disk, "write -P 1 1M 64k", "write -P 2 3000000 1")
        self.store.run("diff", "--quiet", f"{disk}@a", disk, expect=1)
        self.store.run("snapshot", f"{disk}@b")
        found = [(part["offset"], part["length"], part["zero"]) for part in self.store.json("diff", f"{disk}@a", f"{disk}@b")]
        self.assertEqual(found, [(1 * MIB, 65536, False), (3000000 // 4096 * 4096, 4096, False)])
        later = self.store.json("diff", f"{disk}@a", f"{disk}@b", "--from", str(2 * MIB))
        self.assertEqual(len(later), 1)
        self.write(disk, "discard 1M 64k")
        back = self.store.json("diff", f"{disk}@b", disk)
        self.assertEqual([(part["offset"], part["zero"]) for part in back], [(1 * MIB, True)])

    def test_clone_and_what_it_stands_on(self):
        disk = self.new_disk("1M")
        self.write(disk, "write -P 1 0 64k")
        self.store.run("snapshot", f"{disk}@base")
        self.store.run("clone", f"{disk}@base", f"{disk}-clone")
        self.write(f"{disk}-clone", "read -P 1 0 64k", "write -P 2 0 4k")
        self.write(disk, "read -P 1 0 64k")
        self.refused("rm", f"{disk}@base", says=(f"{disk}@base", f"{disk}-clone"))
        self.refused("rm", disk, says=(disk, "snapshot"))
        self.store.run("rm", f"{disk}-clone")
        self.store.run("rm", disk, f"{disk}@base")

    def test_nothing_changes_when_a_verb_is_refused(self):
        disk = self.new_disk("1M")
        other = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@a")
        before = state(self.store)
        self.refused("create", disk, "--size", "1M", says=(disk, "exists"))
        self.refused("create", "new", "--size", "12x", says=("new", "12x"))
        self.refused("create", "new", "--size", "0", says=("new",))
        self.refused("create", "new", "--size", "99999P", says=("new",))
        self.refused("create", "-new", "--size", "1M")
        self.refused("create", "a/b", "--size", "1M", says=("a/b",))
        self.refused("create", "x" * 256, "--size", "1M")
        self.refused("snapshot", f"{disk}@a", says=(f"{disk}@a",))
        self.refused("snapshot", f"{other}@b", "nothing@b", says=("nothing",))
        self.refused("snapshot", f"{disk}@b", f"{disk}@c", says=(disk,))
        self.refused("snapshot", disk, says=(disk,))
        self.refused("rollback", f"{disk}@none", says=(f"{disk}@none",))
        self.refused("rollback", disk, says=(disk,))
        self.refused("rollback", f"{disk}@a", "--keep", "a", says=(f"{disk}@a",))
        self.refused("clone", f"{disk}@none", "new", says=(f"{disk}@none",))
        self.refused("clone", f"{disk}@a", other, says=(other,))
        self.refused("rename", "nothing", "new", says=("nothing",))
        self.refused("rename", disk, other, says=(other,))
        self.refused("rename", disk, "a b", says=("a b",))
        self.refused("resize", "nothing", "--size", "1M", says=("nothing",))
        self.refused("set", "nothing", "strict=on", says=("nothing", "ls"))
        self.refused("set", f"{disk}@a", "strict=on", says=(f"{disk}@a", "snapshot"))
        self.refused("set", disk, "strict=yes", says=(disk, "strict=yes", "strict=on", "strict=off"))
        self.refused("set", disk, "quick=on", says=(disk, "quick=on", "strict=on"))
        self.refused("set", disk, says=("SETTING", "--help"))
        self.refused("rm", "nothing", says=("nothing",))
        self.refused("rm", other, "nothing", says=("nothing",))
        self.refused("rm", f"{disk}@none", says=(f"{disk}@none",))
        self.refused("rm", f"{disk}@a", f"{disk}@a", says=(f"{disk}@a", "twice"))
        self.refused("tree", f"{disk}@a", says=(f"{disk}@a", "snapshot"))
        self.refused("du", f"{disk}@nothing", says=(f"{disk}@nothing",))
        self.refused("info", "nothing", says=("nothing",))
        self.refused("du", "nothing", says=("nothing",))
        self.refused("tree", "nothing", says=("nothing",))
        done = self.store.run("diff", f"{disk}@a", other, expect=3)
        self.assertIn(b"copy in full", done.stderr)
        self.assertEqual(json.loads(self.store.run("diff", f"{disk}@a", other, "--json", expect=3).stdout)["full_copy"], True)
        self.refused("diff", f"{disk}@none", says=(f"{disk}@none",))
        self.refused("import", self.store.file("not-there"), "new", says=("not-there",))
        self.refused("import", self.store.folder, "new", says=(self.store.folder,))
        self.refused("export", "nothing", self.store.file("x.raw"), says=("nothing",))
        self.refused("export", disk, self.store.file("no-folder/x.raw"), says=("no-folder/x.raw",))
        self.assertFalse(os.path.exists(self.store.file("x.raw")))
        empty = self.store.file("empty.raw")
        open(empty, "wb").close()
        self.refused("import", empty, "new", says=(empty, "empty"))
        self.refused("import", "-", "new", input=b"", says=("standard input", "empty"))
        self.refused("import", "-", "new", input=b"QFI\xfb" + bytes(508), says=("standard input", "qcow2"))
        self.refused("export", disk, "/dev/full", says=("/dev/full", "space"))
        self.assertEqual(state(self.store), before)

    def test_an_attached_disk_is_not_rolled_back_resized_or_removed(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@a")
        client = nbd.NBD()
        client.connect_uri(self.store.uri(disk))
        reader = nbd.NBD()
        reader.connect_uri(self.store.uri(f"{disk}@a"))
        before = state(self.store)
        for verb in (("rollback", f"{disk}@a"), ("rm", disk, "--snapshots"), ("resize", disk, "--size", "2M"),
                     ("set", disk, "strict=on")):
            self.refused(*verb, says=(disk, "nbd client"))
        self.refused("rm", f"{disk}@a", says=(f"{disk}@a",))
        self.assertEqual(state(self.store), before)
        reader.shutdown()
        del reader
        # Attached until the client's socket is closed, seen from the client.
        client.shutdown()
        self.store.run("rollback", f"{disk}@a")

    def test_strict_disks(self):
        disk = self.new_disk("1M")
        self.assertIs(self.store.json("create", f"{disk}-strict", "--size", "1M", "--strict")["strict"], True)
        self.assertIn(b"fresh block", self.store.run("info", f"{disk}-strict").stdout)
        self.assertNotIn(b"fresh block", self.store.run("info", disk).stdout)
        self.write(f"{disk}-strict", "write -P 1 0 64k", "write -P 2 0 4k", "flush", "write -P 3 512 512", "read -P 3 512 512")
        self.assertEqual(self.store.json("set", disk, "strict=on"), {"name": disk, "strict": True})
        self.store.run("set", disk, "strict=on")
        self.store.run("snapshot", f"{disk}@a")
        self.store.run("clone", f"{disk}@a", f"{disk}-clone")
        self.store.run("rollback", f"{disk}@a")
        rows = {row["name"]: row["strict"] for row in self.store.json("ls")}
        self.assertEqual([rows[name] for name in (disk, f"{disk}@a", f"{disk}-clone")], [True, False, True])
        self.assertIn(b"strict", self.store.run("tree", disk).stdout)
        self.assertIn(b"not strict", self.store.run("set", f"{disk}-clone", "strict=off").stdout)
        self.assertIs(self.store.json("info", f"{disk}-clone")["strict"], False)
        self.assertIs(self.store.json("info", disk)["strict"], True)

    def test_a_second_daemon_ends_at_once(self):
        done = self.store.run("serve", "--listen", self.store.file("other.sock"), expect=2)
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)

    def test_json_is_one_document(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@a")
        for verb in (("ls",), ("info", disk), ("info", f"{disk}@a"), ("du",), ("tree",), ("diff", f"{disk}@a"), ("check",),
                     ("dump",)):
            after = self.store.run(*verb, "--json").stdout
            json.loads(after)
            before = run(PROGRAM, "--json", "--store", self.store.path, *verb).stdout
            json.loads(before)
        rows = {row["name"]: row for row in self.store.json("ls")}
        self.assertEqual((rows[disk]["kind"], rows[disk]["size"]), ("disk", 1 * MIB))
        self.assertEqual(rows[f"{disk}@a"]["kind"], "snapshot")

    def test_json_has_the_keys_that_docs_cli_md_promises(self):
        disk = self.new_disk("1M")
        self.write(disk, "write 0 4k")
        promised = documented_keys()
        image = random_image(self.store.file("keys.raw"), 4096, seed=1)
        documents = {
            "snapshot": ("snapshot", f"{disk}@a"), "hold": ("hold", f"{disk}@a", "tag"), "release": ("release", f"{disk}@a"),
            "expire": ("expire", f"{disk}@a", "72h"), "schedule": ("schedule", disk, "--daily", "7"),
            "clone": ("clone", f"{disk}@a", "keys-clone"),
            "create": ("create", "keys-new", "--size", "1M"), "resize": ("resize", "keys-new", "--size", "2M"),
            "set": ("set", "keys-new", "strict=on"), "set: quota": ("set", "keys-new", "quota=1G"),
            "rename": ("rename", "keys-new", "keys-old"), "rm": ("rm", "keys-old"), "ls --trash": ("ls", "--trash"), "undelete": ("undelete", "keys-old"),
            "import": ("import", image, "keys-in"), "export": ("export", "keys-in", self.store.file("keys.out")),
            "attach": ("attach", "keys-in"), "fence": ("fence", "keys-in"), "detach": ("detach", "keys-in"),
            "rollback": ("rollback", f"{disk}@a"), "ls": ("ls",), "info": ("info", disk), "du": ("du", disk),
            "du: several": ("du", disk, f"{disk}@a"),
            "check": ("check",), "dump": ("dump",), "metrics": ("metrics",), "tree": ("tree", disk), "diff": ("diff", "keys-in", f"{disk}@a"),
        }
        documents.pop("diff")  # two trees; asked below
        for name, arguments in documents.items():
            answer = self.store.json(*arguments)
            self.assertEqual(set(first(answer)), promised[name], name)
        tree = self.store.json("tree", disk)
        self.assertEqual(set(tree["nodes"][0]), promised["tree: nodes"])
        self.assertEqual(set(tree["heads"][0]), promised["tree: heads"])
        self.store.run("attach", "keys-in")
        self.assertEqual(set(self.store.json("info", "keys-in")["attached"][0]), promised["info: attached"])
        self.assertEqual(set(self.store.json("detach", "keys-in")["attachments"][0]), promised["info: attached"])
        self.assertEqual(set(self.store.json("dump")["pools"][0]), promised["init"])
        self.write(disk, "write -P 5 64k 4k")
        self.assertEqual(set(self.store.json("diff", f"{disk}@a")[0]), promised["diff"])
        self.store.run("schedule", disk, "--off")  # the daemon would take a snapshot in the middle of another test
        back = self.store.json("rollback", f"{disk}@a", "--dry-run")["disks"]
        self.assertEqual(set(back[0]), promised["rollback: disks"])

    def test_every_verb_has_help_with_an_example(self):
        for verb in ("init create ls info du rm rename resize set flatten snapshot hold release expire undelete schedule attach detach fence rollback clone tree diff import export serve "
                     "mount unmount check dump metrics").split():
            text = run(PROGRAM, verb, "--help").stdout.decode()
            self.assertIn("Example", text, verb)
            self.assertIn(f"coppice {verb}", text, verb)

    def test_bad_usage_exits_with_2(self):
        for arguments in (("frobnicate",), ("create",), ("ls", "--no-such-option"), ()):
            done = self.store.run(*arguments, expect=None)
            self.assertEqual(done.returncode, 2, arguments)


class WithoutDaemon(unittest.TestCase):
    def setUp(self):
        self.store = Store("alone")

    def tearDown(self):
        self.store.remove()

    def refused(self, *arguments):
        done = self.store.run(*arguments, expect=2)
        self.assertEqual((done.stdout, done.stderr.count(b"\n")), (b"", 1), done.stderr)
        return done.stderr.decode()

    def test_the_same_verbs_work(self):
        image = random_image(self.store.file("in.raw"), 3 * MIB, seed=7)
        self.store.run("import", image, "disk")
        self.store.run("snapshot", "disk@a")
        self.store.run("resize", "disk", "--size", "4M")
        self.store.run("set", "disk", "strict=on")
        self.assertIs(self.store.json("info", "disk")["strict"], True)
        self.store.run("rollback", "disk@a", "--discard")
        self.store.run("export", "disk", self.store.file("out.raw"))
        self.assertTrue(same_files(image, self.store.file("out.raw")))
        self.store.run("rename", "disk", "other")
        self.store.run("rename", "other@a", "b")
        self.assertEqual({row["name"] for row in self.store.json("ls")}, {"other", "other@b"})
        self.store.run("check", "--data")
        self.store.run("rm", "other", "--snapshots")
        self.assertEqual(self.store.json("ls"), [])

    def test_a_store_that_is_not_there_and_one_that_is(self):
        self.refused("init")
        done = run(PROGRAM, "--store", self.store.file("nowhere"), "ls", expect=2)
        self.assertIn(b"nowhere", done.stderr)
        self.assertFalse(os.path.exists(self.store.file("nowhere")))

    def test_init_takes_no_folder_that_holds_something(self):
        folder = self.store.file("home")
        os.makedirs(os.path.join(folder, "lost+found"))
        os.chmod(folder, 0o755)
        with open(os.path.join(folder, "letter"), "w") as letter:
            letter.write("dear reader")
        done = run(PROGRAM, "--store", folder, "init", expect=2)
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.assertIn(b"other files", done.stderr)
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o755)
        self.assertEqual(sorted(os.listdir(folder)), ["letter", "lost+found"])
        os.remove(os.path.join(folder, "letter"))
        run(PROGRAM, "--store", folder, "init")  # a file system of its own is fine

    def test_init_where_it_may_not_or_cannot(self):
        for path in ("/dev/null/store", self.store.file("x" * 300), self.store.file("loop/store")):
            if not os.path.lexists(self.store.file("loop")):
                os.symlink("loop", self.store.file("loop"))
            done = run(PROGRAM, "--store", path, "init", expect=2)
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
            done = run(PROGRAM, "--store", self.store.file("fresh"), "init", "--pool", f"{path}:64M", expect=2)
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
            self.assertFalse(os.path.exists(self.store.file("fresh")))

    def test_where_the_daemon_cannot_listen(self):
        for listen, word in ((self.store.file("no/folder.sock"), "folder"), (self.store.path + "/pool", "not a socket"),
                             ("nbd://192.0.2.1:10809", "address")):
            self.assertIn(word, self.refused("serve", "--listen", listen))

    def test_the_daemon_says_where_it_listens_as_json(self):
        daemon = subprocess.Popen([PROGRAM, "--store", self.store.path, "--json", "serve", "--listen", "nbd://localhost:0"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            uris = json.loads(daemon.stdout.readline())["listening"]
            self.assertRegex(uris[0], r"^nbd://localhost:[0-9]+/$")
        finally:
            daemon.terminate()
            self.assertEqual(daemon.wait(timeout=PATIENCE), 0)
            daemon.stdout.close()

    def test_a_pool_cut_short_is_refused(self):
        self.store.run("create", "disk", "--size", "8M")
        pool = os.path.join(self.store.path, "pool")
        size = os.path.getsize(pool)
        os.truncate(pool, size // 2)
        self.assertIn("pool", self.refused("ls"))
        os.truncate(pool, size)

    def test_a_file_in_the_superblocks_place_is_refused(self):
        pool = os.path.join(self.store.path, "pool")
        with open(pool, "r+b") as file:
            file.write(bytes(4096))
        # One of four superblocks lost is survived.
        self.store.run("ls")
        size = os.path.getsize(pool)
        with open(pool, "wb") as file:
            file.truncate(size)
        self.assertIn("pool", self.refused("ls"))

    def test_a_full_pool_refuses_and_gives_room_again(self):
        store = Store("full", init=False)
        try:
            done = store.run("init", "--pool", f"{store.file('small.pool')}:1K", expect=2)
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
            self.assertFalse(os.path.exists(os.path.join(store.path, "store.json")))
        finally:
            store.remove()

    def test_the_daemon_replaces_a_dead_one_s_socket_and_ends_on_sigterm(self):
        self.store.run("create", "disk", "--size", "1M")
        daemon = self.store.serve()
        daemon.kill()
        self.assertTrue(os.path.exists(daemon.socket))
        daemon = self.store.serve()
        run(QEMU_IO, "-f", "raw", "-c", "write -P 1 0 4k", daemon.uri("disk"))
        daemon.stop()
        self.store.run("check", "--data")
        done = run(QEMU_IO, "-f", "raw", "-c", "read 0 4k", daemon.uri("disk"), expect=1)
        self.assertIn(b"connect", done.stderr + done.stdout)

    def test_verbs_use_the_daemon_while_it_runs(self):
        self.store.serve()
        self.store.run("create", "disk", "--size", "1M")
        clients = [self.store.start("snapshot", f"disk@s{number}") for number in range(10)]
        for client in clients:
            self.assertEqual(client.wait(timeout=PATIENCE), 0, client.stderr.read())
            client.stderr.close()
        self.store.daemon.stop()
        wait_until(lambda: not self.store.daemon.alive(), "the daemon's end")
        self.assertEqual(len(self.store.json("ls")), 11)


if __name__ == "__main__":
    unittest.main(verbosity=2)
