"""Everything the guest can raise.

    AttestationError
    ├── ImageError               an OCI image, or what wraps its keys, is at fault: refuse
    │   ├── MalformedImage           bytes do not have the shape they claim
    │   ├── UnsupportedImage         well-formed, of a kind that is not handled here
    │   └── ImageIntegrityError      a digest, tag or diff_id does not hold
    ├── ModelError               a model, or what wraps its keys, is at fault: refuse
    │   └── SealedFileError          a sealed file is malformed, truncated, reordered, spliced or altered
    ├── KeyUnavailable           no key at hand, or at the key source, opens this
    ├── BrokerError              the key broker refused, answered wrongly or cannot be reached
    ├── AttesterError            the TEE gave no usable evidence
    └── SetupError               our own configuration, arguments or files are at fault

Each error carries a stable dotted ``id`` (``image.layer.hmac``) that logs and results share and, where they exist, the
expected and the found value. Neither may ever be key material or plaintext: both are printed.
"""

from __future__ import annotations

from typing import Any

from verifier.errors import readable


class AttestationError(Exception):
    """Root of the tree.

    ``id`` is a stable dotted name; ``detail`` a sentence for people; ``expected`` and ``got`` are None where a
    comparison makes no sense.
    """

    def __init__(self, id: str, detail: str, *, expected: Any = None, got: Any = None) -> None:
        self.id = id
        self.detail = detail
        self.expected = expected
        self.got = got
        super().__init__(id, detail)

    def __str__(self) -> str:
        values = (("expected", self.expected), ("got", self.got))
        told = ", ".join(f"{name} {readable(value)}" for name, value in values if value is not None)
        return f"{self.id}: {self.detail}" + (f" ({told})" if told else "")


class ImageError(AttestationError):
    """An OCI image, or what wraps its keys, is at fault."""


class MalformedImage(ImageError):
    """The bytes do not have the shape they claim."""


class UnsupportedImage(ImageError):
    """Well-formed, but of a kind that is not handled here."""


class ImageIntegrityError(ImageError):
    """A digest, authentication tag or diff_id does not hold."""


class ModelError(AttestationError):
    """A model, or what wraps its keys, is at fault."""


class SealedFileError(ModelError):
    """A sealed file is malformed, truncated, reordered, spliced or altered."""


class KeyUnavailable(AttestationError):
    """No key at hand, or at the key source, opens this."""


class BrokerError(AttestationError):
    """The key broker refused, answered wrongly or cannot be reached."""


class AttesterError(AttestationError):
    """The TEE gave no usable evidence."""


class SetupError(AttestationError):
    """The caller's configuration, arguments or files are at fault."""
