"""Writes model/kinds.*: logits of adapters of every kind, by PEFT.

    .deps/reference/bin/python tests/golden/make_kind_goldens.py

Versions as in make_model_goldens.py. PEFT names the tensors and writes the
configuration of each adapter; their values are a function of their names
(tiny.py), so kinds.json holds names and shapes, kinds.safetensors the logits.

"mixes" are recipes of adapters that lora_bias makes affine, by the formula
y = W x + b + sum_i w_i s_i (B_i A_i x + b_i) in float64.
"""

import copy
import json
import os
import sys

import peft
import torch

sys.path.insert(0, os.path.dirname(__file__))
import make_model_goldens as common  # noqa: E402
import tiny  # noqa: E402

COMMAND = ".deps/reference/bin/python tests/golden/make_kind_goldens.py"
QV = ["q_proj", "v_proj"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
       "down_proj"]
CONV = ["c_attn", "c_fc", "attn.c_proj", "mlp.c_proj"]

# name: (config, dtype of the file)
LLAMA = {
    "adalora": (peft.AdaLoraConfig(init_r=6, target_r=4, lora_alpha=12,
                                   target_modules=QV, total_step=10), "F32"),
    # A layer with 4 ranks left of 6, and one with none.
    "adalora_pruned": (peft.AdaLoraConfig(
        init_r=6, target_r=4, lora_alpha=12, target_modules=QV, total_step=10,
        rank_pattern={
            "model.layers.0.self_attn.q_proj.lora_E":
                [True, False, True, True, False, True],
            "model.layers.1.self_attn.v_proj.lora_E": [False] * 6}), "F32"),
    "loha": (peft.LoHaConfig(r=3, alpha=6, target_modules=ALL), "F32"),
    "loha_wide": (peft.LoHaConfig(r=8, alpha=4, target_modules=QV,
                                  rank_pattern={"v_proj": 2},
                                  alpha_pattern={"q_proj": 7}), "F16"),
    "lokr": (peft.LoKrConfig(r=2, alpha=4, target_modules=ALL), "F32"),
    "lokr_both": (peft.LoKrConfig(r=2, alpha=5, decompose_both=True,
                                  decompose_factor=12, target_modules=QV),
                  "F32"),
    "lokr_full": (peft.LoKrConfig(r=64, alpha=64, target_modules=QV), "F32"),
    "vera": (peft.VeraConfig(r=10, target_modules=ALL), "F32"),
    "fourierft": (peft.FourierFTConfig(n_frequency=40, scaling=80.0,
                                       target_modules=ALL), "F32"),
    "miss": (peft.MissConfig(r=4, target_modules=ALL), "F32"),
    "miss_ragged": (peft.MissConfig(r=7, target_modules=QV), "BF16"),
    "miss_mini": (peft.MissConfig(r=6, mini_r=8, init_weights="mini",
                                  target_modules=QV), "F32"),
    "ia3": (peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"],
                           feedforward_modules=["down_proj"]), "F32"),
    "ia3_head": (peft.IA3Config(target_modules=["o_proj", "q_proj", "lm_head"],
                                feedforward_modules=["o_proj", "lm_head"]),
                 "F32"),
    "bias": (peft.LoraConfig(r=4, lora_alpha=6, lora_bias=True,
                             target_modules=ALL), "F32"),
    "bias_head": (peft.LoraConfig(r=2, lora_alpha=3, lora_bias=True,
                                  use_rslora=True,
                                  target_modules=["v_proj", "lm_head"]),
                  "F16"),
    "dora": (peft.LoraConfig(r=4, lora_alpha=8, use_dora=True,
                             target_modules=ALL), "F32"),
    "dora_rslora": (peft.LoraConfig(r=5, lora_alpha=4, use_dora=True,
                                    use_rslora=True,
                                    rank_pattern={"q_proj": 3},
                                    target_modules=QV + ["lm_head"]), "BF16"),
}
GPT2 = {
    "adalora": (peft.AdaLoraConfig(init_r=5, target_r=4, lora_alpha=10,
                                   target_modules=["c_attn"], total_step=10,
                                   fan_in_fan_out=True), "F32"),
    "vera": (peft.VeraConfig(r=9, target_modules=CONV, fan_in_fan_out=True),
             "F32"),
    "fourierft": (peft.FourierFTConfig(n_frequency=60, scaling=90.0,
                                       target_modules=CONV,
                                       fan_in_fan_out=True), "F32"),
    "ia3": (peft.IA3Config(target_modules=["c_attn", "mlp.c_proj"],
                           feedforward_modules=["mlp.c_proj"],
                           fan_in_fan_out=True), "F32"),
    "ia3_input": (peft.IA3Config(target_modules=CONV,
                                 feedforward_modules=CONV,
                                 fan_in_fan_out=True), "F32"),
    "bias": (peft.LoraConfig(r=4, lora_alpha=6, lora_bias=True,
                             target_modules=["c_attn", "c_fc"],
                             fan_in_fan_out=True), "F32"),
    "dora": (peft.LoraConfig(r=4, lora_alpha=8, use_dora=True,
                             target_modules=CONV, fan_in_fan_out=True), "F32"),
}
BASES = {
    # Biases of the base are what DoRA and IA3 treat differently.
    "llama": (common.llama(num_key_value_heads=2, attention_bias=True), 31,
              LLAMA,
              {"two_biases": [["bias", 0.7], ["bias_head", -1.2]],
               "scaled_bias": [["bias_head", 2.0]]}),
    "gpt2": (common.gpt2(), 32, GPT2, {"scaled_bias": [["bias", -0.8]]}),
}


