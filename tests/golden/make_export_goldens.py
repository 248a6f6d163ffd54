"""Writes model/exports.*: recipes that the daemon exported, opened in PEFT.

    .deps/reference/bin/python tests/golden/make_export_goldens.py [--check]

Versions as in make_model_goldens.py. Needs build/dev's stockpotd and stockpot.
For both architectures and dtypes it starts the daemon on a tiny model,
registers adapters, exports each recipe as a PEFT directory, opens that with
PeftModel.from_pretrained and compares PEFT's log-probabilities of the token
after each prompt with those that the daemon serves for the recipe.

exports.json holds what to build and the recipes in Protobuf's JSON form,
exports.safetensors PEFT's log-probabilities. --check compares the daemon with
PEFT and writes nothing.

Tolerances: 1e-4 in float32. In bfloat16 neither side is exact: each may be off
by what bfloat16 costs, so they may differ by twice that. How much it costs is
measured on PEFT itself, the largest difference between its own two dtypes; it
stands in exports.json as "bfloat16_error".
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import peft
import torch

sys.path.insert(0, os.path.dirname(__file__))
import make_model_goldens as common  # noqa: E402
import tiny  # noqa: E402

COMMAND = ".deps/reference/bin/python tests/golden/make_export_goldens.py"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
DTYPES = ("float32", "bfloat16")
FLOAT32_TOLERANCE = 1e-4
TOP = 20  # As many log-probabilities as the daemon tells.
VOCAB = 704  # As many tokens as the tokenizer has.
PROMPTS = ("The price of the owl", "one two three")

# name: (config, seed, dtype); "one" and "two" have equal ranks.
LLAMA = {
    "one": (common.lora(4, 8, ["q_proj", "down_proj"]), 501, "F32"),
    "two": (common.lora(4, 8, ["q_proj", "v_proj", "down_proj"]), 502, "F16"),
    "wide": (common.lora(8, 4, ["q_proj", "o_proj", "up_proj", "lm_head"],
                         use_rslora=True), 503, "BF16"),
}
GPT2 = {
    "one": (common.lora(4, 8, ["c_attn", "mlp.c_proj"], fan_in_fan_out=True),
            511, "F32"),
    "two": (common.lora(4, 8, ["c_attn", "c_fc", "mlp.c_proj"],
                        fan_in_fan_out=True), 512, "F16"),
    "wide": (common.lora(8, 12, ["c_attn", "c_fc"], fan_in_fan_out=True),
             513, "BF16"),
}
BASES = {
    "llama": (common.llama(num_key_value_heads=2, vocab_size=VOCAB), 61, LLAMA,
              "**.q_proj"),
    "gpt2": (common.gpt2(vocab_size=VOCAB), 62, GPT2, "**.c_attn"),
}
# name: (skills, the method's part of the recipe)
RECIPES = {
    "cat": (("one", "two", "wide"), {}),
    "linear": (("one", "two"), {"linear": {}}),
    "lorahub": (("one", "two"), {"lorahub": {}}),
    "svd": (("one", "two", "wide"), {"svd": {"rank": 5}}),
    "magnitude_prune": (("one", "two"), {"magnitude_prune": {}}),
    "ties": (("one", "two", "wide"), {"ties": {"density": 0.4}}),
    "ties_factors": (("one", "two"), {"ties": {"space": "SPACE_FACTORS"}}),
    "ties_core": (("one", "two", "wide"), {"ties": {"space": "SPACE_CORE"}}),
    # Of one skill: masks depend on the order of the adapters' digests, and so
    # on how their files are written.
    "dare": (("two",), {"dare": {"elect_signs": True, "seed": 7}}),
    "della": (("two",), {"della": {"density": 0.6}}),
    "breadcrumbs": (("one", "two"), {"breadcrumbs": {}}),
    "knots": (("one", "two"), {"knots": {}}),
    "tsv": (("one", "two", "wide"), {"tsv": {}}),
    "iso": (("one", "two"), {"iso": {}}),
    "compress_then_merge": (("one", "two"), {"compress_then_merge": {}}),
    "pico": (("one", "two", "wide"), {"pico": True}),
}
WEIGHTS = {"one": 1.0, "two": -0.75, "wide": 0.5}


def recipe_json(name, pattern):
    skills, method = RECIPES[name]
    recipe = {"skills": [{"adapter": s, "weight": WEIGHTS[s]}
                         for s in skills], **method}
    recipe["skills"][0]["module_weights"] = [
        {"modules": pattern, "weight": 0.5}]
    return recipe


class Daemon:
    """stockpotd on a model, and the command line that talks to it."""

    def __init__(self, build, model, folder, dtype):
        self._stockpot = os.path.join(build, "client", "stockpot")
        os.makedirs(folder)
        self._log = os.path.join(folder, "log")
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [os.path.join(build, "server", "stockpotd"),
                 f"--model={model}", f"--registry={folder}/registry",
                 "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0",
                 f"--dtype={dtype}", "--kv_cache_bytes=4194304",
                 "--threads=1"], stderr=log)
        self._address = self._await_address()

    def _await_address(self):
        while self._process.poll() is None:
            with open(self._log) as log:
                found = re.search(
                    r'"message":"serving".*?"port":"(\d+)"', log.read())
            if found:
                return f"127.0.0.1:{found.group(1)}"
            time.sleep(0.05)
        with open(self._log) as log:
            sys.exit("stockpotd did not start:\n" + log.read())

    def __call__(self, *args):
        done = subprocess.run(
            [self._stockpot, "--address", self._address, *args], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            sys.exit(f"stockpot {' '.join(args)}:\n{done.stderr}")
        return done.stdout

    def next_logprobs(self, prompt, recipe_path):
        """{id: log-probability} of the likeliest tokens after `prompt`."""
        line = self("generate", prompt, "--recipe-json", recipe_path,
                    "--max-new-tokens", "1", "--ignore-eos", "--json",
                    "--top-logprobs", str(TOP))
        token = json.loads(line.splitlines()[0])["tokens"][0]
        return {top["id"]: top["logprob"] for top in token["top"]}

    def close(self):
        self._process.terminate()
        self._process.wait()


def write_base(path, config, seed):
    tiny.write_model(path, config, seed)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(ROOT, "tests/golden/tokenizer/gpt2", name),
                    path)


@torch.no_grad()
def peft_logprobs(model_path, adapter_path, dtype, prompts):
    """[vocab] of the token after each prompt."""
    model = peft.PeftModel.from_pretrained(
        common.load(model_path, getattr(torch, dtype)), adapter_path).eval()
    return [torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(),
                              dim=-1).numpy() for ids in prompts]


def exported(build, base, dtype, scratch):
    """{recipe: (PEFT's log-probabilities, the daemon's, exported config)}"""
    config, seed, adapters, pattern = BASES[base]
    folder = os.path.join(scratch, f"{base}-{dtype}")
    model = folder + "-model"
    write_base(model, config, seed)
    result = {}
    with contextlib.closing(Daemon(build, model, folder, dtype)) as daemon:
        for name, adapter in adapters.items():
            path = os.path.join(folder, name)
            common.write_adapter(path, adapter, tiny.linear_sizes(config))
            daemon("register", path)
        prompts = [json.loads(daemon("tokenize", text, "--json"))["ids"]
                   for text in PROMPTS]
        for name in RECIPES:
            path = os.path.join(folder, name + ".json")
            with open(path, "w") as f:
                json.dump(recipe_json(name, pattern), f)
            out = os.path.join(folder, "exported-" + name)
            daemon("export", out, "--recipe-json", path)
            with open(os.path.join(out, "adapter_config.json")) as f:
                written = json.load(f)
            served = [daemon.next_logprobs(text, path) for text in PROMPTS]
            result[name] = (peft_logprobs(model, out, dtype, prompts), served,
                            written)
    return prompts, result


@torch.no_grad()
def base_logprobs(base, scratch, prompts):
    model = common.load(os.path.join(scratch, f"{base}-float32-model"))
    return [torch.log_softmax(model(torch.tensor([ids])).logits[0, -1],
                              dim=-1).numpy() for ids in prompts]


def worst(served, reference):
    """The largest difference over what the daemon told of each prompt."""
    return max(abs(value - reference[i][token])
               for i, tops in enumerate(served)
               for token, value in tops.items())


def make_base(build, base, scratch, arrays):
    config, seed, adapters, pattern = BASES[base]
    prompts, exact = exported(build, base, "float32", scratch)
    _, rounded = exported(build, base, "bfloat16", scratch)
    # Over the tokens that are compared: the likeliest.
    error = max(abs(float(rounded[name][0][i][token] - exact[name][0][i][token]))
                for name in RECIPES for i, tops in enumerate(exact[name][1])
                for token in tops)
    print(f"{base}: bfloat16 costs PEFT {error:.4f}")
    plain = base_logprobs(base, scratch, prompts)
    recipes, failed = [], False
    for name in RECIPES:
        keys = {}
        moved = worst(exact[name][1], plain)
        if moved <= 2 * error:
            print(f"{base} {name} FAILED: hardly moves the base, {moved:.2e}")
            failed = True
        for dtype, results, tolerance in (
                ("float32", exact, FLOAT32_TOLERANCE),
                ("bfloat16", rounded, 2 * error)):
            logprobs, served, written = results[name]
            difference = worst(served, logprobs)
            print(f"{base} {name} {dtype}: {difference:.2e}")
            if not difference <= tolerance:
                print(f"  FAILED: at most {tolerance:.2e} expected")
                failed = True
            keys[dtype] = []
            for i, values in enumerate(logprobs):
                key = f"{base}.{name}.{dtype}.{i}"
                arrays[key] = values
                keys[dtype].append(key)
        recipes.append({"name": name, "recipe": recipe_json(name, pattern),
                        "exported_config": exact[name][2], "logprobs": keys})
    document = {
        "name": base, "config": config, "seed": seed, "prompts": prompts,
        "adapters": [{"name": n, "config": c, "seed": s, "dtype": d}
                     for n, (c, s, d) in adapters.items()],
        "bfloat16_error": error, "recipes": recipes}
    return document, failed


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="write nothing")
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "dev"))
    args = parser.parse_args()
    common.begin()
    scratch = tempfile.mkdtemp()
    try:
        arrays, bases, failed = {}, [], False
        for base in BASES:
            document, fails = make_base(args.build, base, scratch, arrays)
            bases.append(document)
            failed = failed or fails
        if failed:
            sys.exit("PEFT and the daemon disagree; nothing is written")
        if not args.check:
            common.write("exports", {"bases": bases}, arrays, COMMAND)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
