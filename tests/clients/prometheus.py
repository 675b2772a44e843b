"""RBB's Prometheus rules against a lab network:  prometheus.py IPE FOLDER

Starts a lab with IPE, scrapes every node of it with the labels that RBB's configuration gives them, and asks a real
Prometheus what its rules say: all of them evaluate, each recording rule has a value for what it is about, no alert about
nodes fires while all is well; then a boot is killed, and two validators, and the alerts for a node that is down, for one
that is behind and for a chain that stands still fire; once the boot is back its alerts end.

The program is $IPE_PROMETHEUS, `prometheus` of the PATH, or Debian's package, unpacked into FOLDER without installing it.
Where there is none of these: "NOT RUN". $IPE_PROMETHEUS_RULES is a folder of rule files to be used instead of the ones
below. Everything listens on loopback and is ended by its own process id.
"""

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# The names and expressions of RBB's rules. The interval that they hold against the clock is 2 s.
RECORDS = {
    "blockchain_tip": "max(ethereum_blockchain_height) by (network)",
    "node_block_height_distance_from_tip": "blockchain_tip - ignoring(job, instance, org) group_right ethereum_blockchain_height",
    "blockchain_block_generation_rate:rate1m": "max(rate(ethereum_best_known_block_number[1m])) by (network)",
    "blockchain_block_generation_interval:rate1m": "1 / blockchain_block_generation_rate:rate1m",
    "blockchain_block_generation_interval_distance_from_target:rate1m": "abs(blockchain_block_generation_interval:rate1m - 2)",
}
OFFLINE, BEHIND, PACE = "RBBNodeOffline", "RBBNodeOutOfSync", "RBBBlockGenerationOutOfSchedule"
ALERTS = {
    OFFLINE: 'up{network="rbb"} == 0',
    BEHIND: 'node_block_height_distance_from_tip{network="rbb"} > 10',
    PACE: 'blockchain_block_generation_interval_distance_from_target:rate1m{network="rbb"} > 0.5',
}
# How long anything may take on a busy machine; every wait ends as soon as it can.
PATIENCE = 300
# Remarks of promtool that Besu's own names earn.
BESUS_NAMES = ("should not have", "should not include", "use base unit", "camelCase")


def fail(words):
    raise SystemExit(f"prometheus: {words}")


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def until(what, look):
    """Waits for a true answer and returns it; an error of `look` is no answer."""
    end, last = time.monotonic() + PATIENCE, None
    while time.monotonic() < end:
        try:
            answer = look()
            if answer:
                return answer
            last = answer
        except (OSError, urllib.error.URLError, ValueError, KeyError) as error:
            last = error
        time.sleep(1)
    fail(f"after {PATIENCE} s still waiting until {what}; last: {last}")


def unpacked(folder):
    """Debian's package in `folder`: lists, package and files stay there, the system is left as it is."""
    binary = os.path.join(folder, "usr/bin/prometheus")
    if os.path.exists(binary):
        return binary
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return None
    os.makedirs(os.path.join(folder, "apt/lists/partial"), exist_ok=True)
    os.makedirs(os.path.join(folder, "apt/archives/partial"), exist_ok=True)
    own = [f"-oDir::State::lists={folder}/apt/lists", f"-oDir::Cache={folder}/apt", "-qq"]
    for command in (["update"], ["download", "prometheus"]):
        done = subprocess.run(["apt-get", *own, *command], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"apt-get {' '.join(command)}: {done.stderr.strip()}")
    packages = [name for name in os.listdir(folder) if name.startswith("prometheus_") and name.endswith(".deb")]
    if not packages:
        fail(f"apt-get download prometheus left no package in {folder}")
    subprocess.run(["dpkg", "-x", packages[0], "."], cwd=folder, check=True)
    return binary


def rule_file():
    lines = ["groups:", "- name: chain", "  rules:"]
    for name, expression in RECORDS.items():
        lines += [f"  - record: {name}", f"    expr: {expression}"]
    lines += ["- name: alerts", "  rules:"]
    for name, expression in ALERTS.items():
        lines += [f"  - alert: {name}", f"    expr: {expression}", "    for: 30s", "    labels:", "      severity: page"]
        lines += ["    annotations:", '      summary: "{{ $labels.instance | stripPort }}: {{ $value }}"']
    return "\n".join(lines) + "\n"


def configuration(nodes, rules):
    lines = ["global:", "  scrape_interval: 2s", "  evaluation_interval: 5s", "rule_files:", f"  - '{rules}'", "scrape_configs:"]
    lines += ["  - job_name: besu-nodes", "    static_configs:"]
    for node in nodes:
        lines += [f"      - targets: ['{node['metrics']}']", "        labels:", "          network: rbb", f"          org: {node['name'].split('-')[0]}"]
    return "\n".join(lines) + "\n"


