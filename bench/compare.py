#!/usr/bin/env python3
"""Stockpot and transformers+PEFT on the same work, in turns, in one run.

    bench/compare.py --work /tmp/compare

makes a Llama-3.2-1B-shaped checkpoint and adapters in the work directory
(once), starts the daemon and the peer, lets them take turns for some rounds and
prints the tables of docs/benchmarks.md; everything measured goes to
compare.json. Both stay in memory, one at a time works. Each round reads the
memory's bandwidth before and after; a measurement during which other processes
used more than a tenth of a core is thrown away and done again.

Needs a build, .deps/demo (numpy) and .deps/reference (torch, peft).
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import comparison_tables
import processes

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = {  # name -> clients and whether they bring recipes
    "alone": (1, False), "batch8": (8, False), "mixed8": (8, True)}
NUM_SKILLS = 8
# A row is dirty if others used more than this much of a core meanwhile.
MAX_FOREIGN_CORES = 0.1
MAX_TRIES = 3


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True,
                        help="directory for checkpoint, adapters and results")
    parser.add_argument("--build", default=str(ROOT / "build" / "dev"))
    parser.add_argument("--preset", default="llama-3.2-1b")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=65)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kv-cache-bytes", type=int, default=256 << 20)
    parser.add_argument("--upload-rank", type=int, default=71,
                        help="rank of the big upload; 71 is 100 MB at the "
                        "llama-3.2-1b shape")
    parser.add_argument("--accept-load", action="store_true",
                        help="keep dirty measurements (to try the script)")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--no-bandwidth", action="store_true")
    return parser.parse_args()


class Comparison:
    """One run: its programs and what it has measured so far."""

    def __init__(self, args):
        self._args = args
        self._work = pathlib.Path(args.work)
        self._model = self._work / args.preset
        self._adapters = self._work / f"{args.preset}-adapters"
        self._bin = pathlib.Path(args.build)
        self.results = {"arguments": vars(args), "measurements": [],
                        "bandwidth_gb_s": []}

    # What is measured.

    def make_material(self):
        python = str(ROOT / ".deps" / "demo" / "bin" / "python")
        bench = ROOT / "bench"
        if not (self._model / "model.safetensors").exists():
            self._run([python, bench / "make_checkpoint.py", "--preset",
                       self._args.preset, self._model])
        for prefix, count, rank in (("skill", NUM_SKILLS, 16),
                                    ("big", 1, self._args.upload_rank)):
            if not (self._adapters / f"{prefix}{count - 1}").exists():
                self._run([python, bench / "make_adapters.py", "--count",
                           count, "--rank", rank, "--prefix", prefix,
                           self._model, self._adapters])
        with open(self._model / "config.json", encoding="utf-8") as file:
            self._vocabulary = json.load(file)["vocab_size"]

    def start_daemon(self):
        registry = self._work / "registry"
        self._run(["rm", "-rf", registry])
        return processes.Daemon(
            str(self._bin / "server" / "stockpotd"), self._model, registry,
            [f"--threads={self._args.threads}",
             f"--kv_cache_bytes={self._args.kv_cache_bytes}"],
            self._work / "stockpotd.log")

    def start_peer(self):
        return processes.JsonLinesChild(
            [ROOT / ".deps" / "reference" / "bin" / "python",
             ROOT / "bench" / "peer_transformers.py", self._model,
             "--adapters", self._adapters, "--serve",
             f"--threads={self._args.threads}",
             f"--prompt-tokens={self._args.prompt_tokens}",
             f"--output-tokens={self._args.output_tokens}"],
            self._work / "peer.log")

    # The measurements.

    def read_bandwidth(self):
        if self._args.no_bandwidth:
            return
        gb_s = float(self._run([self._bin / "bench" /
                                "stockpot-dram-bandwidth"]))
        self.results["bandwidth_gb_s"].append(gb_s)
        print(f"  memory {gb_s} GB/s", file=sys.stderr)

    def register(self, daemon, name):
        self._run([self._bin / "client" / "stockpot",
                   f"--address={daemon.address}", "register",
                   self._adapters / name])

    def measure_daemon(self, daemon, case, round_number, warmup=False):
        clients, with_skills = CASES[case]
        out = self._work / "loadgen.json"
        skills = [f"skill{i}" for i in range(NUM_SKILLS)]
        command = [
            self._bin / "bench" / "stockpot-loadgen",
            f"--address={daemon.address}", f"--clients={clients}",
            f"--requests={clients}", f"--vocabulary={self._vocabulary}",
            f"--prompt_tokens=fixed:{self._args.prompt_tokens}",
            f"--output_tokens=fixed:{self._args.output_tokens}",
            f"--seed={1000 if warmup else round_number}", f"--json={out}"]
        if with_skills:
            command += ["--skills=" + ",".join(skills), "--num_recipes=8",
                        "--skills_per_recipe=2", "--popularity=distinct"]
        before = daemon.metrics()
        self._run(command)
        after = daemon.metrics()
        with open(out, encoding="utf-8") as file:
            figures = json.load(file)
        steps, overhead_s = (
            after[name] - before[name] for name in (
                "stockpot_engine_step_overhead_seconds_count",
                "stockpot_engine_step_overhead_seconds_sum"))
        return {
            "tokens_per_second": 1e3 * clients / figures["itl_ms"]["p50"],
            "tokens_per_second_mean": figures["steady"]["tokens_per_second"],
            "step_ms_p50": figures["itl_ms"]["p50"],
            "ttft_ms": figures["ttft_ms"]["p50"],
            "end_to_end_tokens_per_second":
                figures["output_tokens_per_second"],
            "overhead_ms_per_step": 1e3 * overhead_s / steps,
            "overhead_ms_per_token":
                1e3 * overhead_s / figures["output_tokens"],
        }

    def measure(self, engine, case, round_number, pids, action):
        for attempt in range(MAX_TRIES):
            load = processes.ForeignLoad(pids)
            with load:
                figures = action()
            clean = load.cores <= MAX_FOREIGN_CORES
            print(f"  {engine} {case}: {figures['tokens_per_second']:.1f} "
                  f"tok/s, others used {load.cores:.2f} cores",
                  file=sys.stderr)
            if clean or self._args.accept_load:
                break
        self.results["measurements"].append(
            {"engine": engine, "case": case, "round": round_number,
             "foreign_cores": load.cores, "clean": clean, **figures})

    def measure_memory(self, daemon):
        weights = sum(f.stat().st_size
                      for f in self._model.glob("*.safetensors"))
        metrics = daemon.metrics()
        self.results["memory"] = {
            **processes.memory_bytes(daemon.pid),
            "weights": weights,
            "kv_cache": self._args.kv_cache_bytes,
            "caches": metrics["stockpot_adapter_cache_bytes"] +
                      metrics["stockpot_composition_cache_bytes"],
        }

    def measure_upload(self, daemon):
        processes.reset_peak_memory(daemon.pid)
        before = processes.memory_bytes(daemon.pid)["VmRSS"]
        self.register(daemon, "big0")
        file = self._adapters / "big0" / "adapter_model.safetensors"
        self.results["upload"] = {
            "bytes": file.stat().st_size,
            "memory_bytes":
                processes.memory_bytes(daemon.pid)["VmHWM"] - before}

    # Helpers of the above.

    @staticmethod
    def _run(command):
        done = subprocess.run([str(c) for c in command], check=False,
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}"
                               f"{done.stderr}")
        return done.stdout

    def run_rounds(self, daemon, peer):
        pids = [daemon.pid] + ([peer.pid] if peer else [])
        for number in range(self._args.rounds):
            print(f"round {number + 1} of {self._args.rounds}",
                  file=sys.stderr)
            self.read_bandwidth()
            for case in CASES:
                self.measure("stockpot", case, number, pids,
                             lambda: self.measure_daemon(daemon, case, number))
                if peer:
                    self.measure("peer", case, number, pids,
                                 lambda: peer.ask(case))
            self.read_bandwidth()

    def run(self):
        self.make_material()
        with self.start_daemon() as daemon:
            daemon.wait_until_ready()
            self.results["memory_after_load"] = processes.memory_bytes(
                daemon.pid)
            for i in range(NUM_SKILLS):
                self.register(daemon, f"skill{i}")
            for case in CASES:
                self.measure_daemon(daemon, case, 0, warmup=True)
            if self._args.no_peer:
                self.run_rounds(daemon, None)
            else:
                with self.start_peer() as peer:
                    self.results["peer"] = peer.read()
                    for case in CASES:
                        peer.ask(case)
                    self.run_rounds(daemon, peer)
            self.measure_memory(daemon)
            self.measure_upload(daemon)


def check_programs(args):
    """Ends with a sentence if something that the run needs is not there."""
    needed = {args.build + "/server/stockpotd": "cmake --build --preset dev",
              args.build + "/client/stockpot": "cmake --build --preset dev",
              args.build + "/bench/stockpot-loadgen": "make bench"}
    needed[str(ROOT / ".deps/demo/bin/python")] = "tools/setup.sh build"
    if not args.no_peer:
        needed[str(ROOT / ".deps/reference/bin/python")] = (
            "tools/setup.sh reference, or run with --no-peer")
    for path, remedy in needed.items():
        if not os.path.exists(path):
            sys.exit(f"compare.py: {path} is missing: {remedy}")


def main():
    args = parse_arguments()
    check_programs(args)
    os.makedirs(args.work, exist_ok=True)
    comparison = Comparison(args)
    comparison.run()
    path = os.path.join(args.work, "compare.json")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(comparison.results, out, indent=1)
    print(comparison_tables.markdown(comparison.results))


if __name__ == "__main__":
    main()
