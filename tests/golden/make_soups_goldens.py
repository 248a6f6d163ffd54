"""Writes model/soups.*: a LoRA-Soups CAT checkpoint, as its authors run it.

    .deps/reference/bin/python tests/golden/make_soups_goldens.py

Versions as in make_model_goldens.py. LoRA-Soups' code is a fork of an old PEFT
that no package holds, so its forward pass is written out here, from
learnable_lora/lora/layer.py (7ce7a2e, lines 329 to 341): per adapted layer

    p = softmax(cat of the adapters' lora_learnable_weights)
    y = W x + sum_i p_i s_i B_i (A_i x)

soups.json holds what the checkpoint is made of and the shares p,
soups.safetensors the log-probabilities of the token after the prompt.
"""

import os
import shutil
import sys
import tempfile

import torch

sys.path.insert(0, os.path.dirname(__file__))
import make_model_goldens as common  # noqa: E402
import pinned  # noqa: E402
import tiny  # noqa: E402

COMMAND = ".deps/reference/bin/python tests/golden/make_soups_goldens.py"
# The layers that the authors adapt, and as many tokens as the tokenizer of
# tests/e2e has.
TARGETS = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
BASE = common.llama(num_key_value_heads=2, vocab_size=704)
BASE_SEED = 51
# (rank, alpha, seed, dtype)
ADAPTERS = [(8, 16, 401, "F32"), (4, 12, 402, "F16"), (8, 4, 403, "BF16")]


class CatLinear(torch.nn.Module):
    """The authors' layer in its default mode, "cat"."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.adapters = []  # (lora_A, lora_B, scaling)
        self.lora_learnable_weights = []  # [1] each

    def forward(self, x):
        result = self.base(x)
        p = torch.nn.functional.softmax(
            torch.cat(self.lora_learnable_weights), dim=-1)
        for share, (a, b, scaling) in zip(p, self.adapters):
            result = result + share * ((x @ a.T) @ b.T) * scaling
        return result


def build(base_path, learnable):
    """The model with the authors' layers; float64, to be a yardstick."""
    model = common.load(base_path, torch.float64)
    sizes = tiny.linear_sizes(BASE)
    paths = [p for p in sizes if p.rpartition(".")[2] in TARGETS]
    for path in paths:
        parent, _, name = path.rpartition(".")
        layer = CatLinear(model.get_submodule(path))
        for (rank, alpha, seed, dtype), values in zip(ADAPTERS, learnable):
            shapes = tiny.adapter_shapes({path: rank}, sizes)
            a, b = (torch.from_numpy(tiny.stored(n, shapes[n], seed,
                                                 dtype)).double()
                    for n in sorted(shapes))
            layer.adapters.append((a, b, alpha / rank))
            layer.lora_learnable_weights.append(
                torch.tensor([values[path]], dtype=torch.float64))
        setattr(model.get_submodule(parent), name, layer)
    return model, paths


def logprobs(model, ids):
    with torch.no_grad():
        last = model(torch.tensor([ids])).logits[0, -1]
    return torch.log_softmax(last, dim=-1).numpy()


def main():
    pinned.check(common.VERSIONS)
    torch.manual_seed(7)
    scratch = tempfile.mkdtemp()
    try:
        tiny.write_model(scratch, BASE, BASE_SEED)
        sizes = tiny.linear_sizes(BASE)
        paths = [p for p in sizes if p.rpartition(".")[2] in TARGETS]
        # As they are initialised: N(0, 1).
        learnable = [{p: float(torch.randn(1)) for p in paths}
                     for _ in ADAPTERS]
        ids = common.tokens("soups", 12, BASE["vocab_size"])
        model, _ = build(scratch, learnable)
        out = logprobs(model, ids)
        even, _ = build(scratch, [{p: 0.0 for p in paths}] * len(ADAPTERS))
        moved = common.largest(logprobs(even, ids), out)
        print(f"the shares move the log-probabilities by {moved:.2f}")
        assert moved > 0.1, "equal shares would pass"
        shares = {p: torch.softmax(
            torch.tensor([v[p] for v in learnable], dtype=torch.float64),
            dim=-1).tolist() for p in paths}
        common.write("soups", {
            "config": BASE, "seed": BASE_SEED, "tokens": ids,
            "adapters": [
                {"config": common.lora(rank, alpha, TARGETS), "seed": seed,
                 "dtype": dtype, "lora_learnable_weights": values}
                for (rank, alpha, seed, dtype), values
                in zip(ADAPTERS, learnable)],
            "shares": shares, "logprobs": "next"}, {"next": out}, COMMAND)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
