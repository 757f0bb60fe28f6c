"""AWS Nitro Enclaves: attestation documents of the Nitro hypervisor.

    1  the document says how it is signed and hashed          document.algorithm, document.digest
    2  its bundle ends in a trusted root, its leaf in it      chain.*, leaf.*
    3  the leaf signed the document                           document.signature
    4  it tells of the enclave's image, at a time of the leaf document.pcrs, document.pcr_size, document.timestamp

Certificates are judged at the moment of verification, not at the document's own timestamp, which is a claim; leaves
live for three hours. A document may be as old as that, so freshness is the nonce: `Claims.report_data` is ``nonce``
(b"" where the enclave gave none), and a caller who demands a report data demands that nonce. ``user_data`` and
``public_key`` are claims of their own. No field is bound by the host for the guest, so init data is b"".

What makes an enclave the one that was built is PCR0 (image), PCR1 (kernel and boot) and PCR2 (application); PCR3 is the
instance's role, PCR4 the instance, PCR8 the image's signing certificate. Flag ``NITRO_DEBUG``: PCR0, PCR1 or PCR2 is
all zero, as all three are in an enclave in debug mode; the signature is good, but whoever runs the instance can read
along.

The bundle is the same for all enclaves of an instance for about a day, so it is kept when it has verified; the leaf is
kept under bundle and leaf. Source: AWS Nitro Enclaves NSM API, "Nitro Enclaves Attestation Process", section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verifier.checks.cose_signature import check_signature
from verifier.checks.prepared import digest_of
from verifier.claims import Claims
from verifier.endorsements import aws
from verifier.endorsements.window import Window, rfc3339
from verifier.evidence import Evidence, Tee
from verifier.formats.cose import Algorithm, CoseSign1
from verifier.formats.nitro_document import WHAT, NitroDocument
from verifier.tees.base import Context
from verifier.trail import Check, Trail

DIGEST = "SHA384"
PCR_SIZE = 48
IMAGE_PCRS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class NitroQuote:
    """The signed message and what its payload says, nothing believed."""

    message: CoseSign1
    document: NitroDocument


@dataclass(frozen=True, slots=True)
class _Authorities:
    """Step 2 without the leaf, and the checks that say so."""

    checks: tuple[Check, ...]
    window: Window
    bundle: aws.Bundle


@dataclass(frozen=True, slots=True)
class _Endorsed:
    """Step 2."""

    checks: tuple[Check, ...]
    window: Window
    bundle: aws.Bundle
    leaf: aws.Leaf


class NitroRecipe:
    """The recipe for Nitro attestation documents."""

    tee = Tee.NITRO

    def parse(self, evidence: Evidence) -> NitroQuote:
        """Exactly one message, tagged or not, with exactly one document in it; certificates are read by `verify`."""
        message = CoseSign1.from_bytes(evidence.quote, WHAT)
        return NitroQuote(message, NitroDocument.from_bytes(message.payload))

    def inspect(self, quote: NitroQuote) -> dict[str, Any]:
        """The document's fields."""
        return body_claims(quote.document)

    def verify(self, quote: NitroQuote, context: Context) -> Claims:
        """Steps 1 to 4."""
        trail, document = context.trail, quote.document
        trail.equal("document.algorithm", expected=Algorithm.ES384, got=quote.message.algorithm)
        trail.equal("document.digest", expected=DIGEST, got=document.digest)
        endorsed = _endorse(document, context)
        check_signature(trail, "document.signature", quote.message, endorsed.leaf.public_key)
        _check_document(trail, document, endorsed.leaf.window)
        return Claims(
            tee=self.tee, body=body_claims(document), endorsement=endorsement_claims(endorsed),
            software=endorsed.bundle.anchor.software, report_data=document.nonce or b"", init_data=b"",
            valid_until=endorsed.window.not_after, flags=_flags(document),
        )


def _endorse(document: NitroDocument, context: Context) -> _Endorsed:
    trail, prepared = context.trail, context.prepared
    name = (trail.prefix, context.roots.digest, digest_of((*document.cabundle, document.certificate)))

    def judge(own: Trail) -> _Endorsed:
        above = _authorities(own, document, context)
        leaf = aws.verify_leaf(own, document.certificate, above.bundle, context.at)
        return _Endorsed(own.own_checks, above.window.meet(leaf.window), above.bundle, leaf)
    found = prepared.establish(trail, _Endorsed, name, context.at, judge)
    trail.require("endorsement.validity", found.window.contains(context.at), "all of the above must hold at the moment",
                  expected=list(found.window), got=context.at)
    return found


def _authorities(trail: Trail, document: NitroDocument, context: Context) -> _Authorities:
    name = (trail.prefix, context.roots.digest, digest_of(document.cabundle))

    def judge(own: Trail) -> _Authorities:
        bundle = aws.verify_bundle(own, document.cabundle, context.roots, context.at)
        return _Authorities(own.own_checks, bundle.window, bundle)
    return context.prepared.establish(trail, _Authorities, name, context.at, judge)


def _check_document(trail: Trail, document: NitroDocument, leaf: Window) -> None:
    """Step 4. A register that is missing can be compared with nothing; one of another size is of another hash."""
    registers = document.registers
    missing = [index for index in IMAGE_PCRS if index not in registers]
    trail.require("document.pcrs", not missing, "PCR0, PCR1 and PCR2 must be there", expected=[*IMAGE_PCRS],
                  got=sorted(registers))
    odd = {index: len(value) for index, value in registers.items() if len(value) != PCR_SIZE}
    trail.require("document.pcr_size", not odd, f"{DIGEST} registers have {PCR_SIZE} bytes", got=odd)
    seconds = document.timestamp // 1000
    trail.require("document.timestamp", leaf.contains(seconds), "must lie within the validity of the leaf",
                  expected=list(leaf), got=seconds)


def body_claims(document: NitroDocument) -> dict[str, Any]:
    """The document's fields by name; PCRs by their number as text; what the enclave did not give is None."""
    return {
        "module_id": document.module_id, "digest": document.digest, "timestamp_ms": document.timestamp,
        "timestamp": rfc3339(document.timestamp // 1000),
        "pcrs": {str(index): value for index, value in document.pcrs}, "user_data": document.user_data,
        "nonce": document.nonce, "public_key": document.public_key,
    }


def endorsement_claims(endorsed: _Endorsed) -> dict[str, Any]:
    """What the verified certificates say; moments are Unix seconds."""
    leaf = endorsed.leaf
    return {
        "leaf_subject": leaf.subject,
        "leaf": {"serial": f"{leaf.serial:x}", "not_before": leaf.window.not_before,
                 "not_after": leaf.window.not_after, "issuer": endorsed.bundle.issuer.name,
                 "root_sha256": endorsed.bundle.anchor.sha256_certificate},
    }


def _flags(document: NitroDocument) -> tuple[str, ...]:
    registers = document.registers
    return ("NITRO_DEBUG",) if any(not any(registers[index]) for index in IMAGE_PCRS) else ()
