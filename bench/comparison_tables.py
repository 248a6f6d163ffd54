#!/usr/bin/env python3
"""The tables of docs/benchmarks.md from what bench/compare.py measured.

    bench/comparison_tables.py /tmp/compare/compare.json
"""

import json
import statistics
import sys

_ROWS = {"alone": "decode alone",
         "batch8": "8 clients, no skills",
         "mixed8": "8 clients, 8 different two-skill recipes of 8 skills"}
_MIB = 1 << 20


def _per_round(results, engine, case, figure):
    """The figure of each round in which it was measured cleanly."""
    keep_dirty = results["arguments"]["accept_load"]
    return {m["round"]: m[figure] for m in results["measurements"]
            if m["engine"] == engine and m["case"] == case and
            (m["clean"] or keep_dirty)}


def _median(values):
    values = list(values)
    return statistics.median(values) if values else None


def _ratio(above, below):
    """Median over the rounds that both have of the ratio in that round."""
    return _median(above[r] / below[r] for r in above if r in below)


def _text(value, decimals):
    return "n/a" if value is None else f"{value:.{decimals}f}"


def _num_clean(results, case):
    """Rounds in which no measurement of the case was disturbed."""
    dirty = {m["round"] for m in results["measurements"]
             if m["case"] == case and not m["clean"]}
    return results["arguments"]["rounds"] - len(dirty)


def speed_table(results):
    rounds = results["arguments"]["rounds"]
    lines = ["| work | stockpot tok/s | transformers + PEFT tok/s | ratio | "
             "ratio of means | stockpot end to end tok/s | clean rounds |",
             "|---|---|---|---|---|---|---|"]
    for case, title in _ROWS.items():
        ours = _per_round(results, "stockpot", case, "tokens_per_second")
        peer = _per_round(results, "peer", case, "tokens_per_second")
        means = _ratio(
            _per_round(results, "stockpot", case, "tokens_per_second_mean"),
            _per_round(results, "peer", case, "tokens_per_second_mean"))
        end_to_end = _per_round(results, "stockpot", case,
                                "end_to_end_tokens_per_second")
        lines.append(
            f"| {title} | {_text(_median(ours.values()), 1)} | "
            f"{_text(_median(peer.values()), 1)} | "
            f"{_text(_ratio(ours, peer), 2)} | {_text(means, 2)} | "
            f"{_text(_median(end_to_end.values()), 1)} | "
            f"{_num_clean(results, case)} of {rounds} |")
    return "\n".join(lines)


def target_table(results):
    def speed(engine, case):
        return _per_round(results, engine, case, "tokens_per_second")

    memory = results["memory"]
    budget = memory["weights"] + memory["kv_cache"] + memory["caches"]
    overhead = _median(_per_round(results, "stockpot", "alone",
                                  "overhead_ms_per_token").values())
    overhead8 = _median(_per_round(results, "stockpot", "mixed8",
                                   "overhead_ms_per_step").values())
    rows = [
        ("decode alone ÷ transformers", ">= 1.3",
         _text(_ratio(speed("stockpot", "alone"), speed("peer", "alone")), 2)),
        ("8 recipes ÷ PEFT's mixed batch", ">= 1.5",
         _text(_ratio(speed("stockpot", "mixed8"), speed("peer", "mixed8")),
               2)),
        ("8 recipes ÷ own speed without skills", ">= 0.8",
         _text(_ratio(speed("stockpot", "mixed8"),
                      speed("stockpot", "batch8")), 2)),
        ("resident ÷ (weights + KV + caches)", "<= 1.1",
         _text(memory["VmRSS"] / budget, 2)),
        ("the same at its peak", "<= 1.1",
         _text(memory["VmHWM"] / budget, 2)),
        (f"memory while {results['upload']['bytes'] / 1e6:.0f} MB go up, MiB",
         "<= 64", _text(results["upload"]["memory_bytes"] / _MIB, 1)),
        ("server's own time per token, alone, ms", "<= 0.5",
         _text(overhead, 3)),
        ("server's own time per step of 8 recipes, ms", "",
         _text(overhead8, 3)),
    ]
    return "\n".join(["| figure | wanted | measured |", "|---|---|---|"] +
                     [f"| {a} | {b} | {c} |" for a, b, c in rows])


def memory_table(results):
    memory = results["memory"]
    names = {"weights": "weights on disk", "kv_cache": "KV cache (flag)",
             "caches": "adapter and composition caches",
             "VmRSS": "resident, after the run", "VmHWM": "resident, peak",
             "RssAnon": "of which anonymous",
             "RssFile": "of which mapped files"}
    return "\n".join(["| memory | MiB |", "|---|---|"] +
                     [f"| {title} | {memory[key] / _MIB:.0f} |"
                      for key, title in names.items()])


def _cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown CPU"


def conditions(results):
    arguments = results["arguments"]
    text = (f"{arguments['preset']} shape, random weights, bfloat16, "
            f"{arguments['threads']} threads, {_cpu_name()}; prompts of "
            f"{arguments['prompt_tokens']} and answers of "
            f"{arguments['output_tokens']} tokens; {arguments['rounds']} "
            "rounds, medians.")
    if results["bandwidth_gb_s"]:
        values = results["bandwidth_gb_s"]
        text += (f" Memory read at {min(values):.0f}..{max(values):.0f} GB/s "
                 f"(median {statistics.median(values):.0f}).")
        weights = results["memory"]["weights"] / 1e9
        speeds = _per_round(results, "stockpot", "alone",
                            "tokens_per_second").values()
        if speeds:
            share = (_median(speeds) * weights / statistics.median(values))
            text += (f" Decoding alone reads the weights at {share:.2f} of "
                     "that.")
    if arguments["accept_load"]:
        text += " Rounds disturbed by other processes are counted too."
    if "peer" in results:
        peer = results["peer"]
        text += (f" Peer: transformers {peer['transformers']}, PEFT "
                 f"{peer['peft']}, torch {peer['torch']}.")
    return text


def markdown(results):
    return "\n\n".join([conditions(results), speed_table(results),
                        target_table(results), memory_table(results)])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as compare_json:
        print(markdown(json.load(compare_json)))
