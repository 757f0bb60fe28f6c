"""The AR4SI trustworthiness vector: eight claims about an attester, each a signed byte.

Source: draft-ietf-rats-ar4si, "Trustworthiness Claims" and "Trustworthiness Tiers". A value's tier tells how far to
trust; the vector's status is its worst tier. Meanings are given here in our own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from verifier.errors import SetupError


class Tier(IntEnum):
    """How far a claim's value lets the attester be trusted; the greater, the worse."""

    NONE = 0
    AFFIRMING = 1
    WARNING = 2
    CONTRAINDICATED = 3

    @property
    def word(self) -> str:
        """As tokens spell it."""
        return self.name.lower()

    @classmethod
    def of(cls, value: int) -> Tier:
        """The tier of a claim's value, -128 to 127."""
        if -1 <= value <= 1:
            return cls.NONE
        if -32 <= value <= 31:
            return cls.AFFIRMING
        if -96 <= value <= 95:
            return cls.WARNING
        return cls.CONTRAINDICATED


class Meaning(NamedTuple):
    """What a value says: ``tag`` for machines, ``short`` for tables, ``long`` for people."""

    tag: str
    short: str
    long: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustVector:
    """Eight signed bytes, 0 for "nothing said". Raises `SetupError` (``trust_vector.<claim>``) for anything else."""

    instance_identity: int = 0
    configuration: int = 0
    executables: int = 0
    file_system: int = 0
    hardware: int = 0
    runtime_opaque: int = 0
    storage_opaque: int = 0
    sourced_data: int = 0

    def __post_init__(self) -> None:
        for name, value in zip(CLAIM_NAMES, _values(self), strict=True):
            if type(value) is not int or not -128 <= value <= 127:
                raise SetupError(f"trust_vector.{name}", "a trustworthiness claim is a signed byte",
                                 expected="-128 to 127", got=str(value)[:40])

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """The claims by their names in tokens (``file-system``)."""
        return zip(CLAIM_NAMES, _values(self), strict=True)

    @classmethod
    def from_claims(cls, claims: Mapping[str, Any], *, missing: TrustVector | None = None) -> TrustVector:
        """From a policy's ``trust_claims``; a claim that is not there is that of ``missing``. Unknown names are not
        read. Raises `SetupError`."""
        base = missing or cls()
        stated = zip(_ATTRIBUTES, base, strict=True)
        return cls(**{attribute: claims.get(name, value) for attribute, (name, value) in stated})

    def to_dict(self) -> dict[str, int]:
        """All eight by their names in tokens."""
        return dict(self)

    @property
    def tier(self) -> Tier:
        """The worst tier of the eight."""
        return _worst(self)

    @property
    def status(self) -> str:
        """``none``, ``affirming``, ``warning`` or ``contraindicated``."""
        return self.tier.word


_ATTRIBUTES = tuple(member.name for member in fields(TrustVector))
CLAIM_NAMES = tuple(name.replace("_", "-") for name in _ATTRIBUTES)
_values: Callable[[TrustVector], tuple[int, ...]] = attrgetter(*_ATTRIBUTES)


@lru_cache(maxsize=256)  # policies answer few vectors, and each is asked for its tier several times
def _worst(vector: TrustVector) -> Tier:
    return Tier.of(max(_values(vector), key=Tier.of))


# What is assumed of a claim that a policy leaves out: the hardware, what runs and its configuration are then unknown.
UNSTATED = TrustVector(hardware=97, executables=33, configuration=36)


def meaning(claim: str, value: int) -> Meaning:
    """What ``value`` says under ``claim`` (``file-system``); values that AR4SI leaves open are told by their tier."""
    found = _COMMON.get(value) or _MEANINGS.get(claim, {}).get(value)
    if found is None:
        word = Tier.of(value).word
        return Meaning(f"{word}_unspecified", word, f"A value of the {word} tier without a meaning of its own.")
    return found


