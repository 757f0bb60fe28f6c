"""Enclave identity of a quoting enclave: which QE Intel published, and how each of its versions stands.

Source: Intel "PCS API v4", enclave identity version 2. Masks and values are byte strings in memory order.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.endorsements.document import Document
from verifier.endorsements.tcb_status import OF_COMPONENTS, SvnLevel
from verifier.endorsements.window import Window

IDS = ("QE", "TD_QE", "QVE")


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """A parsed document. miscselect 4, attributes 16, mr_signer 32 bytes; ``levels`` highest first."""

    id: str
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    evaluation_number: int
    window: Window
    levels: tuple[SvnLevel, ...]

    @classmethod
    def from_json(cls, data: bytes) -> QeIdentity:
        """From the exact bytes that were signed. Raises `MalformedCollateral`."""
        document = Document.from_json(data, "qe_identity")
        document.only("id", "version", "issueDate", "nextUpdate", "tcbEvaluationDataNumber", "miscselect",
                      "miscselectMask", "attributes", "attributesMask", "mrsigner", "isvprodid", "tcbLevels")
        if document.integer("version", 2) != 2:
            raise document.error("unknown version", expected=2, got=document.integer("version", 2))
        if document.text("id") not in IDS:
            raise document.error("unknown id", expected=list(IDS), got=document.text("id")[:16])
        return cls(
            document.text("id"), document.octets("miscselect", 4), document.octets("miscselectMask", 4),
            document.octets("attributes", 16), document.octets("attributesMask", 16), document.octets("mrsigner", 32),
            document.integer("isvprodid", 0xFFFF), document.integer("tcbEvaluationDataNumber", 2**31),
            Window(document.moment("issueDate"), document.moment("nextUpdate")), document.svn_levels(OF_COMPONENTS),
        )
