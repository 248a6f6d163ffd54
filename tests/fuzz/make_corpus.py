#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets into corpus/: tests/fuzz/make_corpus.py

Small inputs that are accepted, and some that are refused for a single reason,
so that mutations start near every check. Inputs that a fuzzer found later are
added to the same folders by hand, under a name that says what they broke.
"""
import base64
import hashlib
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"
GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "tokenizer"


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def header(tensors, metadata=None):
    """The shorthand: JSON and the bytes of data behind it."""
    entries, position = {}, 0
    if metadata:
        entries["__metadata__"] = metadata
    sizes = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "U8": 1, "I64": 8}
    for name, (dtype, shape) in tensors.items():
        size = sizes[dtype]
        for n in shape:
            size *= n
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    return compact(entries) + str(position)


def lora(modules, rank, dtype="F32"):
    tensors = {}
    for path, (n_in, n_out) in modules.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = (dtype, [rank, n_in])
        tensors[f"base_model.model.{path}.lora_B.weight"] = (dtype, [n_out, rank])
    return header(tensors, {"format": "pt"})


# As Base() in targets.cc.
Q0 = {"model.layers.0.self_attn.q_proj": (4, 6)}
V0 = {"model.layers.0.self_attn.v_proj": (4, 2)}
Q1 = {"model.layers.1.self_attn.q_proj": (4, 6)}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}


ENDS = CONFIG | {"target_modules": ["q_proj"]}


def ends(shapes):
    tensors = {f"base_model.model.{name}": ("F32", shape) for name, shape in shapes.items()}
    for path, (n_in, n_out) in (Q0 | Q1).items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = ("F32", [2, n_in])
        tensors[f"base_model.model.{path}.lora_B.weight"] = ("F32", [n_out, 2])
    return header(tensors)


def safetensors():
    two = {"a": ("F32", [2, 2]), "b": ("F32", [3])}
    write("safetensors", "two", header(two))
    write("safetensors", "metadata", header(two, {"format": "pt"}))
    write("safetensors", "lora", lora(Q0 | V0, 2))
    write("safetensors", "half", lora(Q0, 1, "BF16"))
    write("safetensors", "scalar_and_empty", header({"s": ("F64", []), "e": ("U8", [0, 3]), "i": ("I64", [1])}))
    write("safetensors", "none", "{}0")
    good = json.loads(header(two)[:-2])
    def variant(name, data_bytes, **changes):
        entries = json.loads(compact(good))
        for key, change in changes.items():
            entries[key].update(change)
        write("safetensors", name, compact(entries) + str(data_bytes))
    variant("overlap", 24, b={"data_offsets": [12, 24]})
    variant("hole", 32, b={"data_offsets": [20, 32]})
    variant("size_off_by_one", 29, b={"data_offsets": [16, 29]})
    variant("short_data", 27)
    variant("long_data", 29)
    variant("backwards", 28, b={"data_offsets": [28, 16]})
    variant("overflow", 28, b={"shape": [1 << 62, 8]})
    variant("negative", 28, b={"shape": [-3]})
    variant("unknown_dtype", 28, b={"dtype": "F4"})
    variant("other_key", 28, b={"zip": 1})
    write("safetensors", "duplicate_key", '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}4')
    write("safetensors", "float_offset", '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4.0]}}4')
    write("safetensors", "nested_metadata", '{"__metadata__":{"a":{"b":"c"}}}0')
    raw = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    for name, body in (("raw", raw), ("padded", raw + b"   "), ("padded_newline", raw + b"\n"),
                       ("space_first", b" " + raw), ("not_utf8", raw.replace(b"a", b"\xff"))):
        write("safetensors", name, struct.pack("<QQ", 8 + len(body) + 4, len(body)) + body)
    write("safetensors", "claims_100_mb", struct.pack("<QQ", 1 << 30, 100_000_000) + raw)
    write("safetensors", "claims_all", struct.pack("<QQ", 1 << 30, (1 << 64) - 1) + raw)
    write("safetensors", "pickle", struct.pack("<Q", 1 << 20) + b"\x80\x02}q\x00.")
    write("safetensors", "zip", struct.pack("<Q", 1 << 20) + b"PK\x03\x04" + bytes(20))


def configs():
    def config(name, **changes):
        write("adapter_config", name, compact(CONFIG | changes))
    config("plain")
    config("regex", target_modules=r".*\.(q|v)_proj")
    config("all_linear", target_modules="all-linear", exclude_modules=["lm_head"])
    config("patterns", rank_pattern={"q_proj": 4, r"^model\.layers\.1\..*": 1}, alpha_pattern={"v_proj": 8.5})
    config("layers", layers_to_transform=[0], layers_pattern="layers")
    config("rslora", use_rslora=True, fan_in_fan_out=True, lora_dropout=0.1, task_type="CAUSAL_LM")
    config("bias", bias="all")
    config("dora", use_dora=True)
    config("deep_regex", target_modules="(a|aa)+$")
    for name, config_text, tensors in (
            ("plain", compact(CONFIG), lora(Q0 | V0 | Q1, 2)),
            ("one_layer", compact(CONFIG | {"layers_to_transform": [0]}), lora(Q0 | V0, 2)),
            ("ranks", compact(CONFIG | {"rank_pattern": {"q_proj": 1}, "target_modules": ["q_proj"]}), lora(Q0 | Q1, 1)),
            ("wrong_rank", compact(CONFIG), lora(Q0 | V0 | Q1, 3)),
            ("missing", compact(CONFIG), lora(Q0, 2)),
            ("embedding", compact(ENDS | {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True}),
             ends({"model.embed_tokens.lora_embedding_A": [2, 8], "model.embed_tokens.lora_embedding_B": [4, 2],
                   "model.embed_tokens.base_layer.weight": [8, 4]})),
            ("tokens", compact(ENDS | {"trainable_token_indices": {"embed_tokens": [5, 1], "lm_head": [2]}}),
             ends({"model.embed_tokens.token_adapter.trainable_tokens_delta": [2, 4],
                   "lm_head.token_adapter.trainable_tokens_delta": [1, 4]})),
            ("saved", compact(ENDS | {"modules_to_save": ["lm_head"], "trainable_token_indices": [3]}),
             ends({"model.embed_tokens.token_adapter.trainable_tokens_delta": [1, 4], "lm_head.weight": [8, 4]})),
            ("saved_ends", compact(ENDS | {"modules_to_save": ["embed_tokens", "lm_head"]}),
             ends({"model.embed_tokens.weight": [8, 4], "lm_head.weight": [8, 4]})),
            ("unknown", compact(CONFIG), lora(Q0 | V0 | Q1 | {"model.layers.9.self_attn.q_proj": (4, 6)}, 2))):
        write("adapter_layout", name, config_text.encode() + b"\0" + tensors.encode())
        write("upload", name, config_text.encode() + b"\0" + bytes([1, 7, 0, 250]) + b"\0" + tensors.encode())
    write("upload", "one_byte_pieces", compact(CONFIG).encode() + b"\0\1\0" + lora(Q0 | V0 | Q1, 2).encode())
    write("upload", "cut", compact(CONFIG).encode() + b"\0\x30\0" + lora(Q0, 2).encode()[:-5])


def tokenizers():
    for name in ("word_suffix", "subword_prefix"):
        small = json.loads((GOLDEN / name / "tokenizer.json").read_text())
        model = small["model"]
        keep = 60
        if isinstance(model.get("vocab"), dict):
            model["vocab"] = dict(list(model["vocab"].items())[:keep])
        if "merges" in model:
            known = model["vocab"]
            def parts(merge):
                return merge.split(" ") if isinstance(merge, str) else merge
            def whole(merge):
                left, right = parts(merge)
                prefix = model.get("continuing_subword_prefix") or ""
                return left + right.removeprefix(prefix)
            model["merges"] = [m for m in model["merges"]
                               if all(p in known for p in parts(m)) and whole(m) in known]
        small["added_tokens"] = [t for t in small.get("added_tokens", []) if t["id"] < keep]
        write("tokenizer", name, compact(small).encode() + b"\0the cat sat")
    vocab = {c: i for i, c in enumerate("abcdefgh ")} | {"ab": 9, "abc": 10, "<s>": 11, "\u0120": 12}
    bpe = {"model": {"type": "BPE", "vocab": vocab, "merges": ["a b", "ab c"], "unk_token": None},
           "added_tokens": [{"id": 11, "content": "<s>", "special": True, "single_word": False,
                             "lstrip": False, "rstrip": False, "normalized": False}],
           "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    write("tokenizer", "bpe", compact(bpe).encode() + b"\0abc<s>hab")
    write("tokenizer", "byte_level", compact(bpe | {
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}).encode()
        + b"\0abc \xc3\xa9")
    write("tokenizer", "steps", compact(bpe | {
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"}, {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "[a-c]+|\\s"}, "behavior": "Isolated", "invert": False},
            {"type": "Digits", "individual_digits": True}]}}).encode() + b"\0ABC  gh")


def models():
    llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 32,
             "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
             "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
             "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True, "torch_dtype": "bfloat16"}
    gpt2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 64, "n_embd": 32, "n_layer": 2,
            "n_head": 4, "n_positions": 128, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
            "eos_token_id": 2}
    generation = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "eos_token_id": [2, 3], "do_sample": True}
    write("model_config", "llama", compact(llama))
    write("model_config", "gpt2", compact(gpt2).encode() + b"\0" + compact(generation).encode())
    write("model_config", "rope", compact(llama | {"rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}}).encode() + b"\0" + compact(generation).encode())
    write("model_config", "quantised", compact(llama | {"quantization_config": {"bits": 4}}))
    write("model_config", "qwen2", compact(llama | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}))


def registry():
    digest = bytes(range(32))
    def field(number, wire, payload):
        tag = bytes([number << 3 | wire])
        return tag + (bytes([len(payload)]) + payload if wire == 2 else payload)
    manifest = (field(1, 2, b"sql") + field(2, 0, b"\x03") + field(3, 2, digest) + field(4, 0, b"\xe8\x07")
                + field(5, 2, digest) + field(6, 2, field(1, 2, b"team") + field(2, 2, b"demo")) + field(14, 2, digest))
    blob = (field(1, 0, b"\x07") + field(2, 0, b"\x01") + field(3, 0, b"\x80\x80\x40") + field(4, 0, b"\xe8\x07")
            + field(5, 2, digest) + field(6, 2, b"{}"))
    write("record", "manifest", b"\0" + manifest)
    write("record", "blob", b"\1" + blob)
    write("record", "short_digest", b"\0" + field(3, 2, digest[:31]))
    write("record", "no_chunks", b"\1" + field(4, 0, b"\x05"))
    version = struct.pack(">Q", 3)
    write("key", "manifest", b"n/sql\0" + version)
    write("key", "alias", b"a/sql\0prod")
    write("key", "blob", b"b/" + digest)
    write("key", "damage_mark", b"m/" + digest)
    write("key", "chunk_size", b"s/" + struct.pack(">Q", 7) + b"/" + struct.pack(">I", 1))
    write("key", "reference", b"d/" + digest + b"\0sql\0" + version)
    write("key", "size", struct.pack(">I", 1 << 20))
    write("key", "no_name", b"n/\0" + version)


def signatures():
    signed = json.loads((GOLDEN.parent / "signatures" / "p256.sig").read_text())
    real = base64.b64decode(signed["dsseEnvelope"]["payload"])
    signed["dsseEnvelope"]["payload"] = "STATEMENT"

    def entry(name, content):
        return {"name": name, "algorithm": "sha256", "digest": hashlib.sha256(content).hexdigest()}

    def statement(resources, **changes):
        digests = b"".join(bytes.fromhex(r["digest"]) for r in resources)
        return compact({"_type": "https://in-toto.io/Statement/v1",
                        "subject": [{"name": "a", "digest": {"sha256": hashlib.sha256(digests).hexdigest()}}],
                        "predicateType": "https://model_signing/signature/v1.0",
                        "predicate": {"resources": resources, "serialization": {"method": "files"}}} | changes)

    def bundle(payload="STATEMENT", **changes):
        return compact({"mediaType": signed["mediaType"],
                        "verificationMaterial": {"publicKey": {"hint": "ab"}},
                        "dsseEnvelope": {"payload": payload, "payloadType": "application/vnd.in-toto+json",
                                         "signatures": [{"sig": "c2lnbmVk"}]} | changes})

    def seed(name, text, envelope=None):
        write("signature", name, (text if isinstance(text, bytes) else text.encode()) + b"\0"
              + (envelope or bundle()).encode())

    config, weights = entry("adapter_config.json", b"{}"), entry("adapter_model.safetensors", b"w")
    two = [config, weights]
    seed("golden", real, compact(signed))
    seed("two_files", statement(two))
    seed("no_files", statement([]))
    seed("file_twice", statement([config, config]))
    seed("other_subject", statement(two, subject=[{"name": "a", "digest": {"sha256": "0" * 64}}]))
    seed("other_hash", statement([config | {"algorithm": "blake2b"}]))
    seed("shards", statement(two, predicate={"resources": two, "serialization": {"method": "shards"}}))
    seed("key_in_statement_twice", statement(two)[:-1] + ',"_type":"https://in-toto.io/Statement/v1"}')
    one = {"sig": "c2lnbmVk"}
    seed("two_signatures", statement(two), bundle(signatures=[one, one]))
    seed("no_signature", statement(two), bundle(signatures=[]))
    seed("unpadded", statement(two), bundle(signatures=[{"sig": "c2lnbmU"}]))
    seed("loose_bits", statement(two), bundle(signatures=[{"sig": "c2lnbmV="}]))
    seed("space_in_base64", statement(two), bundle(payload="STATEMENT "))
    seed("other_payload_type", statement(two), bundle(payloadType="text/plain"))
    seed("key_twice", statement(two), bundle().replace('"payload":', '"payload":"e30=","payload":'))
    seed("certificate", statement(two), bundle().replace('"publicKey"', '"certificate"'))


def patterns():
    path = "model.layers.10.self_attn.q_proj"
    for name, pattern in (("star", "model.layers.*.self_attn.*"), ("stars", "**.q_proj"), ("braces", "model.layers.{1,10}.**"),
                          ("question", "model.layers.1?.self_attn.[qv]_proj"), ("nested", "{a,{b,c}}"), ("open", "{a,b"),
                          ("plain", path)):
        write("glob", name, pattern.encode() + b"\0" + path.encode())
    for name, pattern, subject in (("alternatives", r".*\.(q|v)_proj", path), ("classes", r"^model\.layers\.[0-9]+\..*$", path),
                                   ("exponential", "(a+)+$", "a" * 30 + "b"), ("unicode", r"\p{L}+\s*", "h\u00e9 "),
                                   ("lookbehind", "(?<=a)b|(?P<n>c)", "ab"), ("recursion", "(?R)?a", "aaa"), ("bad", "(", "")):
        write("regex", name, pattern.encode() + b"\0" + subject.encode())


if __name__ == "__main__":
    for make in (safetensors, configs, tokenizers, models, registry, signatures, patterns):
        make()
