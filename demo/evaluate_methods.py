#!/usr/bin/env python3
"""Measures every composition method on the held-out items: a table of target %.

    make serve                                    # in another terminal
    python demo/evaluate_methods.py --limit 48

Both skills of a pair under each method, at two pairs of weights; as in
evaluate.py, which says what counts as right. Needs the standard library and
the built client.
"""

import argparse
import os
import time

import backends
import evaluate

# Options of `stockpot generate --method`; what is not given is the default.
METHODS = (
    "cat",
    "linear",
    "lorahub",
    "svd",
    "magnitude_prune",
    "magnitude_prune --space core",
    "ties",
    "ties --space core",
    "ties --space factors",
    "dare",
    "dare --elect-signs",
    "della",
    "breadcrumbs",
    "knots",
    "tsv",
    "iso",
    "compress_then_merge",
    "cat --pico",
)
PAIRS = {"facts+json": "1:1,0.5:0.5", "words+python": "0.8:0.8,0.5:0.5"}


def cell(answer, items, recipe, method, max_new_tokens):
    """(target %, right shape %)"""
    results = evaluate.measure(
        lambda prompts, recipe, n: answer(prompts, recipe, n, method), items,
        recipe, with_system=False, max_new_tokens=max_new_tokens)
    return (evaluate.percent(r[2] for r in results),
            evaluate.percent(r[3] for r in results))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="localhost:50051")
    parser.add_argument("--client", help="the stockpot binary")
    parser.add_argument("--items",
                        default=os.path.join(here, "eval_items.jsonl"))
    parser.add_argument("--limit", type=int, help="items of each pair")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--method", action="append",
                        help="one method with its options; repeatable")
    args = parser.parse_args()

    answer = backends.Daemon(args.address, args.client)
    columns = []
    for pair, weights in PAIRS.items():
        items = evaluate.load_items(args.items, pair, args.limit)
        columns += [(pair, w, items) for w in evaluate.parse_weights(weights)]
    print("Target %, and the right shape % in brackets; items: "
          + ", ".join(f"{pair} {len(items)}"
                      for pair, w, items in columns[::2]) + ".\n")
    print("| method | " + " | ".join(
        f"{pair} at {w[0]:g}, {w[1]:g}" for pair, w, _ in columns)
        + " | seconds |")
    print("|---" * (len(columns) + 2) + "|")
    for method in args.method or METHODS:
        start, cells = time.monotonic(), []
        for pair, weights, items in columns:
            right, shaped = cell(answer, items,
                                 dict(zip(pair.split("+"), weights)), method,
                                 args.max_new_tokens)
            cells.append(f"{right:.0f} ({shaped:.0f})")
        print(f"| `{method}` | " + " | ".join(cells)
              + f" | {time.monotonic() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
