"""What the test runs: nodes from the files of `hessra-node dev --prepare`, a verifier, Prometheus, Alertmanager, a pager."""

import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "deploy" / "observability" / "prometheus"
FAKETIME = pathlib.Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def wait(seconds, what, good, pause=0.25, log=None):
    """What `good` returns, as soon as it is true. Otherwise the end of a log says why."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = good()
        if value:
            return value
        time.sleep(pause)
    end = log.read_text()[-2000:] if log else ""
    raise SystemExit(f"not within {seconds} s: {what}\n{end}")


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replaced(text, *pairs):
    """Text with each part replaced by another. A part that is not there is a mistake: the examples have changed."""
    for old, new in pairs:
        if old not in text:
            raise SystemExit(f"the example has changed, and the test must change too: it has no `{old}`")
        text = text.replace(old, new)
    return text


class Program:
    """A process of ours, ended by its id."""

    every = []

    def __init__(self, command, log, environment=None, stdin=None):
        self.log = log
        self.every.append(self)
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=open(log, "a"), stderr=subprocess.STDOUT, env=environment, stdin=stdin)

    def lives(self):
        return self.process.poll() is None

    def send(self, which):
        self.process.send_signal(which)

    def kill(self):
        if self.lives():
            self.process.kill()
        self.process.wait()

    def stop(self):
        if self.lives():
            # One that is frozen does not hear that it shall end.
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


class Cluster:
    """Three nodes of this tree, each started by hand, that follow the policy of a git repository."""

    def __init__(self, binaries, directory):
        self.binaries, self.directory, self.work = binaries, directory, directory.parent
        command = [binaries / "hessra-node", "dev", "--prepare", "--dir", directory, "--nodes", "3", "--base-port", "0"]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        self.nodes = {node["id"]: node for node in json.loads((directory / "nodes.json").read_text())}
        self.programs, self.mounted = {}, None
        self.follow_repository()

    def follow_repository(self):
        repository = self.work / "policy.git"
        repository.mkdir()
        # Not what the nodes start with: so the leader applies the commit, and knows which one it applied.
        clients = replaced((self.directory / "clients.toml").read_text(), ('    { name = "mail", operations = ["send"] },\n', ""))
        (repository / "clients.toml").write_text(clients)
        shutil.copy(self.directory / "resources.toml", repository / "resources.toml")
        identity = ["-c", "user.name=policy", "-c", "user.email=policy@example.com", "-c", "commit.gpgsign=false"]
        for arguments in (["init", "--quiet", "--initial-branch=main"], ["add", "."], [*identity, "commit", "--quiet", "--message=policy"]):
            subprocess.run(["git", "-C", str(repository), *arguments], check=True)
        for node in self.nodes:
            path = self.configuration(node)
            path.write_text(replaced(path.read_text(), ('url = ""', f'url = "{repository}"'), ('interval = "1m"', 'interval = "1s"'),
                                     ("accept_unsigned = false", "accept_unsigned = true")))

    def configuration(self, node):
        return self.directory / f"node-{node}" / "node.toml"

    def audit(self, node):
        return pathlib.Path(self.nodes[node]["data_dir"]) / "audit"

    def mount_audit(self, node, size):
        """Gives the audit of a node a file system of its own; says why when that cannot be."""
        folder = self.audit(node)
        folder.mkdir(parents=True)
        folder.parent.chmod(0o700)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)]
        done = subprocess.run(command, text=True, capture_output=True)
        if done.returncode != 0:
            folder.rmdir()
            return f"no tmpfs can be mounted: {done.stderr.strip()}"
        self.mounted = folder
        return None

    def resize_audit(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.mounted)], check=True)

    def start(self, node, environment=None):
        command = [self.binaries / "hessra-node", "run", "--config", self.configuration(node)]
        self.programs[node] = Program(command, self.work / f"node-{node}.log", {**os.environ, **(environment or {})})

    def operations(self, node):
        return self.nodes[node]["ops"]

    def ready(self, node):
        try:
            return json.loads(get(f"http://{self.operations(node)}/readyz"))["ready"]
        except (OSError, http.client.HTTPException):
            return False

    def wait_ready(self, *nodes):
        for node in nodes:
            wait(60, f"node {node} is ready", lambda: self.ready(node), log=self.programs[node].log)

    def served(self, node):
        """Names of the metrics that a node serves."""
        return set(re.findall(r"^([a-z_]+)[{ ]", get(f"http://{self.operations(node)}/metrics"), re.MULTILINE))

    def leader(self):
        def leading():
            for node in self.nodes:
                try:
                    if "\nhessra_raft_is_leader_ratio 1" in get(f"http://{self.operations(node)}/metrics"):
                        return node
                except OSError:
                    continue
            return None
        return wait(30, "a leader", leading)

    def hessra(self, *arguments, node=None, client="operator", home="home"):
        """Our command line, as somebody. Without a client, a token must speak for the caller."""
        order = [node] if node else [each for each in self.nodes if self.programs[each].lives()]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HESSRA_")}
        environment.update(HESSRA_HOME=str(self.work / home), HESSRA_CA=str(self.directory / "ca.crt"),
                           HESSRA_SERVER=",".join(self.nodes[each]["public"] for each in order))
        if client:
            environment.update(HESSRA_CERT=str(self.directory / f"clients/{client}.crt"), HESSRA_KEY=str(self.directory / f"clients/{client}.key"))
        command = [str(part) for part in (self.binaries / "hessra", "--no-input", *arguments)]
        return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=60)

    def verifier(self, name):
        """A service that follows the feed, as the policy knows it."""
        client = self.directory / "clients" / "verifier"
        environment = {**os.environ, "HESSRA_SERVER": ",".join(node["public"] for node in self.nodes.values()),
                       "HESSRA_CA": str(self.directory / "ca.crt"), "HESSRA_CERT": f"{client}.crt", "HESSRA_KEY": f"{client}.key",
                       "HESSRA_VERIFIER_ID": name, "HESSRA_STATE_DIR": str(self.work / f"verifier-{name}")}
        program = Program([self.binaries / "examples" / "verifier_probe"], self.work / f"verifier-{name}.log", environment, subprocess.PIPE)

        def fresh():
            # Unasked it tells of changes only, and it may have become fresh before it listened for them.
            program.process.stdin.write(b"status\n")
            program.process.stdin.flush()
            return '"standing":"fresh"' in program.log.read_text()
        wait(30, f"the verifier {name} is fresh", fresh, log=program.log)
        return program

    def knock(self, node):
        """A connection that shows no TLS."""
        host, port = self.nodes[node]["public"].rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            connection.recv(64)

    def unmount(self):
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.mounted)], check=False)


class Load(threading.Thread):
    """A little of everything, until it is stopped: tokens, denials, strangers, revocations."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.done, self.rounds, self.failure = cluster, threading.Event(), 0, None

    def run(self):
        while not self.done.is_set():
            try:
                self.round(self.rounds % 3 + 1)
            except (OSError, subprocess.SubprocessError) as error:
                self.failure = repr(error)
            self.rounds += 1
            self.done.wait(0.5)

    def round(self, node):
        if not self.cluster.programs[node].lives():
            return
        ask = lambda *arguments, **who: self.cluster.hessra(*arguments, "--timeout", "3s", node=node, home="load", **who)
        ask("identity", "authenticate", "--save-as", "load", client="alice")
        for operation in ("read", "write", "never-heard-of"):
            ask("authorize", "request", "-i", "load", "-r", "api", "-o", operation, "--token-only", client=None)
        ask("identity", "authenticate", "--save-as", "none", client="operator")
        ask("identity", "verify", "--token-name", "load", "--identity", "urn:hessra:alice", client="alice")
        ask("revoke", "--subtree", f"urn:hessra:alice:agent{self.rounds}", "--force", "--yes", "--wait-timeout", "2s")
        self.cluster.knock(node)

    def stop(self):
        self.done.set()
        self.join()


