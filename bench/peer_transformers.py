#!/usr/bin/env python3
"""The same decoding work in transformers and PEFT, timed step by step.

    bench/peer_transformers.py MODEL --adapters DIR --rounds 3

Cases: alone (batch 1, no adapter), batch8 (batch 8, no adapter), mixed8 (batch
8, each row another recipe of two skills: add_weighted_adapter "cat" composes
one adapter per recipe, adapter_names gives each row its own). bfloat16, sdpa,
the same random prompts for all. Prints one JSON object per case and round.

--serve: reads one case per line from standard input and answers each with its
JSON, so that another program can take turns with it (bench/compare.py).

This is the fastest plain way to decode with PEFT that we know: a loop over
forward() with a KV cache, PEFT's hooks entered once per generation and not
once per step, the base cases on a model without PEFT's wrappers.
"""

import argparse
import contextlib
import copy
import json
import os
import statistics
import sys
import time

import peft
import torch
import transformers

CASES = {"alone": 1, "batch8": 8, "mixed8": 8}
NUM_RECIPES = 8


class Peer:
    """Two models over the same weights: one plain, one with adapters."""

    def __init__(self, model_dir, adapters_dir):
        self._plain = transformers.AutoModelForCausalLM.from_pretrained(
            model_dir, dtype=torch.bfloat16,
            attn_implementation="sdpa").eval()
        self._mixed = None
        self.compose_s = []
        if adapters_dir:
            self._load_adapters(adapters_dir)

    def _load_adapters(self, adapters_dir):
        # Copies the modules and shares the weights.
        memo = {id(p): p for p in self._plain.parameters()}
        base = copy.deepcopy(self._plain, memo)
        names = [f"skill{i}" for i in range(NUM_RECIPES)]
        mixed = peft.PeftModel.from_pretrained(
            base, os.path.join(adapters_dir, names[0]), adapter_name=names[0],
            torch_device="cpu", autocast_adapter_dtype=False)
        for name in names[1:]:
            mixed.load_adapter(os.path.join(adapters_dir, name), name,
                               torch_device="cpu",
                               autocast_adapter_dtype=False)
        for i in range(NUM_RECIPES):
            begin = time.perf_counter()
            mixed.add_weighted_adapter(
                [names[i], names[(i + 1) % NUM_RECIPES]], [1.0, 1.0],
                f"recipe{i}", combination_type="cat")
            self.compose_s.append(time.perf_counter() - begin)
        self._mixed = mixed.eval()

    @contextlib.contextmanager
    def _model(self, case):
        if case != "mixed8":
            yield self._plain
            return
        if self._mixed is None:
            raise ValueError("mixed8 needs --adapters")
        names = [f"recipe{i}" for i in range(NUM_RECIPES)]
        # What forward(adapter_names=...) does in each call.
        with self._mixed._enable_peft_forward_hooks(adapter_names=names):
            yield self._mixed.base_model

    @torch.inference_mode()
    def run(self, case, prompt_tokens, output_tokens, seed):
        """Prefills, decodes greedily and returns the figures of one round."""
        batch = CASES[case]
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, self._plain.config.vocab_size,
                            (batch, prompt_tokens), generator=generator)
        cache = transformers.DynamicCache(config=self._plain.config)
        steps = []
        with self._model(case) as model:
            for _ in range(output_tokens):
                begin = time.perf_counter()
                logits = model(input_ids=ids, past_key_values=cache,
                               use_cache=True, logits_to_keep=1).logits
                ids = logits[:, -1].argmax(-1, keepdim=True)
                steps.append(time.perf_counter() - begin)
        decode = steps[1:]
        return {
            "case": case,
            "batch": batch,
            "prefill_s": steps[0],
            "step_ms_p50": 1e3 * statistics.median(decode),
            "step_ms_mean": 1e3 * statistics.fmean(decode),
            "tokens_per_second": batch / statistics.median(decode),
            "tokens_per_second_mean": batch / statistics.fmean(decode),
        }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--adapters", help="directory with skill0 ... skill7")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=65)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default="alone,batch8,mixed8")
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    peer = Peer(args.model, args.adapters)

    def answer(case, seed):
        print(json.dumps(peer.run(case, args.prompt_tokens,
                                  args.output_tokens, seed)), flush=True)

    if args.serve:
        print(json.dumps({
            "ready": True, "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "compose_s": peer.compose_s}), flush=True)
        for number, line in enumerate(sys.stdin):
            answer(line.strip(), number)
        return
    for number in range(args.rounds):
        for case in args.cases.split(","):
            answer(case, number)


if __name__ == "__main__":
    main()
