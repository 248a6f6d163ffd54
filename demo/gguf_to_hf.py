"""Turns a llama-architecture GGUF with a byte-level BPE tokenizer into a
Hugging Face directory. Needs numpy and gguf only.

The weights of the GGUF are quantised, so the directory written is a model of
its own: close to the original checkpoint, not its bits.
"""

import json
import os

import numpy as np
from gguf import GGUFReader, dequantize

import safetensors_writer

# GGUF's token types: 1 normal, 3 control (special), 4 user defined.
_CONTROL_TOKEN = 3

_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _hf_name(gguf_name):
    if gguf_name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if gguf_name == "output_norm.weight":
        return "model.norm.weight"
    if gguf_name == "output.weight":
        return "lm_head.weight"
    parts = gguf_name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in _LAYER_NAMES:
        layer = int(parts[1])
        return f"model.layers.{layer}.{_LAYER_NAMES[parts[2]]}.weight"
    raise ValueError(f"GGUF tensor {gguf_name} has no Hugging Face name")


def _unpermute(weight, num_heads):
    """Undoes the row order that GGUF conversions give to q and k.

    They interleave the two halves of each head, because llama.cpp rotates
    neighbouring pairs where transformers rotates (i, i + head_dim / 2).
    """
    rows, columns = weight.shape
    half = rows // num_heads // 2
    return (weight.reshape(num_heads, half, 2, columns)
            .swapaxes(1, 2).reshape(rows, columns))


class GgufModel:
    """One open GGUF file, asked for the files of a Hugging Face directory."""

    def __init__(self, path):
        self._reader = GGUFReader(path)
        if self.value("general.architecture") != "llama":
            raise ValueError("only the llama architecture is converted here")
        if self.value("tokenizer.ggml.model") != "gpt2":
            raise ValueError("only byte-level BPE tokenizers are converted")
        self._tensors = {_hf_name(t.name): t for t in self._reader.tensors}

    def value(self, key):
        return self._reader.fields[key].contents()

    def config(self):
        """config.json. The keys that transformers 4 and 5 both read."""
        hidden = self.value("llama.embedding_length")
        num_heads = self.value("llama.attention.head_count")
        epsilon = self.value("llama.attention.layer_norm_rms_epsilon")
        return {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": self.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.value("tokenizer.ggml.eos_token_id"),
            "head_dim": hidden // num_heads,
            "hidden_act": "silu",
            "hidden_size": hidden,
            "initializer_range": 0.041666666666666664,
            "intermediate_size": self.value("llama.feed_forward_length"),
            "max_position_embeddings": self.value("llama.context_length"),
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": num_heads,
            "num_hidden_layers": self.value("llama.block_count"),
            "num_key_value_heads": self.value(
                "llama.attention.head_count_kv"),
            "pad_token_id": self.value("tokenizer.ggml.padding_token_id"),
            "pretraining_tp": 1,
            "rms_norm_eps": float(f"{epsilon:.6g}"),
            "rope_scaling": None,
            "rope_theta": float(self.value("llama.rope.freq_base")),
            "tie_word_embeddings": "lm_head.weight" not in self._tensors,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "vocab_size": self.value("llama.vocab_size"),
        }

    def generation_config(self):
        return {
            "_from_model_config": True,
            "bos_token_id": self.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.value("tokenizer.ggml.eos_token_id"),
            "pad_token_id": self.value("tokenizer.ggml.padding_token_id"),
        }

    def _special_tokens(self):
        tokens = self.value("tokenizer.ggml.tokens")
        types = self.value("tokenizer.ggml.token_type")
        return [{
            "id": i,
            "content": tokens[i],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        } for i, kind in enumerate(types) if kind == _CONTROL_TOKEN]

    def tokenizer(self):
        """tokenizer.json.

        GGUF names the pre-tokenizer ("smollm") without its content; this is
        what SmolLM2's own file says: every digit alone, then GPT-2's regex.
        """
        if self.value("tokenizer.ggml.pre") != "smollm":
            raise ValueError("this pre-tokenizer is not known here: "
                             + self.value("tokenizer.ggml.pre"))
        byte_level = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
        tokens = self.value("tokenizer.ggml.tokens")
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._special_tokens(),
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    byte_level,
                ],
            },
            "post_processor": None,
            "decoder": dict(byte_level, add_prefix_space=True),
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": self.value("tokenizer.ggml.merges"),
            },
        }

    def tokenizer_config(self):
        tokens = self.value("tokenizer.ggml.tokens")
        special = self._special_tokens()

        def named(key):
            return tokens[self.value(f"tokenizer.ggml.{key}_token_id")]

        bos, eos = named("bos"), named("eos")
        return {
            "add_prefix_space": False,
            "added_tokens_decoder": {
                str(t["id"]): {k: v for k, v in t.items() if k != "id"}
                for t in special},
            "additional_special_tokens": [bos, eos],
            "bos_token": bos,
            "chat_template": self.value("tokenizer.chat_template"),
            "clean_up_tokenization_spaces": False,
            "eos_token": eos,
            "model_max_length": self.value("llama.context_length"),
            "pad_token": named("padding"),
            # PreTrainedTokenizerFast reads tokenizer.json as it is; a class
            # of one model family may replace the pre-tokenizer.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": named("unknown"),
        }

    def _tensor(self, name):
        source = self._tensors[name]
        weight = dequantize(source.data, source.tensor_type)
        weight = np.asarray(weight, dtype=np.float32)
        if name.endswith("q_proj.weight"):
            heads = self.value("llama.attention.head_count")
            weight = _unpermute(weight, heads)
        elif name.endswith("k_proj.weight"):
            heads = self.value("llama.attention.head_count_kv")
            weight = _unpermute(weight, heads)
        return weight

    def write(self, folder):
        """Writes the whole directory into the existing `folder`."""
        # GGUF lists the dimensions fastest first; safetensors slowest first.
        shapes = {name: tuple(int(d) for d in reversed(t.shape))
                  for name, t in sorted(self._tensors.items())}
        safetensors_writer.write_bfloat16(
            os.path.join(folder, "model.safetensors"), shapes, self._tensor)
        for name, content in (
                ("config.json", self.config()),
                ("generation_config.json", self.generation_config()),
                ("tokenizer.json", self.tokenizer()),
                ("tokenizer_config.json", self.tokenizer_config())):
            with open(os.path.join(folder, name), "w",
                      encoding="utf-8") as out:
                json.dump(content, out, ensure_ascii=False, indent=2)
                out.write("\n")