class Prometheus:
    def __init__(self, binary, folder, nodes):
        rules = os.environ.get("IPE_PROMETHEUS_RULES")
        if rules:
            rules = os.path.join(os.path.abspath(rules), "*.yml")
        else:
            rules = os.path.join(folder, "rules.yml")
            with open(rules, "w") as file:
                file.write(rule_file())
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w") as file:
            file.write(configuration(nodes, rules))
        data = os.path.join(folder, "data")
        shutil.rmtree(data, ignore_errors=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.log = os.path.join(folder, "prometheus.log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [binary, f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={self.url[7:]}"],
                stdout=log, stderr=subprocess.STDOUT, cwd=folder,
            )

    def ask(self, path, **query):
        if self.process.poll() is not None:
            fail(f"it ended by itself; see {self.log}")
        answer = json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"))
        if answer["status"] != "success":
            fail(f"{path} {query}: {answer}")
        return answer["data"]

    def values(self, expression):
        return {one["metric"].get("instance", ""): float(one["value"][1]) for one in self.ask("query", query=expression)["result"]}

    def rules(self):
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def firing(self, alert):
        found = [rule for rule in self.rules() if rule["name"] == alert]
        if len(found) != 1:
            fail(f"{len(found)} rules have the name {alert}")
        return {one["labels"].get("instance", "") for one in found[0]["alerts"] if one["state"] == "firing"}

    def check_rules(self):
        """Every rule has been evaluated without error."""
        bad = [f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}" for rule in self.rules() if rule["health"] == "err"]
        if bad:
            fail(f"rules that do not evaluate: {bad}")
        return all(rule["health"] == "ok" for rule in self.rules())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def lint(binary, nodes):
    """promtool reads what every node serves; its remarks may only be about names that are Besu's."""
    promtool = os.path.join(os.path.dirname(binary), "promtool")
    if not os.path.exists(promtool):
        print("prometheus: NOT RUN: promtool check metrics (no promtool beside prometheus)")
        return
    for node in nodes:
        text = get(f"http://{node['metrics']}/metrics")
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        remarks = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        bad = [line for line in remarks if not (re.match(r"(besu|ethereum|process)_", line) and any(known in line for known in BESUS_NAMES))]
        # 3: remarks, but readable.
        if done.returncode not in (0, 3) or bad:
            fail(f"promtool check metrics of {node['name']}: exit code {done.returncode}: {bad or remarks}")
    print(f"prometheus: promtool reads the metrics of {len(nodes)} nodes")


def rehearse(prometheus, nodes, lab):
    at = {node["name"]: node["metrics"] for node in nodes}
    everybody = set(at.values())
    until("every node is scraped", lambda: {name for name, value in prometheus.values("up").items() if value == 1} == everybody)
    until("every rule has been evaluated", prometheus.check_rules)
    until("nodes have a distance from the tip", lambda: set(prometheus.values("node_block_height_distance_from_tip")) == everybody)
    finite = lambda value: math.isfinite(value) and value >= 0
    for name in RECORDS:
        got = until(f"{name} has a value", lambda: prometheus.values(name))
        if not until(f"{name} is a number", lambda: all(finite(value) for value in prometheus.values(name).values())):
            fail(f"{name}: {got}")
    tip = prometheus.values("blockchain_tip")
    if len(tip) != 1:
        fail(f"one network has one tip, not {tip}")
    for alert in (OFFLINE, BEHIND):
        if prometheus.firing(alert):
            fail(f"{alert} fires for {prometheus.firing(alert)} while all is well")
    print(f"prometheus: {len(prometheus.rules())} rules evaluate, {len(everybody)} nodes, all recording rules have values")

    lab("kill", "inst1-boot")
    # The boot is the only way of its institution's other nodes to the network.
    until("the boot that was killed is reported offline", lambda: prometheus.firing(OFFLINE) == {at["inst1-boot"]})
    cut = {at["inst1-writer"], at["inst1-validator"]}
    until("nodes behind it are reported out of sync", lambda: cut <= prometheus.firing(BEHIND) and at["inst2-boot"] not in prometheus.firing(BEHIND))
    print("prometheus: a killed node is reported offline, and those behind it out of sync")

    lab("kill", "inst2-validator")
    lab("kill", "inst3-validator")
    lab("start", "inst1-boot")
    until("a chain that stands still is reported", lambda: prometheus.firing(PACE))
    until("the boot's alert ends once it is back", lambda: at["inst1-boot"] not in prometheus.firing(OFFLINE))
    until("its institution's nodes have caught up", lambda: not prometheus.firing(BEHIND))
    if not prometheus.check_rules():
        fail("a rule is no longer evaluated")
    print("prometheus: a chain that stands still is reported; a node that is back is not")


def main():
    if len(sys.argv) != 3:
        raise SystemExit("usage: prometheus.py IPE FOLDER")
    ipe, folder = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    os.makedirs(folder, exist_ok=True)
    binary = os.environ.get("IPE_PROMETHEUS") or shutil.which("prometheus") or unpacked(folder)
    if not binary:
        print("prometheus: NOT RUN, there is no prometheus in IPE_PROMETHEUS or the PATH, and no apt-get to fetch it with")
        return
    lab_folder = os.path.join(folder, "lab")

    def lab(*arguments):
        done = subprocess.run([ipe, "lab", *arguments, "--dir", lab_folder], capture_output=True, text=True)
        if done.returncode != 0:
            fail(f"ipe lab {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    lab("down")
    shutil.rmtree(lab_folder, ignore_errors=True)
    prometheus = None
    try:
        lab("up", "--detach", "--block-period", "2s")
        nodes = json.loads(lab("status", "--json"))["nodes"]
        for node in nodes:
            node["metrics"] = urllib.parse.urlsplit(node["metrics"]).netloc
        prometheus = Prometheus(binary, folder, nodes)
        rehearse(prometheus, nodes, lab)
        lint(binary, [node for node in nodes if node["name"] not in ("inst2-validator", "inst3-validator")])
    finally:
        if prometheus:
            prometheus.stop()
        lab("down")


main()