_COMMON = {
    -1: Meaning("verifier_malfunction", "verifier malfunction", "The verifier itself failed and reached no opinion."),
    0: Meaning("no_claim", "no claim", "The verifier says nothing about this."),
    1: Meaning("unexpected_evidence", "unexpected evidence", "The evidence holds something the verifier cannot place."),
    99: Meaning("crypto_validation_failed", "cryptography failed", "A signature or other proof did not hold."),
}

_OPAQUE_RUNTIME = {
    2: Meaning("encrypted_memory_runtime", "memory sealed off", "Memory is closed to everything outside the attester."),
    32: Meaning("isolated_memory_runtime", "memory isolated only",
                "Other code is kept out of memory, whoever holds the machine is not."),
    96: Meaning("visible_memory_runtime", "memory visible", "Memory can be read from outside the attester."),
}
_OPAQUE_STORAGE = {
    2: Meaning("hw_encrypted_secrets", "keys held by hardware",
               "Stored secrets are encrypted under keys that hardware keeps."),
    32: Meaning("sw_encrypted_secrets", "keys held by software",
                "Stored secrets are encrypted under keys that software keeps."),
    96: Meaning("unencrypted_secrets", "secrets in the clear", "Stored secrets are not encrypted."),
}

_MEANINGS: dict[str, dict[int, Meaning]] = {
    "instance-identity": {
        2: Meaning("trustworthy_instance", "known instance", "This very attester is known, and good."),
        96: Meaning("untrustworthy_instance", "instance known as bad", "This very attester is known, and not trusted."),
        97: Meaning("unrecognized_instance", "unknown instance", "This very attester is not known, and should be."),
    },
    "configuration": {
        2: Meaning("approved_config", "approved", "The configuration is one the owner approved."),
        3: Meaning("safe_config", "safe", "The configuration opens no weakness that is known."),
        32: Meaning("unsafe_config", "unsafe", "The configuration opens weaknesses that are known."),
        36: Meaning("unavailable_config", "unknown", "What decides about the configuration is not in view, or not as "
                    "the owner wants it."),
        96: Meaning("unsupportable_config", "unacceptable", "The configuration opens weaknesses that cannot be borne."),
    },
    "executables": {
        2: Meaning("approved_runtime", "approved, also at run time",
                   "Only software the owner approved was loaded, at boot and since."),
        3: Meaning("approved_boot", "approved at boot", "Only software the owner approved was loaded at boot."),
        32: Meaning("unsafe_runtime", "known weaknesses", "Software with known weaknesses is loaded."),
        33: Meaning("unrecognized_runtime", "not recognised", "Software is loaded that the owner did not name."),
        96: Meaning("contraindicated_runtime", "refused software", "Software is loaded that must not be."),
    },
    "file-system": {
        2: Meaning("approved_files", "approved", "The files are those the owner approved."),
        32: Meaning("unrecognized_files", "not recognised", "There are files that the owner did not name."),
        96: Meaning("contraindicated_files", "refused files", "There are files that must not be."),
    },
    "hardware": {
        2: Meaning("genuine_hardware", "genuine", "Hardware and firmware are genuine, and up to what is demanded."),
        32: Meaning("unsafe_hardware", "known weaknesses", "Hardware or firmware is genuine, with known weaknesses."),
        96: Meaning("contraindicated_hardware", "refused", "Hardware or firmware is genuine, and must not be trusted."),
        97: Meaning("unrecognized_hardware", "not recognised",
                    "Hardware or firmware is not known, not proved to be hardware at all, or below what is demanded."),
    },
    "runtime-opaque": _OPAQUE_RUNTIME,
    "storage-opaque": _OPAQUE_STORAGE,
    "sourced-data": {
        2: Meaning("trusted_sources", "trusted sources", "The attester's data come from sources that are trusted."),
        32: Meaning("untrusted_sources", "doubtful sources", "Some of the attester's data come from doubtful sources."),
        96: Meaning("contraindicated_sources", "refused sources", "Some data come from sources that must not be used."),
    },
}
