#!/usr/bin/env python3
"""Makes random LoRA adapters, as PEFT writes them, for a Llama checkpoint.

    bench/make_adapters.py --count 8 /tmp/random-1b /tmp/adapters

writes /tmp/adapters/skill0 ... skill7: bfloat16, all seven linear modules of
each layer, small values. Needs numpy only.
"""

import argparse
import json
import os

import random_safetensors


def module_shapes(config):
    """(path, output size, input size) of each linear module."""
    hidden = config["hidden_size"]
    inner = config["intermediate_size"]
    head_dim = config.get("head_dim") or (
        hidden // config["num_attention_heads"])
    q_rows = config["num_attention_heads"] * head_dim
    kv_rows = config["num_key_value_heads"] * head_dim
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "self_attn.q_proj", q_rows, hidden
        yield prefix + "self_attn.k_proj", kv_rows, hidden
        yield prefix + "self_attn.v_proj", kv_rows, hidden
        yield prefix + "self_attn.o_proj", hidden, q_rows
        yield prefix + "mlp.gate_proj", inner, hidden
        yield prefix + "mlp.up_proj", inner, hidden
        yield prefix + "mlp.down_proj", hidden, inner


def write_adapter(directory, config, rank, alpha, base_model, seed):
    os.makedirs(directory, exist_ok=True)
    tensors = []
    for path, rows, columns in module_shapes(config):
        name = f"base_model.model.{path}"
        tensors.append((f"{name}.lora_A.weight", (rank, columns), 0, 0.02))
        tensors.append((f"{name}.lora_B.weight", (rows, rank), 0, 0.002))
    random_safetensors.write_random(
        os.path.join(directory, "adapter_model.safetensors"), tensors, seed)
    adapter_config = {
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj",
                           "gate_proj", "up_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    }
    with open(os.path.join(directory, "adapter_config.json"), "w",
              encoding="utf-8") as out:
        json.dump(adapter_config, out, indent=1)
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="directory with a config.json")
    parser.add_argument("directory", help="where the adapters go")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, help="default: the rank")
    parser.add_argument("--prefix", default="skill")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with open(os.path.join(args.checkpoint, "config.json"),
              encoding="utf-8") as file:
        config = json.load(file)
    if config.get("architectures") != ["LlamaForCausalLM"]:
        parser.error(f"{args.checkpoint}: only LlamaForCausalLM")
    for i in range(args.count):
        write_adapter(
            os.path.join(args.directory, f"{args.prefix}{i}"), config,
            args.rank, args.rank if args.alpha is None else args.alpha,
            os.path.basename(os.path.normpath(args.checkpoint)),
            args.seed + i)


if __name__ == "__main__":
    main()
