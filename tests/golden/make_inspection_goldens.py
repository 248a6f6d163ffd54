"""Writes inspection/adapters.json: statistics of adapters, module by module.

    .deps/reference/bin/python tests/golden/make_inspection_goldens.py

Versions as in make_model_goldens.py, and numpy 2.3.4. "adapters" are plain LoRA
adapters with values of tiny.py, some of which "edits" then change: a tensor
that is zero, rows that are zero or copies of others. Their statistics come from
the singular values of the dense s B A in float64, by numpy; dead ranks from the
norms of its factors.

"kinds" are the adapters of model/kinds.json. Their updates are what PEFT adds
to the base weights when it merges them; of those that are LoRA with a bias or
DoRA's gain beside it, what PEFT's get_delta_weight says. Kinds have no dead ranks
here, which are of the factors that a server makes.
"""

import json
import os
import shutil
import sys
import tempfile

import numpy as np
import peft
import torch

sys.path.insert(0, os.path.dirname(__file__))
import make_kind_goldens as kinds  # noqa: E402
import make_model_goldens as common  # noqa: E402
import tiny  # noqa: E402

COMMAND = ".deps/reference/bin/python tests/golden/make_inspection_goldens.py"
HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = {**common.VERSIONS, "numpy": (np.__version__, "2.3.4")}
# Singular values below this share of the largest are rounding.
NOISE = 1e-5
NEGLIGIBLE = 1e-5  # merge/methods/decompositions.h

Q0 = "base_model.model.model.layers.0.self_attn.q_proj"
V1 = "base_model.model.model.layers.1.self_attn.v_proj"
DOWN0 = "base_model.model.model.layers.0.mlp.down_proj"

# name: (adapter_config, seed, dtype of the file, edits)
ADAPTERS = {
    "random": (common.lora(8, 16, "all-linear"), 501, "F32", []),
    "random_bf16_rslora": (
        common.lora(6, 4, ["q_proj", "v_proj", "lm_head"], use_rslora=True),
        502, "BF16", []),
    "patterns_f16": (
        common.lora(4, 8, ["q_proj", "down_proj"],
                    rank_pattern={"layers.0.mlp.down_proj": 12},
                    alpha_pattern={"q_proj": 3}), 503, "F16", []),
    "untrained": (
        common.lora(4, 8, ["q_proj"]), 504, "F32",
        [{"tensor": Q0 + ".lora_B.weight", "zero": True},
         {"tensor": Q0.replace("layers.0", "layers.1") + ".lora_B.weight",
          "zero": True}]),
    "one_module_untrained": (
        common.lora(4, 8, ["q_proj", "v_proj"]), 505, "F32",
        [{"tensor": V1 + ".lora_B.weight", "zero": True}]),
    # Dead: the rank does nothing. Deficient: ranks that repeat others.
    "dead_and_deficient": (
        common.lora(8, 8, ["q_proj", "down_proj"]), 506, "F32",
        [{"tensor": Q0 + ".lora_A.weight", "zero_row": 2},
         {"tensor": Q0 + ".lora_A.weight", "zero_row": 5},
         {"tensor": DOWN0 + ".lora_A.weight", "copy_row": [0, 3]},
         {"tensor": DOWN0 + ".lora_A.weight", "copy_row": [0, 4]},
         {"tensor": DOWN0 + ".lora_A.weight", "copy_row": [1, 7]}]),
}


def statistics(module, dense):
    """What merge/methods/update_statistics.h defines, but for the factors'."""
    s = np.linalg.svd(dense.astype(np.float64), compute_uv=False)
    s = s[s > NOISE * s[0]]
    if s.size == 0:
        return {"module": module, "frobenius_norm": 0.0, "spectral_norm": 0.0,
                "stable_rank": 0.0, "effective_rank": 0.0, "k90": 0}
    energy, share = np.sum(s**2), s / np.sum(s)
    return {
        "module": module,
        "frobenius_norm": float(np.sqrt(energy)),
        "spectral_norm": float(s[0]),
        "stable_rank": float(energy / s[0]**2),
        "effective_rank": float(np.exp(-np.sum(share * np.log(share)))),
        "k90": int(np.searchsorted(np.cumsum(s**2), 0.9 * energy) + 1),
    }


