"""Files out of snapshots: `coppice files`, on file systems that the machine's own tools made, as root.

COPPICE_FILES_GUEST=1: also by libguestfs, which takes minutes without KVM.
"""
import io
import json
import os
import signal
import stat
import subprocess
import tarfile
import time
import unittest

from coppice import MIB, PROGRAM, run, wait_until
from mounted import Loop, MountedTest

GUEST = os.environ.get("COPPICE_FILES_GUEST", "") == "1"
ODD = b"odd \n\\ \xff\xc3\xa9 name"
ODD_SHOWN = "odd \\012\\134 \\377é name"
MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f"), "btrfs": ("mkfs.btrfs", "-q", "-f")}


def write(path, data, mode="wb"):
    with open(path, mode) as file:
        file.write(data)


def fill(point):
    """What a user would not think of."""
    os.makedirs(f"{point}/etc/deep")
    write(f"{point}/etc/plain", b"plain\n")
    write(os.path.join(point.encode(), b"etc", ODD), b"odd\n")
    write(f"{point}/etc/-dash", b"dash\n")
    os.symlink("/etc/plain", f"{point}/etc/absolute")
    os.symlink("../../../../../../etc/plain", f"{point}/etc/climbing")
    os.symlink("/etc/hostname", f"{point}/etc/outside")
    os.symlink("/", f"{point}/etc/root")
    os.mknod(f"{point}/etc/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(f"{point}/etc/pipe")
    os.link(f"{point}/etc/plain", f"{point}/etc/deep/linked")
    write(f"{point}/etc/tool", b"#!/bin/sh\n")
    os.chown(f"{point}/etc/tool", 1234, 4321)
    os.chmod(f"{point}/etc/tool", 0o4750)
    os.setxattr(f"{point}/etc/tool", "user.note", b"a\0b")
    os.setxattr(f"{point}/etc/tool", "trusted.note", b"c")
    os.utime(f"{point}/etc/tool", (1_000_000_000, 1_000_000_000))
    with open(f"{point}/etc/huge", "wb") as file:
        file.truncate(20 << 30)
        file.seek(7 << 30)
        file.write(b"far")


class Files(MountedTest):
    def make(self, kind, size="400M"):
        name = self.new_disk(size)
        run(*MAKE[kind], self.store.disk(name))
        return name

    def files(self, *arguments, **options):
        return self.store.run("files", *arguments, **options).stdout

    def nothing_is_left(self):
        """No loop device on a file of a private tree, no mount, and the snapshots are free."""
        def loops():
            found = json.loads(subprocess.run(["losetup", "--json", "-O", "NAME,BACK-FILE"], capture_output=True,
                                              text=True).stdout or '{"loopdevices":[]}')["loopdevices"]
            return [loop for loop in found if (loop["back-file"] or "").startswith("/snapshots/")]
        wait_until(lambda: not loops(), "a loop device stays")
        with open("/proc/self/mounts") as table:
            mine = [line for line in table if "fuse.coppice" in line and self.store.folder in line]
        self.assertEqual(len(mine), 1, mine)

    def one(self, kind):
        name = self.make(kind)
        with Loop(self.store, self.store.disk(name)) as loop:
            point = loop.mount()
            fill(point)
            run("sync", "-f", point)
            self.store.run("snapshot", f"{name}@full")  # under a mounted file system: as after a power cut
            # What is in the journal alone.
            write(f"{point}/late", b"late\n")
            descriptor = os.open(f"{point}/late", os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
            self.store.run("snapshot", f"{name}@late")
        at = f"{name}@full"
        self.assertEqual(self.files("cat", f"{at}:/etc/plain"), b"plain\n")
        self.assertEqual(self.files("cat", f"{name}@late:/late"), b"late\n")
        # Links stay inside, and lead where they would in the guest.
        for link in ("absolute", "climbing", "root/etc/plain"):
            self.assertEqual(self.files("cat", f"{at}:/etc/{link}"), b"plain\n")
        self.refused("files", "cat", f"{at}:/etc/outside", says=("/etc/outside",))
        self.refused("files", "cat", f"{at}:/etc/null", says=("no file",))
        self.refused("files", "cat", f"{at}:/etc/pipe", says=("no file",))
        self.listed(at)
        self.tarred(at)
        self.copied(at)
        self.nothing_is_left()
        return name

    def listed(self, at):
        entries = {entry["name"]: entry for entry in json.loads(self.files("ls", f"{at}:/etc", "--json"))}
        self.assertEqual(set(entries), {"plain", ODD_SHOWN, "-dash", "absolute", "climbing", "outside", "root", "null", "pipe",
                                        "deep", "tool", "huge"})
        tool = entries["tool"]
        self.assertEqual((tool["mode"], tool["uid"], tool["gid"], tool["size"], tool["modified"]),
                         ("4750", 1234, 4321, 10, "2001-09-09T01:46:40.000Z"))
        self.assertEqual((entries["outside"]["kind"], entries["outside"]["target"]), ("link", "/etc/hostname"))
        self.assertEqual((entries["null"]["kind"], entries["huge"]["size"]), ("character device", 20 << 30))
        text = self.files("ls", f"{at}:/etc").decode()
        self.assertEqual(len(text.splitlines()), len(entries))
        self.assertIn("-rwsr-x---", text)
        self.assertIn("outside -> /etc/hostname", self.files("ls", f"{at}:/etc/outside").decode())

    def tarred(self, at):
        # tarfile reads a hole as zeroes: it is not asked for them.
        with tarfile.open(fileobj=io.BytesIO(self.files("cp", f"{at}:/etc", "-")), errors="surrogateescape") as archive:
            members = {member.name: member for member in archive}
            self.assertIn("etc/" + os.fsdecode(ODD), members)
            self.assertEqual(archive.extractfile("etc/-dash").read(), b"dash\n")
            self.assertTrue(members["etc/null"].ischr() and members["etc/pipe"].isfifo())
            self.assertEqual(members["etc/climbing"].linkname, "../../../../../../etc/plain")
            self.assertTrue(members["etc/plain"].islnk() or members["etc/deep/linked"].islnk())
            self.assertEqual(members["etc/huge"].size, 20 << 30)

    def copied(self, at):
        target = self.store.file("restored")
        os.makedirs(target)
        self.files("cp", f"{at}:/etc", target)
        tool = os.stat(f"{target}/etc/tool")
        self.assertEqual((stat.S_IMODE(tool.st_mode), tool.st_uid, tool.st_gid, tool.st_mtime),
                         (0o4750, 1234, 4321, 1_000_000_000))
        self.assertEqual(os.getxattr(f"{target}/etc/tool", "user.note"), b"a\0b")
        self.assertEqual(os.getxattr(f"{target}/etc/tool", "trusted.note"), b"c")
        huge = os.stat(f"{target}/etc/huge")
        self.assertEqual(huge.st_size, 20 << 30)
        self.assertLess(huge.st_blocks * 512, 10 * MIB)
        self.assertEqual(os.stat(f"{target}/etc/plain").st_nlink, 2)
        self.assertEqual(os.readlink(f"{target}/etc/outside"), "/etc/hostname")
        self.refused("files", "cp", f"{at}:/etc", target, says=("--force",))
        write(f"{target}/etc/plain", b"damaged\n")
        self.files("cp", f"{at}:/etc", target, "--force")
        with open(f"{target}/etc/plain", "rb") as file:
            self.assertEqual(file.read(), b"plain\n")
        self.files("cp", f"{at}:/etc/-dash", target)
        self.files("cp", os.fsdecode(f"{at}:/etc/".encode() + ODD), target)
        self.assertEqual(sorted(os.listdir(os.fsencode(target))), [b"-dash", b"etc", ODD])
        run("rm", "-r", target)

    def test_ext4(self):
        self.one("ext4")

    def test_xfs(self):
        self.one("xfs")

    def test_btrfs(self):
        self.one("btrfs")

    def changes(self, kind):
        name = self.make(kind)
        with Loop(self.store, self.store.disk(name)) as loop:
            point = loop.mount()
            os.makedirs(f"{point}/d/gone")
            for each in ("same", "edited", "hidden", "mode", "attribute", "removed", "replaced", "renamed", "longer"):
                write(f"{point}/d/{each}", each.encode() * 3000)
            os.symlink("one", f"{point}/d/link")
            write(f"{point}/d/gone/inner", b"inner")
            write(f"{point}/d/big", os.urandom(16 * MIB))
            run("sync", "-f", point)
            self.store.run("snapshot", f"{name}@a")
            time.sleep(0.02)
            before = os.stat(f"{point}/d/hidden")
            write(f"{point}/d/edited", b"EDITED" * 3000)
            write(f"{point}/d/hidden", b"HIDDEN" * 3000, "r+b")
            os.utime(f"{point}/d/hidden", ns=(before.st_atime_ns, before.st_mtime_ns))
            os.chmod(f"{point}/d/mode", 0o600)
            os.setxattr(f"{point}/d/attribute", "user.note", b"x")
            os.remove(f"{point}/d/removed")
            os.remove(f"{point}/d/replaced")
            os.mkdir(f"{point}/d/replaced")
            os.rename(f"{point}/d/renamed", f"{point}/d/new name")
            write(f"{point}/d/longer", b"x", "ab")
            os.remove(f"{point}/d/link")
            os.symlink("two", f"{point}/d/link")
            run("rm", "-r", f"{point}/d/gone")
            with open(f"{point}/d/big", "r+b") as file:
                file.seek(9 * MIB + 5)
                file.write(b"!")
            run("sync", "-f", point)
            self.store.run("snapshot", f"{name}@b")
            self.store.run("snapshot", f"{name}@c")
        expected = ["M /d/big", "M /d/edited", "- /d/gone", "- /d/gone/inner", "M /d/hidden", "M /d/link", "M /d/longer",
                    "m /d/mode", "m /d/attribute", "+ /d/new name", "- /d/removed", "- /d/renamed", "- /d/replaced",
                    "+ /d/replaced"]
        found = self.files("diff", f"{name}@a", f"{name}@b").decode().splitlines()
        self.assertEqual(sorted(found), sorted(expected))
        self.assertEqual(self.files("diff", f"{name}@b", f"{name}@c"), b"")
        self.assertEqual(self.files("diff", f"{name}@a:/d/..", f"{name}@b", "--json").count(b'"change"'), len(expected))
        self.nothing_is_left()

    def test_changes_on_ext4(self):
        self.changes("ext4")

    def test_changes_on_xfs(self):
        self.changes("xfs")

    def test_changes_on_btrfs(self):
        self.changes("btrfs")

    def test_partitions(self):
        name = self.new_disk("300M")
        disk = self.store.disk(name)
        run("sfdisk", "-q", disk, input=b"label: gpt\nsize=16M,type=linux\nsize=32M,type=swap\nsize=128M,type=linux\ntype=lvm\n")
        run("mkfs.ext4", "-q", "-F", "-L", "small", "-E", f"offset={1 * MIB}", disk, "16M")
        run("mkfs.ext4", "-q", "-F", "-L", "root fs", "-E", f"offset={49 * MIB}", disk, "128M")
        point = self.store.file("point")
        os.makedirs(point)
        for offset, size, text in ((1, 16, b"small"), (49, 128, b"large")):
            device = run("losetup", "-f", "--show", "-o", str(offset * MIB), "--sizelimit", str(size * MIB), disk).stdout.decode().strip()
            run("mount", device, point)
            write(f"{point}/which", text)
            run("umount", point)
            run("losetup", "-d", device)
        self.store.run("snapshot", f"{name}@s")
        volumes = json.loads(self.files("ls", f"{name}@s", "--json"))
        self.assertEqual([(each["partition"], each["type"], each["label"], each["size"]) for each in volumes],
                         [(1, "ext4", "small", 16 * MIB), (2, "", "", 32 * MIB), (3, "ext4", "root fs", 128 * MIB),
                          (4, "", "", volumes[3]["size"])])
        self.assertIn("root fs", self.files("ls", f"{name}@s").decode())
        self.assertEqual(self.files("cat", f"{name}@s:/which"), b"large")
        self.assertEqual(self.files("cat", f"{name}@s:/which", "--partition", "1"), b"small")
        self.refused("files", "cat", f"{name}@s:/which", "--partition", "2", says=("partition 2", "no file system"))
        self.refused("files", "cat", f"{name}@s:/which", "--partition", "9", says=("no partition 9",))

    def test_bad_input(self):
        name = self.new_disk("64M")
        self.store.run("snapshot", f"{name}@empty")
        self.refused("files", "cat", f"{name}:/etc/fstab", says=("snapshot",))
        self.refused("files", "cat", f"{name}@empty", says=("needs a path",))
        self.refused("files", "cat", f"{name}@empty/etc", says=("a path begins",))
        self.refused("files", "cat", f"{name}@empty:/x", says=("no file system",))
        self.refused("files", "cat", f"{name}@none:/x", says=("none",))
        self.refused("files", "cat", f"{name}@empty:/x", "--engine", "magic", says=("--engine",))
        self.refused("files", "cp", f"{name}@empty:/x", "/no/such/folder", says=("/no/such/folder",))
        self.refused("files", says=("subcommand",))

    def test_a_killed_command_leaves_nothing(self):
        name = self.make("ext4")
        with Loop(self.store, self.store.disk(name)) as loop:
            write(f"{loop.mount()}/data", os.urandom(64 * MIB))
        self.store.run("snapshot", f"{name}@s")
        command = subprocess.Popen([PROGRAM, "--store", self.store.path, "files", "cp", f"{name}@s:/data", "-"],
                                   stdout=subprocess.PIPE)
        command.stdout.read(MIB)
        self.refused("rm", f"{name}@s", says=("open",))
        command.send_signal(signal.SIGKILL)
        command.wait()
        command.stdout.close()
        self.nothing_is_left()
        wait_until(lambda: self.store.run("rm", f"{name}@s", expect=None).returncode == 0, "the snapshot stays open")

    def test_without_a_daemon(self):
        name = self.make("ext4", "64M")
        with Loop(self.store, self.store.disk(name)) as loop:
            write(f"{loop.mount()}/data", b"data")
        self.store.run("snapshot", f"{name}@s")
        self.store.daemon.stop()
        try:
            for _ in range(2):
                self.assertEqual(self.files("cat", f"{name}@s:/data"), b"data")
            self.refused("files", "cat", f"{name}@s:/none", says=("/none",))
            self.assertIn(name, self.store.run("ls").stdout.decode())
        finally:
            self.store.serve()
            self.store.mount()

    @unittest.skipUnless(GUEST, "COPPICE_FILES_GUEST=1 runs it")
    def test_by_libguestfs(self):
        name = self.make("ext4", "64M")
        with Loop(self.store, self.store.disk(name)) as loop:
            fill(loop.mount())
        self.store.run("snapshot", f"{name}@s")
        self.assertEqual(self.files("cat", f"{name}@s:/etc/climbing", "--engine", "guestfs"), b"plain\n")
        self.assertIn(ODD_SHOWN, self.files("ls", f"{name}@s:/etc", "--engine", "guestfs").decode())
        self.assertIn(b"/dev/sda: ext4", self.files("ls", f"{name}@s", "--engine", "guestfs"))

    @unittest.skipUnless(GUEST, "COPPICE_FILES_GUEST=1 runs it")
    def test_a_volume_of_lvm(self):
        """In a partition; made, and changed on the mounted disk, by libguestfs too, for this kernel may have no device mapper."""
        name = self.new_disk("256M")

        def guestfish(*words):
            run("guestfish", "--format=raw", "-a", self.store.disk(name), "run", ":", *words, timeout=300)

        plain = self.store.file("plain")
        write(plain, b"plain\n")
        guestfish("part-disk", "/dev/sda", "mbr", ":", "pvcreate", "/dev/sda1", ":", "vgcreate", "group", "/dev/sda1", ":",
                  "lvcreate", "volume", "group", "100", ":", "mkfs", "ext4", "/dev/group/volume", ":",
                  "mount", "/dev/group/volume", "/", ":", "upload", plain, "/one")
        self.store.run("snapshot", f"{name}@before-12:00")
        guestfish("mount", "/dev/group/volume", "/", ":", "upload", plain, "/two", ":", "rm", "/one")
        self.store.run("snapshot", f"{name}@after")
        self.assertIn(b"/dev/group/volume: ext4", self.files("ls", f"{name}@before-12:00", "--engine", "guestfs"))
        self.refused("files", "cat", f"{name}@before-12:00:/one", says=("--device",))
        volume = ("--device", "/dev/group/volume")
        self.assertEqual(self.files("cat", f"{name}@before-12:00:/one", *volume), b"plain\n")
        found = self.files("diff", f"{name}@before-12:00", f"{name}@after", *volume).decode().splitlines()
        self.assertEqual(sorted(found), ["+ /two", "- /one"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
