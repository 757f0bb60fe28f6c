"""What the evidence must carry: a digest over the challenge and the guest's key.

    primary  H(JCS({"additional-evidence": …, "nonce": …, "tee-pubkey": {…}}))     the member is there even when empty
    device   H(JCS({"nonce": …, "tee-pubkey": {…}}))

JCS is RFC 8785; H is SHA-384 unless the broker selected another hash. Both ends compute it from the same text of the
nonce and the same members of the key, so every member is bound. Evidence for anything but this handshake is made over
`workload_digest`, which no runtime data can equal.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec
import rfc8785

from kbs.errors import MalformedAnswer, UnsupportedTee
from kbs.protocol.messages import Challenge, Request


class HashAlgorithm(StrEnum):
    """The hash over the runtime data, by its name on the wire; digests of 32, 48 and 64 bytes."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


# Bytes of report data per TEE. In the wide ones the digest stands left-aligned and the rest is zero; the narrow ones
# hold its beginning; the others take the digest as it is: nonces of virtual TPMs and of Nitro have no fixed size, and
# the sample evidence has no field at all. Nitro has no name in the protocol: its placement is ours.
REPORT_DATA_BYTES = {"tdx": 64, "sgx": 64, "snp": 64, "cca": 64, "csv": 64, "nvidia": 32, "tpm": 32}
UNSIZED = frozenset({"az-snp-vtpm", "az-tdx-vtpm", "nitro", "sample"})
_NARROW = 32


def primary_digest(nonce: str, tee_pubkey: Mapping[str, str], additional_evidence: str = "",
                   algorithm: HashAlgorithm = HashAlgorithm.SHA384) -> bytes:
    """The digest that the primary TEE's evidence binds: nonce, key and, through its text, the devices' evidence."""
    return _digest({"additional-evidence": additional_evidence, "nonce": nonce, "tee-pubkey": dict(tee_pubkey)},
                   algorithm)


def device_digest(nonce: str, tee_pubkey: Mapping[str, str],
                  algorithm: HashAlgorithm = HashAlgorithm.SHA384) -> bytes:
    """The digest that a device's evidence binds: nonce and key."""
    return _digest({"nonce": nonce, "tee-pubkey": dict(tee_pubkey)}, algorithm)


def workload_digest(data: bytes, algorithm: HashAlgorithm = HashAlgorithm.SHA384) -> bytes:
    """For evidence over data of a workload's choosing: its members differ from both above, so it opens no handshake."""
    return _digest({"attestkit": "workload-runtime-data", "data": base64.b64encode(data).decode()}, algorithm)


def report_data_for(tee: str, digest: bytes) -> bytes:
    """``digest`` as the TEE's report data: 64 bytes, filled with zeros, for TDX, SGX, SNP, CCA and CSV; its first 32
    for NVIDIA devices and bare TPMs; the digest itself for Azure's virtual TPMs, Nitro and ``sample``.

    Raises `UnsupportedTee` for TEEs whose placement is not defined here.
    """
    if tee in UNSIZED:
        return digest
    size = REPORT_DATA_BYTES.get(tee)
    if size is None:
        raise UnsupportedTee("protocol.report_data.tee", "no report data is defined for this TEE", got=tee[:32])
    if size == _NARROW:
        return digest[:size]
    if len(digest) > size:
        raise ValueError("the digest is longer than the report data")
    return digest.ljust(size, b"\0")


def hash_offer(algorithms: Iterable[HashAlgorithm]) -> dict[str, Any]:
    """The ``extra-params`` in which a guest offers hashes."""
    return {"supported-hash-algorithms": [str(algorithm) for algorithm in algorithms]}


def selected_hash(request: Request, challenge: Challenge) -> HashAlgorithm:
    """The hash the broker chose among those offered; SHA-384 where it says nothing. Raises `MalformedAnswer`."""
    if challenge.extra_params in ("", None, {}):
        return HashAlgorithm.SHA384
    chosen = challenge.extra_params.get("selected-hash-algorithm") if isinstance(challenge.extra_params, dict) else None
    offered = request.extra_params["supported-hash-algorithms"] if isinstance(request.extra_params, dict) else []
    if chosen not in offered or chosen not in set(HashAlgorithm):
        raise MalformedAnswer("protocol.challenge.hash", "the broker selected a hash that was not offered",
                              expected=", ".join(offered), got=str(chosen)[:32])
    return HashAlgorithm(chosen)


def _digest(members: dict[str, Any], algorithm: HashAlgorithm) -> bytes:
    return hashlib.new(algorithm, _canonical(members)).digest()


def _canonical(members: dict[str, Any]) -> bytes:
    """JCS of texts in objects. For ASCII, which is all that well-made ones hold, msgspec writes the very same bytes."""
    plain = msgspec.json.encode(members, order="sorted")
    return plain if plain.isascii() else rfc8785.dumps(members)
