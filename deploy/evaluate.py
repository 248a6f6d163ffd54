#!/usr/bin/env python3
"""Asks a real Prometheus every question that deploy/ asks.

Usage: deploy/evaluate.py HOST:PORT COMMAND...

Starts Prometheus on the scrape configuration of deploy/prometheus, with
HOST:PORT (a running stockpotd's metrics) for its target and one scrape a
second; runs COMMAND, which should give the daemon work of every kind; then
evaluates the dashboard's panels and the recorded rules. Each must give a
number: neither nothing nor NaN. Alerts must evaluate, and none may be in
error. Needs Debian's prometheus.
"""

import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

import check

# Long enough for a rate over scrapes a second apart, on a busy machine.
INTERVAL = "30s"
TRIES = 60


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def write_config(folder, target):
    config = yaml.safe_load(check.read("deploy/prometheus/prometheus.yml"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = check.read("deploy/prometheus/rules.yml")
    (folder / "rules.yml").write_text(rules)


def ask(base, path, **parameters):
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        return {"error": error.read().decode()}


def wait_for_scrape(base):
    for _ in range(TRIES):
        try:
            data = ask(base, "query", query='up{job="stockpot"} == 1')
            if data.get("result"):
                return
        except OSError:
            pass
        time.sleep(1)
    sys.exit("evaluate: Prometheus did not get a scrape")


def fault_of(base, expr):
    """What is wrong with an expression's answer; empty if nothing is."""
    data = ask(base, "query", query=check.without_variables(expr, INTERVAL))
    if "error" in data:
        return data["error"]
    values = [sample["value"][1] for sample in data["result"]]
    if not values:
        return "no data"
    return "NaN" if "NaN" in values else ""


def evaluate(base):
    questions = check.dashboard_queries()
    questions += [(rule["record"], rule["record"])
                  for rule in check.rules() if "record" in rule]
    faults = []
    for where, expr in questions:
        fault = fault_of(base, expr)
        if fault:
            faults.append(f"{where}: {fault}: {expr}")
    alerts = 0
    for group in ask(base, "rules")["groups"]:
        for rule in group["rules"]:
            alerts += rule["type"] == "alerting"
            if rule["health"] != "ok":
                faults.append(f"{rule['name']}: {rule.get('lastError')}")
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"evaluate: {len(questions)} expressions and {alerts} alerts "
          f"asked of Prometheus: {len(faults)} faults")
    return 1 if faults else 0


def main():
    target, load = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_config(folder, target)
        address = f"127.0.0.1:{free_port()}"
        with open(folder / "log", "w", encoding="utf-8") as log, \
             subprocess.Popen(
                 ["prometheus", f"--config.file={folder}/prometheus.yml",
                  f"--storage.tsdb.path={folder}/data",
                  f"--web.listen-address={address}"],
                 stdout=log, stderr=log) as server:
            try:
                base = f"http://{address}"
                wait_for_scrape(base)
                subprocess.run(load, check=True)
                time.sleep(3)  # Two scrapes and an evaluation.
                return evaluate(base)
            finally:
                server.terminate()


if __name__ == "__main__":
    sys.exit(main())
