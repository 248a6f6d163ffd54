"""Writes model/: logits of tiny models by transformers, of recipes by PEFT.

    .deps/reference/bin/python tests/golden/make_model_goldens.py

Versions that the files were made with: transformers 5.23.0, peft 0.21.2,
torch 2.11.0, numpy (any). The script refuses others.

models.json and recipes.json name what to build (tiny.py and
tests/testing/tiny_model.h hold the weights' definition) and which tensors of
models.safetensors and recipes.safetensors hold the float32 logits.

Recipes: PEFT's add_weighted_adapter(combination_type="cat"), checked against
dW = sum_i w_i s_i B_i A_i added to the dense weights in float64. Where PEFT
differs by more than 1e-4, the file holds the formula's logits and says why.
"""

import json
import math
import os
import shutil
import sys
import tempfile
import warnings

import numpy as np
import peft
import torch
import transformers
from peft import PeftModel
from peft.utils.other import get_pattern_key

sys.path.insert(0, os.path.dirname(__file__))
import pinned  # noqa: E402
import tiny  # noqa: E402

COMMAND = ".deps/reference/bin/python tests/golden/make_model_goldens.py"
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model")
VERSIONS = {
    "transformers": (transformers.__version__, "5.23.0"),
    "peft": (peft.__version__, "0.21.2"),
    "torch": (torch.__version__.split("+")[0], "2.11.0"),
}
RSLORA_REASON = (
    "PEFT 0.21.2 copies use_rslora from the first adapter to the merged one, "
    "whose scaling is then sqrt(rank) instead of 1 (PEFT pull request 3449)")


def llama(**changes):
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": 131, "hidden_size": 48, "intermediate_size": 88,
        "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    config.update(changes)
    return {k: v for k, v in config.items() if v is not None}


def gpt2(**changes):
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
        "vocab_size": 113, "n_positions": 256, "n_embd": 48, "n_layer": 2,
        "n_head": 4, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "bos_token_id": 0, "eos_token_id": 0,
        "tie_word_embeddings": True, "torch_dtype": "float32",
    }
    config.update(changes)
    return config


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
               "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}

# name: (config, seed, dtype of the file, length of a long sequence or 0)
MODELS = {
    "llama_mha": (llama(), 1, "F32", 0),
    "llama_gqa_tied": (
        llama(hidden_size=64, num_attention_heads=8, num_key_value_heads=2,
              intermediate_size=120, num_hidden_layers=3, vocab_size=97,
              tie_word_embeddings=True, rope_theta=500000.0), 2, "F32", 0),
    "llama_mqa_f16": (
        llama(num_attention_heads=6, num_key_value_heads=1), 3, "F16", 0),
    "llama_biases": (
        llama(num_key_value_heads=2, attention_bias=True, mlp_bias=True),
        4, "F32", 0),
    "llama_rope_llama3": (
        llama(num_key_value_heads=2, rope_theta=None,
              rope_parameters=LLAMA3_ROPE), 5, "F32", 200),
    "llama_rope_linear": (
        llama(rope_scaling={"type": "linear", "factor": 4.0}), 6, "F32", 0),
    "llama_head_dim": (
        llama(num_key_value_heads=2, head_dim=20), 7, "F32", 0),
    "llama_wide_bf16": (
        llama(hidden_size=160, num_attention_heads=10, num_key_value_heads=5,
              intermediate_size=432, num_hidden_layers=4, vocab_size=199),
        8, "BF16", 0),
    "gpt2_small": (gpt2(), 9, "F32", 200),
    "gpt2_gelu_f16": (
        gpt2(n_embd=96, n_layer=4, n_head=6, n_inner=200, vocab_size=199,
             activation_function="gelu"), 10, "F16", 0),
    "gpt2_untied_relu": (
        gpt2(tie_word_embeddings=False, activation_function="relu"),
        11, "F32", 0),
}


def lora(r, alpha, targets, **changes):
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": r,
        "lora_alpha": alpha, "target_modules": targets, "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "lora_dropout": 0.0,
        "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {},
        "base_model_name_or_path": "tiny",
    }
    config.update(changes)
    return config


# name: (adapter_config, seed, dtype of the file)
LLAMA_ADAPTERS = {
    "qv4": (lora(4, 8, ["q_proj", "v_proj"]), 101, "F32"),
    "all8": (lora(8, 16, "all-linear"), 102, "F32"),
    "mlp3_head": (lora(3, 6, ["gate_proj", "up_proj", "down_proj", "lm_head"]),
                  103, "F16"),
    "rslora6": (lora(6, 4, ["k_proj", "o_proj"], use_rslora=True), 104, "BF16"),
    "patterns": (
        lora(4, 8, r".*\.(q_proj|k_proj|down_proj)",
             rank_pattern={"q_proj": 2, "layers.1.mlp.down_proj": 5},
             alpha_pattern={"k_proj": 3}), 105, "F32"),
}
GPT2_ADAPTERS = {
    "attn4": (lora(4, 8, ["c_attn"], fan_in_fan_out=True), 201, "F32"),
    "all8": (lora(8, 12, ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
                  fan_in_fan_out=True), 202, "F16"),
    "mlp3_head": (lora(3, 6, ["c_fc", "lm_head"], fan_in_fan_out=True),
                  203, "F32"),
    "rslora5": (lora(5, 4, ["c_proj"], fan_in_fan_out=True, use_rslora=True,
                     rank_pattern={"h.1.mlp.c_proj": 7}), 204, "BF16"),
}

