#!/usr/bin/env python3
"""Composing a whole model's adapters in PEFT, beside stockpot's methods.

    bench/merge_methods_peer.py \\
        --ours build/dev/bench/stockpot-merge-methods-bench

add_weighted_adapter on plain Linear modules of the model's shapes, float32
factors, no transformers model around them (cheaper than with one). "cat",
"linear", "ties" and "svd" of PEFT; svd with full_matrices=False, which PEFT's
default makes slower still, and on one layer only, times the number of layers.
--ours runs stockpot's benchmark in turns with each case, with as many threads,
and prints a table; without it, one JSON object per case.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

import peft
import torch

# layers, hidden, kv, intermediate; as in bench/merge_methods_bench.cc.
SHAPES = {"llama-1b": (16, 2048, 512, 8192),
          "llama-7b": (32, 4096, 4096, 11008)}
SVD_LAYERS = 1
# PEFT's: ours that do the same work.
OURS = {"cat": "cat", "linear": "linear", "ties": "ties-factors", "svd": "svd"}


def layer_shapes(hidden, kv, intermediate):
    """{name: (out, in)}"""
    return {"q_proj": (hidden, hidden), "k_proj": (kv, hidden),
            "v_proj": (kv, hidden), "o_proj": (hidden, hidden),
            "gate_proj": (intermediate, hidden),
            "up_proj": (intermediate, hidden),
            "down_proj": (hidden, intermediate)}


def make_model(shape, num_layers, rank, num_skills):
    """A PeftModel with skills skill0, ...; all layers share their weights."""
    _, *sizes = SHAPES[shape]
    weights = {name: torch.nn.Parameter(torch.zeros(out, inp,
                                                    dtype=torch.bfloat16))
               for name, (out, inp) in layer_shapes(*sizes).items()}
    layers = torch.nn.ModuleList()
    for _ in range(num_layers):
        layer = torch.nn.ModuleDict()
        for name, weight in weights.items():
            with torch.device("meta"):
                linear = torch.nn.Linear(weight.shape[1], weight.shape[0],
                                         bias=False)
            linear.weight = weight
            layer[name] = linear
        layers.append(layer)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank,
                             target_modules=list(weights),
                             init_lora_weights=False)
    model = peft.PeftModel(torch.nn.ModuleDict({"layers": layers}), config,
                           adapter_name="skill0", autocast_adapter_dtype=True)
    for i in range(1, num_skills):
        model.add_adapter(f"skill{i}", config)
    return model


def time_peft(shape, kind, rank, num_skills, rounds):
    """Seconds for the whole model, the median of `rounds`."""
    num_layers = SHAPES[shape][0]
    built = SVD_LAYERS if kind == "svd" else num_layers
    model = make_model(shape, built, rank, num_skills)
    names = [f"skill{i}" for i in range(num_skills)]
    extra = {"density": 0.5} if kind == "ties" else {}
    if kind == "svd":
        extra = {"svd_rank": rank, "svd_full_matrices": False}
    seconds = []
    for i in range(rounds):
        begin = time.perf_counter()
        model.add_weighted_adapter(names, [0.5] * num_skills, f"mix{i}",
                                   combination_type=kind, **extra)
        seconds.append(time.perf_counter() - begin)
        model.delete_adapter(f"mix{i}")
    return statistics.median(seconds) * num_layers / built


def time_ours(binary, method, shape, rank, num_skills, threads):
    """Seconds, or None where the benchmark has no such method."""
    name = f"^{method}/{shape}/rank:{rank}/skills:{num_skills}/"
    out = subprocess.run(
        [binary, f"--benchmark_filter={name}", "--benchmark_format=json"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True, check=True, text=True).stdout
    # Nothing matched: no JSON at all.
    found = json.loads(out)["benchmarks"] if out.strip() else []
    return found[0]["real_time"] / 1e3 if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="llama-1b")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--skills", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--methods", default=",".join(OURS))
    parser.add_argument("--ours", help="stockpot-merge-methods-bench")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.ours:
        print(f"{args.shape}, {args.skills} skills of rank {args.rank}, "
              f"{args.threads} threads, PEFT {peft.__version__}, "
              f"torch {torch.__version__}\n")
        print("| method | stockpot s | PEFT s | ratio |\n|---|---|---|---|")
    for kind in args.methods.split(","):
        rounds = 1 if kind == "svd" else args.rounds
        with torch.no_grad():
            theirs = time_peft(args.shape, kind, args.rank, args.skills,
                               rounds)
        if not args.ours:
            print(json.dumps({"method": kind, "shape": args.shape,
                              "rank": args.rank, "skills": args.skills,
                              "threads": args.threads, "seconds": theirs}),
                  flush=True)
            continue
        ours = time_ours(args.ours, OURS[kind], args.shape, args.rank,
                         args.skills, args.threads)
        cells = ["-", "-"] if ours is None else [f"{ours:.3f}",
                                                 f"{theirs / ours:.1f}"]
        print(f"| {kind} | {cells[0]} | {theirs:.3f} | {cells[1]} |",
              flush=True)


if __name__ == "__main__":
    main()
