"""Child processes of a comparison: starting, asking and weighing them."""

import json
import os
import socket
import subprocess
import time
import urllib.request

_TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory_bytes(pid):
    """VmRSS, VmHWM, RssAnon and RssFile of a process."""
    fields = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key in ("VmRSS", "VmHWM", "RssAnon", "RssFile"):
                fields[key] = int(value.split()[0]) * 1024
    return fields


def reset_peak_memory(pid):
    """Lets VmHWM begin anew at VmRSS."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def cpu_seconds_of(pid):
    """User and system time of a process and of its reaped children."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(int(f) for f in fields[11:15]) / _TICKS


def machine_busy_seconds():
    """CPU time that all processes together have used since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(f) for f in file.readline().split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / _TICKS


class ForeignLoad:
    """Cores that other processes used while the block ran, in `cores`."""

    def __init__(self, pids):
        self._pids = [os.getpid(), *pids]
        self.cores = 0.0

    def _foreign(self):
        return machine_busy_seconds() - sum(map(cpu_seconds_of, self._pids))

    def __enter__(self):
        self._begin = time.monotonic(), self._foreign()
        return self

    def __exit__(self, *_):
        seconds = max(time.monotonic() - self._begin[0], 1e-3)
        self.cores = (self._foreign() - self._begin[1]) / seconds


class Daemon:
    """A stockpotd of one's own. Use as a context."""

    def __init__(self, binary, model, registry, flags, log_path):
        self._port = free_port()
        self._metrics_port = free_port()
        self._log = open(log_path, "wb")
        self._process = subprocess.Popen(
            [binary, f"--model={model}", f"--registry={registry}",
             f"--listen=127.0.0.1:{self._port}",
             f"--metrics_listen=127.0.0.1:{self._metrics_port}", *flags],
            stdout=self._log, stderr=subprocess.STDOUT)
        self.pid = self._process.pid
        self.address = f"127.0.0.1:{self._port}"
        self._log_path = log_path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def metrics(self):
        """Every series without labels, by its name."""
        url = f"http://127.0.0.1:{self._metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        values = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#") and "{" not in name:
                values[name] = float(value)
        return values

    def wait_until_ready(self, timeout_s=600):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"stockpotd ended; see {self._log_path}")
            try:
                if self.metrics().get("stockpot_ready") == 1:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise RuntimeError(f"stockpotd is not ready after {timeout_s} s")


class JsonLinesChild:
    """A program that answers each line of input with one of JSON."""

    def __init__(self, command, log_path):
        self._log = open(log_path, "wb")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True)
        self.pid = self._process.pid
        self._log_path = log_path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(60)
        self._log.close()

    def read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended; see {self._log_path}")
        return json.loads(line)

    def ask(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.read()