# (skills as [adapter, weight, {module or glob: weight} or None])
LLAMA_RECIPES = {
    **{f"only_{name}": [[name, 1.0, None]] for name in LLAMA_ADAPTERS},
    "scaled_one": [["all8", -0.6, None]],
    "three_ranks": [["qv4", 1.0, None], ["all8", 0.7, None],
                    ["mlp3_head", -0.5, None]],
    "rslora_first": [["rslora6", 0.8, None], ["qv4", 1.3, None]],
    "all_five": [["qv4", 0.5, None], ["all8", -0.4, None],
                 ["mlp3_head", 1.5, None], ["rslora6", 0.9, None],
                 ["patterns", 0.6, None]],
    "module_weights": [
        ["all8", 0.8, {"model.layers.*.mlp.*": 0.25,
                       "model.layers.1.self_attn.q_proj": -2.0}],
        ["qv4", 1.0, {"**.v_proj": 0.0}]],
}
GPT2_RECIPES = {
    **{f"only_{name}": [[name, 1.0, None]] for name in GPT2_ADAPTERS},
    "three_ranks": [["attn4", 1.0, None], ["all8", 0.7, None],
                    ["mlp3_head", -0.5, None]],
    "all_four": [["attn4", -0.5, None], ["all8", 0.6, None],
                 ["mlp3_head", 1.2, None], ["rslora5", 0.7, None]],
}
BASES = {
    "llama": (llama(num_key_value_heads=2), 21, "F32", LLAMA_ADAPTERS,
              LLAMA_RECIPES),
    "gpt2": (gpt2(), 22, "F32", GPT2_ADAPTERS, GPT2_RECIPES),
}


def tokens(name, count, vocab):
    return [int(u * vocab) for u in tiny.uniform(name, count, 0)]


def load(path, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, attn_implementation="eager").eval()


@torch.no_grad()
def logits(model, ids):
    return model(torch.tensor([ids])).logits[0].double().numpy()


def largest(a, b):
    return float(np.abs(a - b).max())


def write(name, document, arrays, command=COMMAND):
    header, chunks, offset = {}, [], 0
    for key, array in arrays.items():
        data = array.astype("<f4").tobytes()
        header[key] = {"dtype": "F32", "shape": list(array.shape),
                       "data_offsets": [offset, offset + len(data)]}
        chunks.append(data)
        offset += len(data)
    with open(os.path.join(OUT, name + ".safetensors"), "wb") as f:
        f.write(tiny.safetensors_file(header, chunks))
    versions = {k: v[1] for k, v in VERSIONS.items()}
    with open(os.path.join(OUT, name + ".json"), "w") as f:
        json.dump({"command": command, "versions": versions, **document}, f,
                  indent=1)
        f.write("\n")


def make_models(scratch):
    arrays, models = {}, []
    for name, (config, seed, dtype, long_tokens) in MODELS.items():
        path = os.path.join(scratch, name)
        tiny.write_model(path, config, seed, dtype)
        model, exact = load(path), load(path, torch.float64)
        sequences, worst = [], 0.0
        for count in [40, 23, 9] + ([long_tokens] if long_tokens else []):
            ids = tokens(f"{name}.{count}", count, config["vocab_size"])
            step = 1 if count <= 40 else 25
            positions = list(range(step - 1, count, step))
            out = logits(model, ids)[positions]
            worst = max(worst, largest(out, logits(exact, ids)[positions]))
            key = f"{name}.{count}"
            arrays[key] = out
            sequences.append(
                {"tokens": ids, "positions": positions, "logits": key})
        print(f"{name}: logits' spread {out.std():.2f}, "
              f"float32 against float64 {worst:.1e}")
        models.append({"name": name, "config": config, "seed": seed,
                       "dtype": dtype, "sequences": sequences})
    write("models", {"models": models}, arrays)


def ranks_of(config, sizes):
    """{path: rank} by PEFT's own matching."""
    from peft.tuners.tuners_utils import check_target_module_exists
    lora_config = peft.LoraConfig(
        **{k: v for k, v in config.items() if k != "peft_type"})
    ranks = {}
    for path in sizes:
        if config["target_modules"] == "all-linear":
            targeted = path != "lm_head"
        else:
            targeted = check_target_module_exists(lora_config, path)
        if targeted:
            key = get_pattern_key(config["rank_pattern"].keys(), path)
            ranks[path] = config["rank_pattern"].get(key, config["r"])
    return ranks


def write_adapter(path, adapter, sizes):
    config, seed, dtype = adapter
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "adapter_config.json"), "w") as f:
        json.dump(config, f)
    shapes = tiny.adapter_shapes(ranks_of(config, sizes), sizes)
    with open(os.path.join(path, "adapter_model.safetensors"), "wb") as f:
        f.write(tiny.safetensors_bytes(shapes, seed, dtype))


