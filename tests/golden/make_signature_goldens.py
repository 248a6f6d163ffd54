#!/usr/bin/env python3
"""Signatures as OpenSSF Model Signing writes them, into tests/golden/signatures.

model-signing 1.1.1, cryptography 46.0.7. Keys are made, used once and thrown
away, so every run writes other files. Ed25519 is not among the keys that
model-signing itself takes: its bundle is the P-256 one with another signature.
"""
import base64
import hashlib
import json
import pathlib
import subprocess
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

OUT = pathlib.Path(__file__).parent / "signatures"
ADAPTER = OUT / "adapter"
PAYLOAD_TYPE = b"application/vnd.in-toto+json"


def write_public(name, private):
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo)
    (OUT / f"{name}.pub.pem").write_bytes(pem)
    return hashlib.sha256(pem).hexdigest()


def sign_with_model_signing(name, curve):
    private = ec.generate_private_key(curve)
    write_public(name, private)
    key = OUT / "private.pem"
    key.write_bytes(private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    try:
        subprocess.run(
            [sys.executable, "-m", "model_signing", "sign", "key", str(ADAPTER),
             "--private_key", str(key), "--signature", str(OUT / f"{name}.sig")],
            check=True)
    finally:
        key.unlink()


def sign_ed25519():
    private = ed25519.Ed25519PrivateKey.generate()
    bundle = json.loads((OUT / "p256.sig").read_text())
    bundle["verificationMaterial"]["publicKey"]["hint"] = write_public(
        "ed25519", private)
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    signed = b" ".join([b"DSSEv1", str(len(PAYLOAD_TYPE)).encode(), PAYLOAD_TYPE,
                        str(len(payload)).encode(), payload])
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(
        private.sign(signed)).decode()
    (OUT / "ed25519.sig").write_text(json.dumps(bundle))


def main():
    ADAPTER.mkdir(parents=True, exist_ok=True)
    (ADAPTER / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}\n')
    (ADAPTER / "adapter_model.safetensors").write_bytes(
        (2).to_bytes(8, "little") + b"{}")
    (ADAPTER / "README.md").write_text("# A card that is signed too\n")
    for name, curve in (("p256", ec.SECP256R1()), ("p384", ec.SECP384R1()),
                        ("p521", ec.SECP521R1())):
        sign_with_model_signing(name, curve)
    sign_ed25519()


if __name__ == "__main__":
    main()
