"""Who may open a layer: its private options wrapped for recipients, and unwrapped with the keys at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from attestation.errors import KeyUnavailable, SetupError
from attestation.images import annotation_packet, jwe_recipient
from attestation.images.jwe_keys import JwePrivateKey, JweRecipient
from attestation.images.key_sources import KeySink, KeySource, checked_kek, fresh_kek, own_kid
from attestation.images.layer_annotations import Packet
from attestation.images.layer_cipher import PrivateOptions

JWE = "jwe"
KBS = "provider.attestation-agent"


@dataclass(frozen=True, slots=True)
class KbsRecipient:
    """Whoever the key broker releases ``kid`` to; kek: the 32 bytes kept there. Use `of` or `create`."""

    kid: str
    kek: bytes = field(repr=False)

    @classmethod
    def of(cls, kid: str, kek: bytes) -> KbsRecipient:
        """With a KEK at hand. Raises `SetupError` for either."""
        name = own_kid(kid)
        return cls(name, checked_kek(kek, name))

    @classmethod
    def create(cls, kid: str, sink: KeySink) -> KbsRecipient:
        """With a new random KEK, which ``sink`` keeps before anything is encrypted with it."""
        recipient = cls.of(kid, fresh_kek())
        sink.put(recipient.kid, recipient.kek)
        return recipient


Recipient = JweRecipient | KbsRecipient


def wrap_for(recipients: Sequence[Recipient], private: PrivateOptions) -> tuple[Packet, ...]:
    """One packet for all JWE recipients together, and one for each key of the broker."""
    options = private.to_json()
    jwe = [recipient for recipient in recipients if isinstance(recipient, JweRecipient)]
    packets = [Packet(JWE, jwe_recipient.wrap(options, jwe))] if jwe else []
    packets += [Packet(KBS, annotation_packet.wrap(options, recipient.kid, recipient.kek))
                for recipient in recipients if isinstance(recipient, KbsRecipient)]
    if not packets:
        raise SetupError("image.recipients", "an image that nobody may open is not made", expected="a recipient")
    return tuple(packets)


@dataclass(frozen=True, slots=True)
class LayerKeys:
    """The keys at hand: private keys of JWE recipients, and a source of KEKs (None: there is none)."""

    private_keys: Sequence[JwePrivateKey] = ()
    key_source: KeySource | None = None

    def open(self, packets: Sequence[Packet]) -> PrivateOptions:
        """The private options in the first packet that a key at hand opens; private keys are tried before the source.

        Raises `KeyUnavailable` when none does. A packet that is malformed, or does not open under the very key it
        names, ends the search with its own error: trying on would hide that somebody altered it.
        """
        return PrivateOptions.from_json(self._with_private_keys(packets) or self._with_source(packets))

    def _with_private_keys(self, packets: Sequence[Packet]) -> bytes | None:
        found = (jwe_recipient.unwrap(packet.data, self.private_keys)
                 for packet in packets if packet.scheme == JWE and self.private_keys)
        return next((options for options in found if options is not None), None)

    def _with_source(self, packets: Sequence[Packet]) -> bytes:
        missed = KeyUnavailable("image.layer.key", "no key at hand opens this layer",
                                got=", ".join(sorted({packet.scheme for packet in packets})))
        for packet in packets:
            if packet.scheme == KBS and self.key_source is not None:
                try:
                    return annotation_packet.unwrap(packet.data, self.key_source)
                except KeyUnavailable as error:
                    missed = error
        raise missed
