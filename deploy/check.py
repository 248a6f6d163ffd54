#!/usr/bin/env python3
"""Compares what deploy/ and docs/ say with each other, and with a scrape.

Usage: deploy/check.py [SCRAPE_FILE]

Prints one line per fault and ends with status 1 if there is any. Needs
python3-yaml and promtool.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    sys.exit("deploy/check.py needs Debian's python3-yaml")

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = re.compile(r"\bstockpot_[a-z0-9_]+")
RECORDED = re.compile(r"\bstockpot:[a-z0-9_:]+")
MATCHER = re.compile(r'\b(method|code)\s*(?:=|!=|=~|!~)\s*"([^"]*)"')
CODES = set("""OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND
    ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION
    ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS
    UNAUTHENTICATED""".split())
UID = 65532


def read(path):
    return (ROOT / path).read_text()


def dashboard_queries():
    """(panel title, expression) of every target of the dashboard."""
    dashboard = json.loads(read("deploy/grafana/stockpot.json"))
    return [(panel["title"], target["expr"])
            for panel in dashboard["panels"]
            for target in panel.get("targets", [])]


def without_variables(expr, interval="5m"):
    """The expression with Grafana's variables filled in."""
    expr = expr.replace("$__rate_interval", interval)
    return expr.replace("$instance", ".*")