def written_config(model, path):
    model.save_pretrained(path, save_embedding_layers=False)
    with open(os.path.join(path, "adapter_config.json")) as f:
        config = json.load(f)
    config["base_model_name_or_path"] = "tiny"
    for key in ("auto_mapping", "peft_version", "runtime_config"):
        config.pop(key, None)
    for key, value in config.items():
        # PEFT writes sets in an order of their own.
        if key in ("target_modules", "feedforward_modules") and \
                isinstance(value, list):
            config[key] = sorted(value)
    return config


def write_adapter(base_path, path, config, seed, dtype):
    """What PEFT would save for `config`, with tiny.py's values."""
    model = peft.get_peft_model(common.load(base_path), config)
    pattern, model.peft_config["default"] = config, copy.copy(config)
    if isinstance(config, peft.AdaLoraConfig):
        # As before training: shapes are pruned below.
        model.peft_config["default"].rank_pattern = None
    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    model.peft_config["default"] = pattern
    shapes = {name: tuple(t.shape) for name, t in state.items()}
    for name, kept in (config.rank_pattern or {}).items() \
            if isinstance(config, peft.AdaLoraConfig) else ():
        prefix = "base_model.model." + name.removesuffix("E")
        shapes[prefix + "A"] = (sum(kept), shapes[prefix + "A"][1])
        shapes[prefix + "B"] = (shapes[prefix + "B"][0], sum(kept))
        shapes[prefix + "E"] = (sum(kept), 1)
    written = written_config(model, path)
    with open(os.path.join(path, "adapter_config.json"), "w") as f:
        json.dump(written, f)
    with open(os.path.join(path, "adapter_model.safetensors"), "wb") as f:
        f.write(tiny.safetensors_bytes(shapes, seed, dtype))
    return written, shapes


@torch.no_grad()
def mix_logits(base_path, skills, adapters, ids):
    """The formula of lora_bias in float64."""
    model = common.load(base_path, torch.float64)
    for name, weight in skills:
        config, shapes, seed, dtype = adapters[name]
        prefix = "base_model.model."
        paths = [n[len(prefix):-len(".lora_A.weight")] for n in shapes
                 if n.endswith(".lora_A.weight")]
        for path in paths:
            def stored(part):
                full = f"{prefix}{path}.{part}"
                return torch.from_numpy(
                    tiny.stored(full, shapes[full], seed, dtype)).double()
            a, b = stored("lora_A.weight"), stored("lora_B.weight")
            scale = weight * common.scaling(config, path, a.shape[0])
            module = model.get_submodule(path)
            delta = scale * (b @ a)
            if isinstance(module, torch.nn.Linear):
                module.weight = torch.nn.Parameter(module.weight + delta)
            else:
                module.weight = torch.nn.Parameter(module.weight + delta.T)
            bias = scale * stored("lora_B.bias")
            old = module.bias if module.bias is not None else 0
            module.bias = torch.nn.Parameter(bias + old)
    return common.logits(model, ids)


def make_base(base, scratch, arrays):
    config, seed, kinds, mixes = BASES[base]
    base_path = os.path.join(scratch, base)
    tiny.write_model(base_path, config, seed)
    ids = common.tokens(f"kinds.{base}", 24, config["vocab_size"])
    plain = common.logits(common.load(base_path), ids)
    arrays[f"{base}.base"] = plain
    listed, adapters = [], {}
    for index, (name, (peft_config, dtype)) in enumerate(kinds.items()):
        path = os.path.join(scratch, f"{base}-{name}")
        written, shapes = write_adapter(base_path, path, peft_config,
                                        300 + index, dtype)
        adapters[name] = (written, shapes, 300 + index, dtype)
        model = peft.PeftModel.from_pretrained(common.load(base_path), path)
        out = common.logits(model.eval(), ids)
        print(f"{base} {name}: moves the base by "
              f"{common.largest(out, plain):.2f}")
        key = f"{base}.{name}"
        arrays[key] = out
        listed.append({"name": name, "config": written, "seed": 300 + index,
                       "dtype": dtype, "logits": key,
                       "tensors": [[n, list(s)]
                                   for n, s in sorted(shapes.items())]})
    recipes = []
    for name, skills in mixes.items():
        key = f"{base}.mix.{name}"
        arrays[key] = mix_logits(base_path, skills, adapters, ids)
        recipes.append({"name": name, "logits": key,
                        "skills": [{"adapter": a, "weight": w}
                                   for a, w in skills]})
    return {"name": base, "config": config, "seed": seed, "dtype": "F32",
            "tokens": ids, "base_logits": f"{base}.base", "adapters": listed,
            "mixes": recipes}


def main():
    common.write_bases("kinds", COMMAND, BASES, make_base)


if __name__ == "__main__":
    main()
