"""Tiny models and adapters with weights that are a function of their names.

No weights are stored: value i of the tensor `name` comes from SplitMix64,
seeded by FNV-1a64(name) ^ seed. tests/testing/tiny_model.cc and tiny_adapter.cc
hold the same definition; a golden file names only configuration, seed and dtype.

Needs numpy alone.
"""

import json
import math
import os

import numpy as np

_DTYPES = {"F32": 4, "F16": 2, "BF16": 2}


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def uniform(name, count, seed):
    """[count] float32 in [0, 1), multiples of 2^-24."""
    start = np.uint64(fnv1a64(name) ^ seed)
    index = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = start + index * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def amplitude_of(name):
    """Chosen so that the logits of tiny models spread over several units."""
    if "lora_" in name:
        return 0.2
    if "hada_" in name or "vera_" in name:
        return 0.6
    if name.endswith(".bias"):
        return 0.1
    if any(part in name for part in ("embed_tokens", "lm_head", "wte")):
        return 0.3
    if "wpe" in name:
        return 0.1
    return 0.15


def is_norm_weight(name):
    return name.endswith(
        ("norm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight"))


def values(name, shape, seed):
    """The float32 tensor, before it is rounded to the dtype of the file."""
    u = uniform(name, math.prod(shape), seed)
    x = (u - np.float32(0.5)) * np.float32(2) * np.float32(amplitude_of(name))
    if is_norm_weight(name):
        x = (1.0 + x.astype(np.float64)).astype(np.float32)
    return x.reshape(shape)


def round_to(x, dtype):
    """`x` as little-endian elements of `dtype`, rounded to nearest even."""
    if dtype == "F32":
        return x.astype("<f4")
    if dtype == "F16":
        return x.astype("<f2")
    bits = x.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def widen(x, dtype):
    """The inverse of round_to: float32."""
    if dtype == "BF16":
        return (x.astype("<u4") << 16).view("<f4")
    return x.astype("<f4")


def stored(name, shape, seed, dtype):
    """The float32 values that a reader of the file sees."""
    return widen(round_to(values(name, shape, seed), dtype), dtype)


def safetensors_bytes(shapes, seed, dtype):
    """A safetensors file of the tensors {name: shape}."""
    header, chunks, offset = {}, [], 0
    for name in sorted(shapes):
        data = round_to(values(name, shapes[name], seed), dtype).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(shapes[name]),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    return safetensors_file(header, chunks)


def safetensors_file(header, chunks):
    text = json.dumps({"__metadata__": {"format": "pt"}, **header},
                      separators=(",", ":"))
    text += " " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text.encode() + b"".join(chunks)


def llama_shapes(config):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    q = config["num_attention_heads"] * dim
    kv = config["num_key_value_heads"] * dim
    vocab = config["vocab_size"]
    shapes = {"model.embed_tokens.weight": (vocab, hidden),
              "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        shapes[p + "input_layernorm.weight"] = (hidden,)
        shapes[p + "post_attention_layernorm.weight"] = (hidden,)
        linear = {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden),
                  "self_attn.v_proj": (kv, hidden), "self_attn.o_proj": (hidden, q),
                  "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
                  "mlp.down_proj": (hidden, inner)}
        for name, shape in linear.items():
            shapes[p + name + ".weight"] = shape
            flag = "attention_bias" if "attn" in name else "mlp_bias"
            if config.get(flag):
                shapes[p + name + ".bias"] = shape[:1]
    return shapes


def gpt2_shapes(config):
    hidden, vocab = config["n_embd"], config["vocab_size"]
    inner = config.get("n_inner") or 4 * hidden
    shapes = {"transformer.wte.weight": (vocab, hidden),
              "transformer.wpe.weight": (config["n_positions"], hidden)}
    norms = ["transformer.ln_f"]
    for layer in range(config["n_layer"]):
        p = f"transformer.h.{layer}."
        norms += [p + "ln_1", p + "ln_2"]
        # Conv1D keeps [in, out].
        conv = {"attn.c_attn": (hidden, 3 * hidden), "attn.c_proj": (hidden, hidden),
                "mlp.c_fc": (hidden, inner), "mlp.c_proj": (inner, hidden)}
        for name, shape in conv.items():
            shapes[p + name + ".weight"] = shape
            shapes[p + name + ".bias"] = shape[1:]
    for norm in norms:
        shapes[norm + ".weight"] = (hidden,)
        shapes[norm + ".bias"] = (hidden,)
    if not config.get("tie_word_embeddings", True):
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def model_shapes(config):
    is_llama = config["model_type"] == "llama"
    return llama_shapes(config) if is_llama else gpt2_shapes(config)


def linear_sizes(config):
    """{path: (in, out)} of the layers that an adapter may change."""
    sizes = {}
    for name, shape in model_shapes(config).items():
        path, _, kind = name.rpartition(".")
        if kind == "weight" and len(shape) == 2 and ".w" not in path \
                and "embed_tokens" not in path:
            is_conv1d = config["model_type"] == "gpt2" and path != "lm_head"
            sizes[path] = shape if is_conv1d else shape[::-1]
    hidden = config.get("hidden_size") or config["n_embd"]
    sizes["lm_head"] = (hidden, config["vocab_size"])
    return sizes


def write_model(path, config, seed, dtype="F32"):
    """Writes config.json and model.safetensors into the directory `path`."""
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f)
    with open(os.path.join(path, "model.safetensors"), "wb") as f:
        f.write(safetensors_bytes(model_shapes(config), seed, dtype))


def adapter_shapes(ranks, sizes):
    """{name: shape} of a PEFT adapter with {path: rank}."""
    shapes = {}
    for path, rank in ranks.items():
        prefix = f"base_model.model.{path}."
        shapes[prefix + "lora_A.weight"] = (rank, sizes[path][0])
        shapes[prefix + "lora_B.weight"] = (sizes[path][1], rank)
    return shapes
