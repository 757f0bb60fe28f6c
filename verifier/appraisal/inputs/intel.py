"""Intel: TDX and SGX, by the names of Trustee's claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.appraisal.inputs.members import present
from verifier.claims import Claims
from verifier.endorsements.window import rfc3339

# What the recipes demand of every quote, so that it holds whenever there are claims (hexadecimal as on the wire).
_ECDSA_P256 = "0200"
_INTEL_VENDOR_ID = "939a7233f79c4ca9940a0db3957f0607"
_TEE_TYPE_SGX = "00000000"
_TEE_TYPE_TDX = "81000000"

_TD_ATTRIBUTES = {"debug": 0, "septve_disable": 28, "migratable": 29, "protection_keys": 30, "key_locker": 31,
                  "perfmon": 63}
_SGX_TYPES = {0: "Standard", 1: "Scalable", 2: "Scalable with Integrity"}
_SGX_DEBUG = 1 << 1


def tdx(claims: Claims) -> dict[str, Any]:
    """A TD."""
    return trust_domain(claims, claims.body)


def trust_domain(claims: Claims, body: Mapping[str, Any]) -> dict[str, Any]:
    """The TD of ``body``, its platform as ``claims`` tell it."""
    bits = int.from_bytes(body["td_attributes"], "little")
    return {
        "quote": {
            "header": {"tee_type": _TEE_TYPE_TDX, "vendor_id": _INTEL_VENDOR_ID, "att_key_type": _ECDSA_P256},
            "body": present({
                "tcb_svn": body.get("tee_tcb_svn"), "mr_seam": body.get("mr_seam"),
                "mrsigner_seam": body.get("mr_signer_seam"), "seam_attributes": body.get("seam_attributes"),
                "td_attributes": body.get("td_attributes"), "xfam": body.get("xfam"), "mr_td": body.get("mr_td"),
                "mr_config_id": body.get("mr_config_id"), "mr_owner": body.get("mr_owner"),
                "mr_owner_config": body.get("mr_owner_config"), "rtmr_0": body.get("rtmr0"),
                "rtmr_1": body.get("rtmr1"), "rtmr_2": body.get("rtmr2"), "rtmr_3": body.get("rtmr3"),
                "report_data": body.get("report_data"), "tee_tcb_svn2": body.get("tee_tcb_svn2"),
                "mr_servicetd": body.get("mr_service_td"),
            }),
        },
        "td_attributes": {name: bool(bits >> bit & 1) for name, bit in _TD_ATTRIBUTES.items()},
        **_dcap(claims),
    }


def sgx(claims: Claims) -> dict[str, Any]:
    """An enclave."""
    body = claims.body
    attributes = body["attributes"]
    flags = int.from_bytes(attributes[:8], "little")
    return {
        "header": {"att_key_data_0": _TEE_TYPE_SGX, "vendor_id": _INTEL_VENDOR_ID, "att_key_type": _ECDSA_P256},
        "body": present({
            **{name: body.get(name) for name in ("cpu_svn", "isv_ext_prod_id", "mr_enclave", "mr_signer", "config_id",
                                                 "isv_family_id", "report_data")},
            "misc_select": _little_endian(body.get("misc_select"), 4),
            "attributes": {"flags": attributes[:8].hex(), "xfrm": attributes[8:].hex()},
            **{name: _little_endian(body.get(name), 2) for name in ("isv_prod_id", "isv_svn", "config_svn")},
        }),
        "debug": bool(flags & _SGX_DEBUG),
        **{name: body.get(name) for name in ("isv_prod_id", "isv_svn", "config_svn")},
        **_dcap(claims),
    }


def _little_endian(value: int | None, size: int) -> bytes | None:
    return None if value is None else value.to_bytes(size, "little")


def _dcap(claims: Claims) -> dict[str, Any]:
    """What Intel's certificates and documents say, for TDX and SGX alike."""
    pck, tcb = claims.endorsement.get("pck") or {}, claims.tcb.get("tcb") or {}
    current = tcb.get("current") or {}
    return {
        "tcb_status": claims.status, "tcb_date": tcb.get("date"), "advisory_ids": list(claims.advisory_ids),
        # There are no claims at a moment outside the collateral's window.
        "collateral_expiration_status": "0" if tcb else None,
        "earliest_expiration_date": rfc3339(tcb["earliest_expiration"]) if tcb else None,
        "tcb_eval_num": tcb.get("evaluation_number"), "root_ca_crl_num": tcb.get("root_ca_crl_number"),
        "pck_crl_num": tcb.get("pck_crl_number"),
        "tcb_status_current": current.get("status"), "tcb_date_current": current.get("date"),
        "advisory_ids_current": list(current["advisory_ids"]) if current else None,
        "fmspc": pck.get("fmspc"), "platform_provider_id": pck.get("ppid"),
        "platform_instance_id": pck.get("platform_instance_id"), "sgx_type": _SGX_TYPES.get(pck.get("sgx_type", -1)),
        "is_dynamic_platform": pck.get("dynamic_platform"), "is_cached_keys": pck.get("cached_keys"),
        "is_smt_enabled": pck.get("smt_enabled"),
    }
