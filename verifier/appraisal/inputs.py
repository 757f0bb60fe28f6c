"""What a policy reads: verified claims under the names that Trustee's policies use. A public interface, version 1.

    input.tdx | input.sgx | input.snp | input.sample    the attester's claims
    input.report_data, input.init_data                  the two bound fields, hexadecimal
    input.runtime_data_claims, input.init_data_claims   what is bound by them, where it was presented

Byte strings are lower-case hexadecimal text, numbers are numbers. What the evidence does not hold is absent, never null
and never zero, so a policy that needs it does not hold. Event logs are left out: a policy engine's cost grows with its
input, and a log is distilled into facts before it is judged. Within a version, names are added but never change their
meaning; the whole table is in docs/policies.md. Nothing in here is unverified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from verifier.claims import Claims
from verifier.endorsements.window import rfc3339
from verifier.errors import SetupError
from verifier.evidence import Tee

POLICY_INPUT_VERSION = 1

# What the recipes demand of every quote, so that it holds whenever there are claims (hexadecimal as on the wire).
_ECDSA_P256 = "0200"
_INTEL_VENDOR_ID = "939a7233f79c4ca9940a0db3957f0607"
_TEE_TYPE_SGX = "00000000"
_TEE_TYPE_TDX = "81000000"

_TD_ATTRIBUTES = {"debug": 0, "septve_disable": 28, "migratable": 29, "protection_keys": 30, "key_locker": 31,
                  "perfmon": 63}
_SGX_TYPES = {0: "Standard", 1: "Scalable", 2: "Scalable with Integrity"}
_SGX_DEBUG = 1 << 1


def policy_input(claims: Claims, *, runtime_data: Mapping[str, Any] | None,
                 init_data: Mapping[str, Any] | None) -> dict[str, Any]:
    """The input for ``claims``; it is also the token's annotated evidence.

    runtime_data: the guest's runtime data, whose digest was found in the report data. init_data: the contents of the
    init-data document, whose digest was found in the init-data field. None for either means it was not presented.
    """
    build = _BUILDERS.get(claims.tee)
    if build is None:
        raise SetupError("policy_input.tee", "claims of this TEE have no policy input", got=claims.tee.value)
    own = {"software": claims.software, "flags": list(claims.flags)}
    return _present({
        claims.tee.value: _present(build(claims)) | own,
        "report_data": claims.report_data.hex() or None,
        "init_data": claims.init_data.hex() or None,
        "runtime_data_claims": None if runtime_data is None else dict(runtime_data),
        "init_data_claims": None if init_data is None else dict(init_data),
    })


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    """``members`` without those that are None; byte strings as hexadecimal text."""
    return {name: value.hex() if isinstance(value, bytes) else value
            for name, value in members.items() if value is not None}


def _tdx(claims: Claims) -> dict[str, Any]:
    body = claims.body
    bits = int.from_bytes(body["td_attributes"], "little")
    return {
        "quote": {
            "header": {"tee_type": _TEE_TYPE_TDX, "vendor_id": _INTEL_VENDOR_ID, "att_key_type": _ECDSA_P256},
            "body": _present({
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


def _sgx(claims: Claims) -> dict[str, Any]:
    body = claims.body
    attributes = body["attributes"]
    flags = int.from_bytes(attributes[:8], "little")
    return {
        "header": {"att_key_data_0": _TEE_TYPE_SGX, "vendor_id": _INTEL_VENDOR_ID, "att_key_type": _ECDSA_P256},
        "body": _present({
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


def _snp(claims: Claims) -> dict[str, Any]:
    body, endorsement = claims.body, claims.endorsement
    policy, platform = body.get("policy_bits") or {}, body.get("platform_info_bits") or {}
    tcb = body.get("reported_tcb_decoded") or {}
    return {
        **{name: body.get(name) for name in ("measurement", "chip_id", "family_id", "image_id", "id_key_digest",
                                             "author_key_digest", "guest_svn", "vmpl")},
        "report_version": body.get("version"),
        "product": endorsement.get("product_line"), "csp_id": endorsement.get("csp_id"),
        "policy_abi_major": policy.get("abi_major"), "policy_abi_minor": policy.get("abi_minor"),
        "policy_smt_allowed": policy.get("smt_allowed"), "policy_migrate_ma": policy.get("migrate_ma"),
        "policy_debug_allowed": policy.get("debug"), "policy_single_socket": policy.get("single_socket"),
        **{f"reported_tcb_{part}": tcb.get(part) for part in ("fmc", "bootloader", "tee", "snp", "microcode")},
        "platform_tsme_enabled": platform.get("tsme_en"), "platform_smt_enabled": platform.get("smt_en"),
    }


def _sample(claims: Claims) -> dict[str, Any]:
    return {name: claims.body.get(name) for name in ("svn", "launch_digest", "platform_version", "debug")}


_BUILDERS: dict[Tee, Callable[[Claims], dict[str, Any]]] = {
    Tee.TDX: _tdx, Tee.SGX: _sgx, Tee.SNP: _snp, Tee.SAMPLE: _sample,
}
