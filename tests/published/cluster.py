"""A dev cluster of this tree, and where its parts are. Used by `run` and `schemathesis` beside it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def environment(directory, *packages):
    """A virtual environment with these packages: its python."""
    python = directory / "bin" / "python"
    if not python.exists():
        call([sys.executable, "-m", "venv", directory])
    call([python, "-m", "pip", "install", "--quiet", *packages])
    return python


class Cluster:
    """Three nodes of this tree."""

    def __init__(self, binaries, directory):
        self.binaries, self.directory = binaries, directory
        command = [binaries / "hessra-node", "dev", "--dir", directory, "--nodes", "3", "--base-port", "0"]
        self.log = open(directory.with_suffix(".log"), "w")
        self.dev = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        if self.dev.stdout.readline().strip() != "ready":
            raise SystemExit(f"the cluster did not start, see {self.log.name}")

    def nodes(self):
        return json.loads((self.directory / "nodes.json").read_text())

    def port(self):
        """Of a node that lives."""
        for node in self.nodes():
            if pathlib.Path(f"/proc/{node['pid']}").exists() and not is_dead(node["pid"]):
                return node["public"].rsplit(":", 1)[1]
        raise SystemExit("no node lives")

    def client(self, name):
        return self.directory / "clients" / f"{name}.crt", self.directory / "clients" / f"{name}.key"

    def ours(self, *arguments):
        """Our own command line, as the operator."""
        certificate, key = self.client("operator")
        environment = {**os.environ, "HESSRA_HOME": str(self.directory / "operator-home")}
        options = ["-s", f"localhost:{self.port()}", "--ca", self.directory / "ca.crt", "--cert", certificate, "--key", key]
        command = [self.binaries / "hessra", *options, *arguments]
        return subprocess.run([str(part) for part in command], env=environment, text=True, capture_output=True)

    def kill_leader(self):
        status = json.loads(self.ours("status", "-o", "json").stdout)
        leader = status["leader"]
        node = next(node for node in self.nodes() if node["id"] == leader)
        os.kill(node["pid"], signal.SIGKILL)
        self.wait(lambda status: status["leader"] not in (None, leader), "another leader")

    def wait(self, good, what):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            answer = self.ours("status", "-o", "json").stdout
            if answer and good(json.loads(answer)):
                return
            time.sleep(0.1)
        raise SystemExit(f"not within 60 s: {what}")

    def stop(self):
        self.dev.terminate()
        self.dev.wait(timeout=30)


def is_dead(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] in "ZX"
    except FileNotFoundError:
        return True


def call(command):
    command = [str(part) for part in command]
    print("$", " ".join(command), flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