def edited(tensors, edits):
    for edit in edits:
        t = tensors[edit["tensor"]]
        if edit.get("zero"):
            t[:] = 0
        elif "zero_row" in edit:
            t[edit["zero_row"]] = 0
        else:
            source, target = edit["copy_row"]
            t[target] = t[source]
    return tensors


def make_adapter(name, sizes):
    config, seed, dtype, edits = ADAPTERS[name]
    shapes = tiny.adapter_shapes(common.ranks_of(config, sizes), sizes)
    tensors = edited({n: tiny.stored(n, s, seed, dtype).astype(np.float64)
                      for n, s in shapes.items()}, edits)
    modules = []
    for tensor in sorted(shapes):
        if not tensor.endswith(".lora_A.weight"):
            continue
        path = tensor[len("base_model.model."):-len(".lora_A.weight")]
        a = tensors[tensor]
        b = tensors[tensor.replace("lora_A", "lora_B")]
        found = statistics(path, common.scaling(config, path, len(a)) * (b @ a))
        units = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=0)
        found["rank"] = len(a)
        found["dead_ranks"] = int(np.sum(units <= NEGLIGIBLE * units.max()))
        found["zero"] = not b.any()
        modules.append(found)
    return {"name": name, "config": config, "seed": seed, "dtype": dtype,
            "edits": edits, "tensors": [[n, list(shapes[n])]
                                        for n in sorted(shapes)],
            "modules": sorted(modules, key=lambda m: m["module"])}


@torch.no_grad()
def make_kind(base_path, path, is_lora):
    base = common.load(base_path, torch.float64)
    model = peft.PeftModel.from_pretrained(
        common.load(base_path, torch.float64), path).double()
    modules = []
    for module, layer in model.base_model.model.named_modules():
        if not isinstance(layer, peft.tuners.tuners_utils.BaseTunerLayer) \
                or not layer.active_adapters:
            continue
        if is_lora:
            dense = layer.get_delta_weight("default")
        else:
            layer.merge()
            dense = layer.get_base_layer().weight \
                - base.get_submodule(module).weight
        found = statistics(module, dense.numpy())
        if found["k90"] > 0:  # Pruned by AdaLoRA.
            modules.append(found)
    return sorted(modules, key=lambda m: m["module"])


def make_kinds(scratch):
    listed = {}
    for base, (config, seed, adapters, _) in kinds.BASES.items():
        base_path = os.path.join(scratch, base)
        tiny.write_model(base_path, config, seed)
        listed[base] = {}
        for index, (name, (peft_config, dtype)) in enumerate(adapters.items()):
            path = os.path.join(scratch, f"{base}-{name}")
            kinds.write_adapter(base_path, path, peft_config, 300 + index,
                                dtype)
            is_ia3 = isinstance(peft_config, peft.IA3Config)
            listed[base][name] = [] if is_ia3 else make_kind(
                base_path, path, isinstance(peft_config, peft.LoraConfig))
            print(base, name, len(listed[base][name]))
    return listed


def main():
    common.begin(VERSIONS)
    config = common.llama(num_key_value_heads=2)
    sizes = tiny.linear_sizes(config)
    scratch = tempfile.mkdtemp()
    try:
        document = {
            "command": COMMAND,
            "versions": {k: v[1] for k, v in VERSIONS.items()},
            "config": config,
            "adapters": [make_adapter(name, sizes) for name in ADAPTERS],
            "kinds": make_kinds(scratch),
        }
    finally:
        shutil.rmtree(scratch)
    os.makedirs(os.path.join(HERE, "inspection"), exist_ok=True)
    with open(os.path.join(HERE, "inspection", "adapters.json"), "w") as f:
        json.dump(document, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