class Pager(http.server.ThreadingHTTPServer):
    """Takes what Alertmanager sends, and remembers which alert came to which address."""

    daemon_threads = True

    def __init__(self):
        self.heard = set()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
                for alert in body["alerts"]:
                    if alert["status"] == "firing":
                        self.heard.add((handler.path, alert["labels"]["alertname"]))
                handler.send_response(200)
                handler.end_headers()

            def log_message(handler, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Watch:
    """Prometheus and Alertmanager, with the examples of deploy/observability and the times of a test."""

    def __init__(self, work, cluster, faster):
        self.pager = Pager()
        self.work, self.port, self.alerts_port = work, free_port(), free_port()
        folder = work / "prometheus"
        (folder / "rules").mkdir(parents=True)
        rules = (EXAMPLES / "rules" / "hessra.yml").read_text()
        (folder / "rules" / "hessra.yml").write_text(hurried(rules, faster))
        targets = [(f"node{node}.example:7403", cluster.operations(node)) for node in cluster.nodes]
        (folder / "prometheus.yml").write_text(replaced(
            (EXAMPLES / "prometheus.yml").read_text(), *targets, ("_interval: 15s", "_interval: 1s"), ("127.0.0.1:9093", f"127.0.0.1:{self.alerts_port}")))
        (folder / "alertmanager.yml").write_text(replaced(
            (EXAMPLES / "alertmanager.yml").read_text(), ("127.0.0.1:9095", f"127.0.0.1:{self.pager.server_port}"), ("group_wait: 10s", "group_wait: 1s")))
        Program(["prometheus-alertmanager", f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={work / 'alerts'}",
                 f"--web.listen-address=127.0.0.1:{self.alerts_port}", "--cluster.listen-address="], work / "alertmanager.log")
        Program(["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={work / 'series'}",
                 f"--web.listen-address=127.0.0.1:{self.port}"], work / "prometheus.log")
        for name, port in (("prometheus", self.port), ("alertmanager", self.alerts_port)):
            wait(30, f"{name} is ready", lambda: self.is_ready(port), log=work / f"{name}.log")

    @staticmethod
    def is_ready(port):
        try:
            return get(f"http://127.0.0.1:{port}/-/ready")
        except OSError:
            return False

    def ask(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            return json.loads(get(url))["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read()).get("error", str(error))) from None

    def query(self, expression):
        """Series of an expression now. Raises ValueError with what Prometheus says when it is wrong."""
        return self.ask("query", query=expression)["result"]

    def rules(self):
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def firing(self):
        return [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]

    def arrived(self):
        return json.loads(get(f"http://127.0.0.1:{self.alerts_port}/api/v2/alerts"))


def hurried(rules, factor):
    """The rules with each `for` divided by a factor, and nothing else changed."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return re.sub(r"^( +for: )(\d+)([smhd])$",
                  lambda found: f"{found[1]}{max(1, round(int(found[2]) * units[found[3]] / factor))}s", rules, flags=re.MULTILINE)
