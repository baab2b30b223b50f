"""The benchmark as a program: its lines, its refusals, its table and its plot. Speed is not looked at."""
import json
import os
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["OVERHEAD"]
BENCH = os.environ["BENCH"]
KEYS = {"figure": str, "ratio": float, "q1": float, "q3": float, "pairs": int, "floor": float, "goal": float,
        "unit": str, "value": float}


def overhead(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=240)


class Overhead(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(dir=".")
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.done = overhead("--quick", "--json", "--size", "64M", "--only", "write-qd32,sync-qd1,rollback",
                            "--dir", cls.scratch.name)
        cls.lines = [json.loads(line) for line in cls.done.stdout.splitlines()]

    def test_each_figure_has_one_line(self):
        self.assertEqual(self.done.returncode, 0, self.done.stderr)
        self.assertEqual([line["figure"] for line in self.lines], ["write-qd32", "sync-qd1", "rollback"])

    def test_shape(self):
        for line in self.lines:
            self.assertEqual(list(line)[: len(KEYS)], list(KEYS))
            for key, kind in KEYS.items():
                self.assertIsInstance(line[key], (int, float) if kind is float else kind, (line["figure"], key))
            self.assertTrue(0 < line["q1"] <= line["ratio"] <= line["q3"], line)
            self.assertGreater(line["value"], 0)
            self.assertTrue(line["quick"])

    def test_writes_tell_their_cost(self):
        for line in self.lines[:2]:
            self.assertGreater(line["cpu_us_per_io"], 0)
            self.assertGreaterEqual(line["device_bytes_per_guest_byte"], 0.99)

    def test_deletion_gives_back_what_was_foretold(self):
        done = overhead("--quick", "--json", "--size", "64M", "--only", "delete-p99-write,delete-space", "--dir",
                        self.scratch.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        guest, space = (json.loads(line) for line in done.stdout.splitlines())
        self.assertGreater(guest["removed_under_load"], 0)
        self.assertEqual((space["figure"], space["ratio"]), ("delete-space", 1))
        self.assertGreater(space["value"], 200 * 4096)

    def test_cleans_up(self):
        self.assertEqual(os.listdir(self.scratch.name), [])

    def test_unknown_figure_is_refused(self):
        done = overhead("--only", "write-qd33")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("write-qd33", done.stderr)

    def test_table_and_plot(self):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            results = os.path.join(folder, "results.jsonl")
            with open(results, "w", encoding="utf-8") as file:
                file.write(self.done.stdout)
                file.write('{"peer": "raw", "job": "read-qd32", "iops": 100, "q1": 90, "q3": 110}\n')
            table = subprocess.run([BENCH + "/table", results], capture_output=True, text=True, check=True).stdout
            for name in ("write-qd32", "sync-qd1", "rollback", "| raw | 100 |"):
                self.assertIn(name, table)
            subprocess.run([BENCH + "/plot", results], check=True, capture_output=True)
            with open(os.path.join(folder, "results.svg"), encoding="utf-8") as file:
                self.assertIn("sync-qd1", file.read())


if __name__ == "__main__":
    unittest.main()
