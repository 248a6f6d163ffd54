#!/usr/bin/env python3
"""Makes a Hugging Face directory of a given shape with random weights.

    bench/make_checkpoint.py --preset llama-3.2-1b /tmp/random-1b

LlamaForCausalLM in bfloat16, with a byte-level tokenizer: good for timing, not
for reading. Both stockpotd and transformers load it. Needs numpy only.
"""

import argparse
import json
import os

import random_safetensors

PRESETS = {
    "llama-3.2-1b": dict(
        layers=16, hidden=2048, heads=32, kv_heads=8, head_dim=64,
        intermediate=8192, vocabulary=128256, tied=True, positions=131072,
        rope_theta=500000.0,
        rope_scaling=dict(rope_type="llama3", factor=32.0,
                          low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=8192)),
    "tiny": dict(
        layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16,
        intermediate=128, vocabulary=512, tied=True, positions=2048,
        rope_theta=10000.0, rope_scaling=None),
}
SHAPE_FLAGS = ("layers", "hidden", "heads", "kv_heads", "head_dim",
               "intermediate", "vocabulary", "positions")


def config_of(shape):
    """config.json. The keys that transformers 4 and 5 both read."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": shape["vocabulary"] - 2,
        "eos_token_id": shape["vocabulary"] - 1,
        "head_dim": shape["head_dim"],
        "hidden_act": "silu",
        "hidden_size": shape["hidden"],
        "initializer_range": 0.02,
        "intermediate_size": shape["intermediate"],
        "max_position_embeddings": shape["positions"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape["heads"],
        "num_hidden_layers": shape["layers"],
        "num_key_value_heads": shape["kv_heads"],
        "rms_norm_eps": 1e-5,
        "rope_scaling": shape["rope_scaling"],
        "rope_theta": shape["rope_theta"],
        "tie_word_embeddings": shape["tied"],
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": shape["vocabulary"],
    }


def tensors_of(shape):
    """(name, shape, mean, standard deviation) of every tensor."""
    hidden, inner = shape["hidden"], shape["intermediate"]
    q_rows = shape["heads"] * shape["head_dim"]
    kv_rows = shape["kv_heads"] * shape["head_dim"]
    tensors = [("model.embed_tokens.weight", (shape["vocabulary"], hidden),
                0, 0.02)]
    for layer in range(shape["layers"]):
        prefix = f"model.layers.{layer}."
        tensors += [
            (prefix + "input_layernorm.weight", (hidden,), 1, 0.02),
            (prefix + "self_attn.q_proj.weight", (q_rows, hidden), 0, 0.02),
            (prefix + "self_attn.k_proj.weight", (kv_rows, hidden), 0, 0.02),
            (prefix + "self_attn.v_proj.weight", (kv_rows, hidden), 0, 0.02),
            (prefix + "self_attn.o_proj.weight", (hidden, q_rows), 0, 0.02),
            (prefix + "post_attention_layernorm.weight", (hidden,), 1, 0.02),
            (prefix + "mlp.gate_proj.weight", (inner, hidden), 0, 0.02),
            (prefix + "mlp.up_proj.weight", (inner, hidden), 0, 0.02),
            (prefix + "mlp.down_proj.weight", (hidden, inner), 0, 0.02),
        ]
    tensors.append(("model.norm.weight", (hidden,), 1, 0.02))
    if not shape["tied"]:
        tensors.append(("lm_head.weight", (shape["vocabulary"], hidden),
                        0, 0.02))
    return tensors


def byte_alphabet():
    """GPT-2's printable character for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in set(printable)]
    table = {b: chr(b) for b in printable}
    table.update({b: chr(256 + i) for i, b in enumerate(others)})
    return [table[b] for b in range(256)]


def tokenizer_of(vocabulary):
    """tokenizer.json: the bytes, then words that no merge reaches."""
    tokens = byte_alphabet()
    tokens += [f"\u0120w{i}" for i in range(256, vocabulary - 2)]
    special = ["<|begin|>", "<|end|>"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False,
                  "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocabulary - 2 + i, "content": content,
             "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for i, content in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens + special)},
                  "merges": []},
    }


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1)
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--separate-head", action="store_true",
                        help="lm_head of its own")
    for flag in SHAPE_FLAGS:
        parser.add_argument("--" + flag.replace("_", "-"), type=int,
                            help="instead of the preset's")
    args = parser.parse_args()
    shape = dict(PRESETS[args.preset])
    for flag in SHAPE_FLAGS:
        if getattr(args, flag) is not None:
            shape[flag] = getattr(args, flag)
    if args.separate_head:
        shape["tied"] = False
    if shape["vocabulary"] < 258:
        parser.error("--vocabulary: at least 258, the bytes and two specials")
    os.makedirs(args.directory, exist_ok=True)
    config = config_of(shape)
    write_json(os.path.join(args.directory, "config.json"), config)
    write_json(os.path.join(args.directory, "generation_config.json"),
               {"bos_token_id": config["bos_token_id"],
                "eos_token_id": config["eos_token_id"]})
    write_json(os.path.join(args.directory, "tokenizer.json"),
               tokenizer_of(shape["vocabulary"]))
    write_json(os.path.join(args.directory, "tokenizer_config.json"),
               {"bos_token": "<|begin|>", "eos_token": "<|end|>",
                "tokenizer_class": "PreTrainedTokenizerFast"})
    random_safetensors.write_random(
        os.path.join(args.directory, "model.safetensors"), tensors_of(shape),
        args.seed)


if __name__ == "__main__":
    main()
