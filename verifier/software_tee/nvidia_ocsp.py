"""An OCSP responder in miniature: answers as parameters, signed at the end. Source: RFC 6960 section 4.2.1."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from verifier.software_tee import der
from verifier.software_tee.certificates import Alteration, Extension, Name, encoded_name, unchanged
from verifier.software_tee.keys import EcKey, key_identifier

GOOD, REVOKED, UNKNOWN = "good", "revoked", "unknown"
CERTIFICATE_HOLD = 6
SUCCESSFUL, TRY_LATER = 0, 3
EXTENDED_KEY_USAGE, OCSP_SIGNING, SERVER_AUTH = "2.5.29.37", "1.3.6.1.5.5.7.3.9", "1.3.6.1.5.5.7.3.1"
OCSP_NONCE, OCSP_NOCHECK = "1.3.6.1.5.5.7.48.1.2", "1.3.6.1.5.5.7.48.1.5"

_BASIC = "1.3.6.1.5.5.7.48.1.1"
_SHA1 = "1.3.14.3.2.26"
_GENERALIZED_TIME = 0x18


def extended_key_usage(*purposes: str) -> Extension:
    """What a certificate is for."""
    return Extension(EXTENDED_KEY_USAGE, der.sequence(*(der.oid(purpose) for purpose in purposes)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer to be, about the certificate ``serial`` of the issuer ``issuer`` with the key ``issuer_key``.

    about: the role of that certificate, for whoever alters. signer: who answers; ``certificates``: those that come
    along (DER); by_name: the responder's name, None to name it by its key. status: one of the three; reason: of a
    revocation, None for none stated. next_update: None leaves it out. extensions: of the response; single_extensions:
    of the one answer in it. outcome: the status of the whole.
    """

    about: str
    issuer: Name
    issuer_key: EcKey
    serial: int
    signer: EcKey
    this_update: int
    next_update: int | None
    certificates: tuple[bytes, ...] = ()
    by_name: Name | None = None
    status: str = GOOD
    reason: int | None = None
    extensions: tuple[Extension, ...] = ()
    single_extensions: tuple[Extension, ...] = ()
    outcome: int = SUCCESSFUL
    algorithm: bytes | None = None
    mutate: Alteration[bytes] = unchanged

    def issue(self) -> bytes:
        """The answer, DER."""
        if self.outcome != SUCCESSFUL:
            return der.sequence(der.enumerated(self.outcome))
        signed = self.mutate(self.to_be_signed())
        certificates = der.explicit(0, der.sequence(*self.certificates)) if self.certificates else b""
        basic = der.sequence(signed, self.algorithm or self.signer.algorithm, der.bit_string(self.signer.sign(signed)),
                             certificates)
        return der.sequence(der.enumerated(SUCCESSFUL), der.explicit(0, der.sequence(
            der.oid(_BASIC), der.octet_string(basic))))

    def to_be_signed(self) -> bytes:
        """ResponseData, DER."""
        responder = (der.explicit(2, der.octet_string(key_identifier(self.signer))) if self.by_name is None
                     else der.explicit(1, encoded_name(self.by_name)))
        return der.sequence(responder, _time(self.this_update), der.sequence(self._single()),
                            _extensions(self.extensions))

    def _single(self) -> bytes:
        name = der.octet_string(hashlib.sha1(encoded_name(self.issuer)).digest())  # noqa: S324 - a name
        asked = der.sequence(der.sequence(der.oid(_SHA1), der.NULL), name,
                             der.octet_string(key_identifier(self.issuer_key)), der.integer(self.serial))
        end = b"" if self.next_update is None else der.explicit(0, _time(self.next_update))
        return der.sequence(asked, self._status(), _time(self.this_update), end, _extensions(self.single_extensions))

    def _status(self) -> bytes:
        if self.status != REVOKED:
            return der.implicit(0 if self.status == GOOD else 2, b"")
        reason = b"" if self.reason is None else der.explicit(0, der.enumerated(self.reason))
        return der.explicit(1, _time(self.this_update) + reason)


def _extensions(extensions: tuple[Extension, ...]) -> bytes:
    if not extensions:
        return b""
    return der.explicit(1, der.sequence(*(extension.to_bytes() for extension in extensions)))


def _time(moment: int) -> bytes:
    """GeneralizedTime, whatever the year."""
    return der.element(_GENERALIZED_TIME, datetime.fromtimestamp(moment, UTC).strftime("%Y%m%d%H%M%SZ").encode())
