"""What is in force: policies compiled, reference values frozen, revoked tokens known.

Everything here comes from storage and is read again only when storage says that something changed. It is asked for
every request, so a change holds from the next request on, in every worker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from threading import Lock

from kbs.errors import SetupError, StorageError
from kbs.storage.base import Storage
from verifier.appraisal.appraiser import Appraiser
from verifier.errors import SetupError as VerifierSetupError
from verifier.policy.defaults import shipped
from verifier.policy.engine import CompiledPolicy, PolicyEngine
from verifier.reference_values.model import ReferenceValue, ReferenceValues

ATTESTATION_POLICIES = "attestation-policy"
RESOURCE_POLICIES = "resource-policy"
REFERENCE_VALUES = "reference-value"
REVOKED_TOKENS = "revoked-token"
SPACES = (ATTESTATION_POLICIES, RESOURCE_POLICIES, REFERENCE_VALUES, REVOKED_TOKENS)

# The one policy that decides on release, by the name that clients list it under.
RESOURCE_POLICY = "resource-policy"


@dataclass(frozen=True, slots=True)
class InForce:
    """One state of the shelf. ``generation``: how often each of `SPACES` had been changed."""

    generation: tuple[int, ...]
    appraiser: Appraiser = field(repr=False)
    release_policy: CompiledPolicy = field(repr=False)
    revoked: frozenset[str] = field(repr=False)


class Shelf:
    """Safe to share between threads."""

    def __init__(self, storage: Storage, engine: PolicyEngine) -> None:
        self._storage = storage
        self._engine = engine
        self._lock = Lock()
        self._present: InForce | None = None

    def in_force(self) -> InForce:
        """What holds now. Raises `StorageError`, or `SetupError` for a stored policy that no longer compiles."""
        found = self._storage.generations()
        generation = tuple(found.get(space, 0) for space in SPACES)
        present = self._present
        if present is not None and present.generation == generation:
            return present
        with self._lock:
            if self._present is None or self._present.generation != generation:
                self._present = self._read(generation)
            return self._present

    def policy_text(self, space: str, name: str) -> str | None:
        """A stored policy's text; None when the shipped one holds."""
        record = self._storage.get(space, name)
        return None if record is None else record.value.decode()

    def reference_values(self) -> ReferenceValues:
        """All that are stored, expired ones included."""
        found = (self._storage.get(REFERENCE_VALUES, entry.key) for entry in self._storage.list(REFERENCE_VALUES))
        return ReferenceValues(reference_value(record.key, record.value) for record in found if record is not None)

    def _read(self, generation: tuple[int, ...]) -> InForce:
        names = [entry.key for entry in self._storage.list(ATTESTATION_POLICIES)]
        policies = {name: text for name in names if (text := self.policy_text(ATTESTATION_POLICIES, name)) is not None}
        release = self.policy_text(RESOURCE_POLICIES, RESOURCE_POLICY) or shipped("release")
        try:
            return InForce(
                generation, Appraiser(self._engine, policies, self.reference_values()),
                self._engine.compile(release, name=RESOURCE_POLICY),
                frozenset(entry.key for entry in self._storage.list(REVOKED_TOKENS)))
        except VerifierSetupError as error:
            raise SetupError(error.id, f"what is stored cannot be used: {error.detail}") from None


def reference_value(name: str, stored: bytes) -> ReferenceValue:
    """A reference value as it is stored. Raises `StorageError`."""
    try:
        told = json.loads(stored)
        return ReferenceValue(name, told["value"], told["expires"])
    except (ValueError, KeyError, TypeError, VerifierSetupError):
        raise StorageError("shelf.reference_value", f"the stored reference value {name} is unreadable") from None


def stored_form(value: ReferenceValue) -> bytes:
    """What `reference_value` reads."""
    return json.dumps({"value": value.plain(), "expires": value.expires}).encode()