def rules():
    groups = yaml.safe_load(read("deploy/prometheus/rules.yml"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def documented_metrics():
    """Names in the first column of the table of docs/metrics.md."""
    return set(re.findall(r"^\| `(stockpot_[a-z0-9_]+)`",
                          read("docs/metrics.md"), re.MULTILINE))


def scraped(text):
    """(families, sample names) of a scrape in the text format."""
    families = set(re.findall(r"^# TYPE (stockpot_\w+) ", text, re.MULTILINE))
    samples = set(re.findall(r"^(stockpot_\w+)[ {]", text, re.MULTILINE))
    return families, samples


def family(name, families):
    """The family that a sample's name belongs to, or the name itself."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base in families else name


def check_names(expressions, scrape):
    """Every metric, label value and recording that is used must exist."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    documented = documented_metrics()
    methods = set(re.findall(
        r"\brpc (\w+)\(",
        "".join(p.read_text() for p in ROOT.glob("proto/stockpot/v1/*.proto"))))
    families, samples = scraped(scrape) if scrape else (documented, None)
    for where, expr in expressions:
        for name in NAME.findall(expr):
            known = (name in samples if samples is not None else
                     family(name, documented) in documented)
            if not known:
                yield f"{where}: no metric {name}"
        for name in set(RECORDED.findall(expr)) - recorded:
            yield f"{where}: no rule records {name}"
        for label, values in MATCHER.findall(expr):
            known = methods if label == "method" else CODES
            for value in set(values.split("|")) - known:
                yield f"{where}: {label}=\"{value}\" never occurs"
    for name in sorted(families - documented):
        yield f"docs/metrics.md: does not name {name}"
    for name in sorted(documented - families):
        yield f"docs/metrics.md: names {name}, which is not scraped"


def check_syntax(queries):
    """The dashboard's PromQL, as promtool reads it."""
    groups = [{"name": "dashboard", "rules": [
        {"record": f"panel:{i}", "expr": without_variables(expr)}
        for i, (_, expr) in enumerate(queries)]}]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": groups}, file)
        file.flush()
        result = subprocess.run(
            ["promtool", "check", "rules", file.name], text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        yield "deploy/grafana/stockpot.json: " + result.stdout


def check_alerts():
    """Each alert has a firing and a silent test, and a section to read."""
    tests = yaml.safe_load(read("deploy/prometheus/rules_test.yml"))["tests"]
    operations = read("docs/operations.md")
    fired, silent = set(), set()
    for test in tests:
        for case in test["alert_rule_test"]:
            (fired if case["exp_alerts"] else silent).add(case["alertname"])
    alerts = [rule for rule in rules() if "alert" in rule]
    for name in (alert["alert"] for alert in alerts):
        if name not in fired:
            yield f"{name}: no test in which it fires"
        if name not in silent:
            yield f"{name}: no test in which it stays silent"
        if f"\n### {name}\n" not in operations:
            yield f"{name}: no section in docs/operations.md"
    for alert in alerts:
        anchor = f"docs/operations.md#{alert['alert'].lower()}"
        if alert["annotations"]["runbook"] != anchor:
            yield f"{alert['alert']}: its runbook is not {anchor}"


def seconds(text):
    match = re.fullmatch(r"(\d+)(s|m)", text)
    return int(match[1]) * (60 if match[2] == "m" else 1)


def check_pod(deployment):
    """Pod Security Standards' "restricted", one registry, time to drain."""
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    box = pod["containers"][0]
    security = {**pod["securityContext"], **box["securityContext"]}
    flags = dict(arg[2:].split("=", 1) for arg in box["args"])
    writable = [mount["mountPath"] for mount in box["volumeMounts"]
                if not mount.get("readOnly")]
    stop = int(box["lifecycle"]["preStop"]["exec"]["command"][-1])
    for fact, holds in [
            ("one replica", spec["replicas"] == 1),
            ("Recreate", spec["strategy"] == {"type": "Recreate"}),
            ("no service account token",
             pod["automountServiceAccountToken"] is False),
            ("one container", len(pod["containers"]) == 1),
            ("runAsNonRoot", security["runAsNonRoot"] is True),
            ("uid, gid, fsGroup", {security[key] for key in (
                "runAsUser", "runAsGroup", "fsGroup")} == {UID}),
            ("RuntimeDefault",
             security["seccompProfile"] == {"type": "RuntimeDefault"}),
            ("no escalation", security["allowPrivilegeEscalation"] is False),
            ("read-only root", security["readOnlyRootFilesystem"] is True),
            ("no capabilities", security["capabilities"] == {"drop": ["ALL"]}),
            ("writes to the volume alone", writable == ["/var/lib/stockpot"]),
            ("registry on the volume",
             flags["registry"].startswith(writable[0] + "/")),
            ("grace > preStop + drain", pod["terminationGracePeriodSeconds"] >
             stop + seconds(flags.get("drain_timeout", "30s"))),
            ("startup waits for the model",
             box["startupProbe"]["grpc"] == {"port": 50051}),
            ("readiness follows Generate", box["readinessProbe"]["grpc"] == {
                "port": 50051, "service": "stockpot.v1.GenerationService"}),
            ("liveness ignores draining", "grpc" not in box["livenessProbe"]),
            ("memory limit = request", box["resources"]["limits"]["memory"] ==
             box["resources"]["requests"]["memory"])]:
        if not holds:
            yield f"deploy/kubernetes/deployment.yaml: not so: {fact}"
    known = set(re.findall(r"^ABSL_FLAG\([^,]+, (\w+),", read("server/main.cc"),
                           re.MULTILINE))
    for flag in sorted(set(flags) - known):
        yield f"deploy/kubernetes/deployment.yaml: stockpotd has no --{flag}"


def check_kubernetes():
    folder = "deploy/kubernetes/"
    resources = yaml.safe_load(read(folder + "kustomization.yaml"))["resources"]
    documents = [document for name in resources
                 for document in yaml.safe_load_all(read(folder + name))]
    by_kind = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    deployment, = by_kind["Deployment"]
    service, = by_kind["Service"]
    yield from check_pod(deployment)
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"]
             for port in template["spec"]["containers"][0]["ports"]}
    if not service["spec"]["selector"].items() <= labels.items():
        yield folder + "service.yaml: selects no pod of the Deployment"
    for port in service["spec"]["ports"]:
        if ports.get(port["targetPort"]) != port["port"]:
            yield folder + f"service.yaml: port {port['name']} leads nowhere"
    claims = {claim["metadata"]["name"]
              for claim in by_kind["PersistentVolumeClaim"]}
    for volume in template["spec"]["volumes"]:
        if volume["persistentVolumeClaim"]["claimName"] not in claims:
            yield folder + f"volumes.yaml: no claim for {volume['name']}"


def main():
    scrape = pathlib.Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else ""
    queries = dashboard_queries()
    expressions = [(f"dashboard, {title}", expr) for title, expr in queries]
    expressions += [(rule.get("alert") or rule["record"], rule["expr"])
                    for rule in rules()]
    faults = [*check_names(expressions, scrape), *check_syntax(queries),
              *check_alerts(), *check_kubernetes()]
    for fault in faults:
        print(fault, file=sys.stderr)
    against = "a scrape" if scrape else "docs/metrics.md"
    print(f"deploy: {len(expressions)} expressions against {against}: "
          f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