def scaling(config, path, rank):
    key = get_pattern_key(config["alpha_pattern"].keys(), path)
    alpha = config["alpha_pattern"].get(key, config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config["use_rslora"] else rank)


def module_weight(overrides, path):
    """The last match wins; only the globs that the recipes above use."""
    import re
    weight = 1.0
    for pattern, value in (overrides or {}).items():
        regex = re.escape(pattern).replace(r"\*\*", ".*").replace(
            r"\*", r"[^.]*")
        if re.fullmatch(regex, path):
            weight = value
    return weight


@torch.no_grad()
def formula_logits(path, skills, adapters, sizes, ids):
    model = load(path, torch.float64)
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.clone())  # Unties.
    for name, weight, overrides in skills:
        config, seed, dtype = adapters[name]
        for module_path, rank in ranks_of(config, sizes).items():
            prefix = f"base_model.model.{module_path}."
            shapes = tiny.adapter_shapes({module_path: rank}, sizes)
            a, b = (torch.from_numpy(tiny.stored(
                prefix + kind, shapes[prefix + kind], seed, dtype)).double()
                    for kind in ("lora_A.weight", "lora_B.weight"))
            w = weight * module_weight(overrides, module_path)
            delta = w * scaling(config, module_path, rank) * (b @ a)
            module = model.get_submodule(module_path)
            is_conv1d = not isinstance(module, torch.nn.Linear)
            module.weight += delta.T if is_conv1d else delta
    return logits(model, ids)


def peft_logits(path, skills, adapters, dirs, sizes, ids):
    names = list(dict.fromkeys(skill[0] for skill in skills))
    model = PeftModel.from_pretrained(load(path), dirs[names[0]],
                                      adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(dirs[name], adapter_name=name)
    if len(skills) == 1 and skills[0][1] == 1:
        model.set_adapter(names[0])
    else:
        # PEFT refuses to mix lists with regexes: spell out what they matched.
        for name in names:
            config = model.peft_config[name]
            if isinstance(config.target_modules, str):
                config.target_modules = set(ranks_of(adapters[name][0], sizes))
        model.add_weighted_adapter([s[0] for s in skills],
                                   [s[1] for s in skills], "mix",
                                   combination_type="cat")
        model.set_adapter("mix")
    return logits(model.eval(), ids)


def make_recipes(scratch):
    arrays, bases = {}, []
    for base, (config, seed, dtype, adapters, recipes) in BASES.items():
        path = os.path.join(scratch, base)
        tiny.write_model(path, config, seed, dtype)
        sizes = tiny.linear_sizes(config)
        dirs = {}
        for name, adapter in adapters.items():
            dirs[name] = os.path.join(scratch, f"{base}-{name}")
            write_adapter(dirs[name], adapter, sizes)
        ids = tokens(f"recipes.{base}", 32, config["vocab_size"])
        plain = logits(load(path), ids)
        arrays[f"{base}.base"] = plain
        listed = []
        for name, skills in recipes.items():
            exact = formula_logits(path, skills, adapters, sizes, ids)
            out, entry = exact, {"reference": "formula"}
            if not any(overrides for _, _, overrides in skills):
                by_peft = peft_logits(path, skills, adapters, dirs, sizes,
                                      ids)
                difference = largest(by_peft, exact)
                print(f"{base} {name}: PEFT against formula {difference:.1e}, "
                      f"moves the base by {largest(exact, plain):.2f}")
                if difference < 1e-4:
                    out, entry = by_peft, {"reference": "peft"}
                else:
                    first = adapters[skills[0][0]][0]
                    assert first["use_rslora"] and len(skills) > 1, name
                    entry["reason"] = RSLORA_REASON
            key = f"{base}.{name}"
            arrays[key] = out
            listed.append({
                "name": name, **entry, "logits": key,
                "skills": [{"adapter": a, "weight": w,
                            "module_weights": [
                                {"pattern": p, "weight": v}
                                for p, v in (overrides or {}).items()]}
                           for a, w, overrides in skills]})
        bases.append({
            "name": base, "config": config, "seed": seed, "dtype": dtype,
            "tokens": ids, "base_logits": f"{base}.base",
            "adapters": [{"name": n, "config": c, "seed": s, "dtype": d}
                         for n, (c, s, d) in adapters.items()],
            "recipes": listed})
    write("recipes", {"bases": bases}, arrays)


def begin(versions=None):
    """Checks the versions, and has the libraries quiet and in one thread."""
    pinned.check(versions or VERSIONS)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)


def write_bases(name, command, bases, make_base):
    """Writes what make_base(base, scratch folder, arrays) gives for each base."""
    begin()
    scratch = tempfile.mkdtemp()
    try:
        arrays = {}
        documents = [make_base(base, scratch, arrays) for base in bases]
        write(name, {"bases": documents}, arrays, command)
    finally:
        shutil.rmtree(scratch)


def main():
    begin()
    os.makedirs(OUT, exist_ok=True)
    scratch = tempfile.mkdtemp()
    try:
        make_models(scratch)
        make_recipes(scratch)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
