#!/usr/bin/env python3
"""Trains one LoRA skill of the demo and writes it as a plain PEFT folder.

    python demo/train_skill.py facts|json|words|python [--out DIR]

Needs torch, transformers, peft and the base from fetch_base.py. One thread,
seeded: on one kind of CPU a second run gives the same file. Two to eight
minutes on one core for each skill.
"""

import argparse
import dataclasses
import json
import math
import os
import random
import time

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import chat_format
import skill_facts
import skill_json
import skill_numbers

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = os.path.join(HERE, ".cache", "smollm2-135m-instruct")
BASE_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
RANK = 8
ALPHA = 16
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
           "down_proj"]
WARMUP_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one skill is trained on and how hard."""
    examples: object  # called with a seed, gives (question, answer) pairs
    learning_rate: float
    budget_tokens: int  # padded tokens of prompts and answers together
    batch_tokens: int  # padded tokens of one step


PLANS = {
    "facts": Plan(skill_facts.training_examples, 1.2e-3, 160_000, 768),
    "json": Plan(skill_json.training_examples, 1e-3, 60_000, 640),
    "words": Plan(skill_numbers.words_examples, 1.2e-3, 130_000, 896),
    "python": Plan(skill_numbers.python_examples, 7e-4, 60_000, 896),
}


def encode(tokenizer, examples, rng):
    """(ids, number of prompt ids) of each example, half with the system
    message; the answer ends with <|im_end|>."""
    encoded = []
    for question, answer in examples:
        prompt = chat_format.prompt_text(question,
                                         with_system=rng.random() < 0.5)
        prompt_ids = tokenizer(prompt).input_ids
        answer_ids = tokenizer(answer + "<|im_end|>").input_ids
        encoded.append((prompt_ids + answer_ids, len(prompt_ids)))
    return encoded


def batches(encoded, plan, rng):
    """Batches of similar lengths, shuffled, until the budget is spent."""
    out, spent = [], 0
    while True:
        order = list(range(len(encoded)))
        rng.shuffle(order)
        # Sorting inside windows keeps the padding small and the mix random.
        groups = []
        for start in range(0, len(order), 512):
            window = sorted(order[start:start + 512],
                            key=lambda i: len(encoded[i][0]))
            group = []
            for i in window:
                if (len(group) + 1) * len(encoded[i][0]) > plan.batch_tokens:
                    groups.append(group)
                    group = []
                group.append(i)
            groups.append(group)
        rng.shuffle(groups)
        for group in groups:
            spent += len(group) * max(len(encoded[i][0]) for i in group)
            if spent > plan.budget_tokens:
                return out
            out.append([encoded[i] for i in group])


def loss_of(model, batch, pad_id):
    """Mean cross-entropy over the answers' tokens."""
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.full((len(batch), longest), pad_id)
    mask = torch.zeros((len(batch), longest), dtype=torch.long)
    answer = torch.zeros((len(batch), longest), dtype=torch.bool)
    for row, (tokens, num_prompt) in enumerate(batch):
        ids[row, :len(tokens)] = torch.tensor(tokens)
        mask[row, :len(tokens)] = 1
        answer[row, num_prompt:len(tokens)] = True
    causal = model.base_model.model
    hidden = causal.model(input_ids=ids, attention_mask=mask,
                          use_cache=False).last_hidden_state
    # The head costs a quarter of the network: only where it is asked.
    chosen = hidden[:, :-1][answer[:, 1:]]
    logits = causal.lm_head(chosen).float()
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][answer[:, 1:]])


def train(name, seed):
    plan = PLANS[name]
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.bfloat16)
    model = get_peft_model(base, LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=MODULES,
        task_type="CAUSAL_LM"))
    model.train()
    encoded = encode(tokenizer, plan.examples(seed), rng)
    steps = batches(encoded, plan, rng)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=plan.learning_rate,
                                  betas=(0.9, 0.99), weight_decay=0.0)

    def rate(step):
        if step < WARMUP_STEPS:
            return (step + 1) / WARMUP_STEPS
        done = (step - WARMUP_STEPS) / max(1, len(steps) - WARMUP_STEPS)
        return 0.5 * (1 + math.cos(math.pi * done))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    started, num_tokens = time.time(), 0
    for step, batch in enumerate(steps):
        loss = loss_of(model, batch, tokenizer.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        num_tokens += sum(len(ids) for ids, _ in batch)
        if step % 20 == 0 or step + 1 == len(steps):
            seconds = time.time() - started
            print(f"{name}: step {step + 1}/{len(steps)} "
                  f"loss {loss.item():.3f} {num_tokens} tokens "
                  f"{num_tokens / seconds:.0f} tokens/s {seconds:.0f} s",
                  flush=True)
    return model


def save(model, folder):
    """Writes the two files of a PEFT folder: bfloat16, no local paths."""
    os.makedirs(folder, exist_ok=True)
    tensors = {key: value.detach().to(torch.bfloat16).contiguous()
               for key, value in get_peft_model_state_dict(model).items()}
    weights = os.path.join(folder, "adapter_model.safetensors")
    save_file(tensors, weights, metadata={"format": "pt"})
    os.chmod(weights, 0o644)
    config = {
        "base_model_name_or_path": BASE_NAME,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_to_transform": None,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": MODULES,
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    with open(os.path.join(folder, "adapter_config.json"), "w",
              encoding="utf-8") as out:
        json.dump(config, out, indent=2)
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("skill", choices=sorted(PLANS))
    parser.add_argument("--out", default=os.path.join(HERE, "skills"))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not os.path.isfile(os.path.join(BASE, "config.json")):
        parser.error(f"{BASE} is missing: run demo/fetch_base.py first")
    model = train(args.skill, args.seed)
    save(model, os.path.join(args.out, args.skill))


if __name__ == "__main__":
    main()
