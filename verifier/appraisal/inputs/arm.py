"""Arm CCA: both halves of a token by the names that Veraison and Trustee give them; byte strings in hexadecimal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.appraisal.inputs.members import present
from verifier.claims import Claims

_PLATFORM = ("profile", "challenge", "implementation_id", "instance_id", "config", "hash_algo_id")
_REALM = ("profile", "challenge", "personalization_value", "hash_algo_id", "public_key", "initial_measurement",
          "public_key_hash_algo_id")


def cca(claims: Claims) -> dict[str, Any]:
    """A realm and its platform. ``cpak_trust``: who says that the platform's key is one."""
    platform, realm = claims.body["platform"], claims.body["realm"]
    return {
        "platform": _named("platform", platform, _PLATFORM) | {
            "cca-platform-lifecycle": platform["lifecycle_name"],
            "cca-platform-sw-components": [_component(component) for component in platform["sw_components"]]},
        "realm": _named("realm", realm, _REALM) | {
            "cca-realm-extensible-measurements": [value.hex() for value in realm["extensible_measurements"]]},
        **{name: claims.endorsement.get(name) for name in ("cpak_trust", "cpak_sha256")},
    }


def _named(half: str, claims: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return present({f"cca-{half}-{name.replace('_', '-')}": claims.get(name) for name in names})


def _component(component: Mapping[str, Any]) -> dict[str, Any]:
    return present({name.replace("_", "-"): value for name, value in component.items()})
