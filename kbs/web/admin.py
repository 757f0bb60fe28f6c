"""What administrators do with policies, reference values, secrets' versions, tokens and the audit log.

The first routes of each kind have the bodies that Confidential Containers tools send; the others are for ``kbs --url``.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from kbs.audit.established import whole
from kbs.errors import MalformedRequest
from kbs.protocol.messages import API_PREFIX
from kbs.protocol.resource_uri import ResourcePath
from kbs.services.broker import Broker
from kbs.services.shelf import ATTESTATION_POLICIES, RESOURCE_POLICIES, RESOURCE_POLICY
from kbs.web.access import Access
from kbs.web.exchange import Answer, call, json_answer, whose
from kbs.web.reading import MAX_POLICY_BODY, MAX_SMALL_BODY, json_body, text
from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes
from verifier.reference_values.provider import MAX_MESSAGE_BYTES

MAX_LISTED_RECORDS = 1000


def blueprint(broker: Broker) -> Blueprint:
    """Every administrative route but those of `kbs.web.resource`."""
    routes = Blueprint("admin", __name__, url_prefix=API_PREFIX)
    _policies(routes, broker)
    _reference_values(routes, broker)
    _secrets(routes, broker)
    _audit(routes, broker)
    return routes


def _policies(routes: Blueprint, broker: Broker) -> None:
    administration = broker.administration

    @routes.post("/attestation-policy", access=Access.ADMIN)
    def set_attestation_policy() -> Answer:
        members = json_body(MAX_POLICY_BODY, "type", "policy_id", "policy")
        if members["type"] != "rego":
            raise MalformedRequest("admin.policy_type", "policies are written in Rego", expected="rego")
        return json_answer(administration.set_attestation_policy(text(members, "policy_id"), _rego(members), *whose()))

    @routes.post("/resource-policy", access=Access.ADMIN)
    def set_resource_policy() -> Answer:
        source = _rego(json_body(MAX_POLICY_BODY, "policy"))
        return json_answer(administration.set_resource_policy(source, *whose()))

    @routes.get("/resource-policy", access=Access.ADMIN)
    def list_resource_policies() -> Answer:
        return json_answer([RESOURCE_POLICY])

    @routes.get("/attestation-policy", access=Access.ADMIN)
    def list_attestation_policies() -> Answer:
        return json_answer([entry.key for entry in administration.policies(ATTESTATION_POLICIES)])

    for space in (ATTESTATION_POLICIES, RESOURCE_POLICIES):
        _one_policy(routes, broker, space)


def _one_policy(routes: Blueprint, broker: Broker, space: str) -> None:
    def get(name: str) -> Answer:
        return Answer(broker.administration.policy(space, name).encode(), content_type="text/plain; charset=utf-8")

    def delete(name: str) -> Answer:
        broker.administration.delete_policy(space, name, *whose())
        return json_answer({})

    routes.add_url_rule(f"/{space}/<name>", f"get_{space}", get, methods=["GET"], access=Access.ADMIN)
    routes.add_url_rule(f"/{space}/<name>", f"delete_{space}", delete, methods=["DELETE"], access=Access.ADMIN)


def _reference_values(routes: Blueprint, broker: Broker) -> None:
    administration = broker.administration

    @routes.post("/reference-value", access=Access.ADMIN)
    def register() -> Answer:
        return json_answer(administration.register_reference_values(call().body(MAX_MESSAGE_BYTES), *whose()))

    @routes.get("/reference-value", access=Access.ADMIN)
    def listed() -> Answer:
        return json_answer([{"name": value.name, "value": value.plain(), "expires": value.expires}
                            for value in administration.reference_values()])

    @routes.get("/reference-value/<path:name>", access=Access.ADMIN)
    def get(name: str) -> Answer:
        return json_answer(administration.reference_value(name).plain())

    @routes.delete("/reference-value/<path:name>", access=Access.ADMIN)
    def delete(name: str) -> Answer:
        administration.delete_reference_value(name, *whose())
        return json_answer({})


def _secrets(routes: Blueprint, broker: Broker) -> None:
    administration = broker.administration

    @routes.get("/admin/resources", access=Access.ADMIN)
    def list_resources() -> Answer:
        return json_answer(administration.resources(call().args.get("prefix", "")))

    @routes.get("/admin/resources/<repository>/<type>/<tag>", access=Access.ADMIN)
    def list_versions(repository: str, type: str, tag: str) -> Answer:
        return json_answer(administration.resource_versions(ResourcePath(repository, type, tag)))

    @routes.post("/admin/resources/<repository>/<type>/<tag>/rollback", access=Access.ADMIN)
    def roll_back(repository: str, type: str, tag: str) -> Answer:
        version = _number(json_body(MAX_SMALL_BODY, "version")["version"], "version")
        path = ResourcePath(repository, type, tag)
        return json_answer(administration.roll_back_resource(path, version, *whose()))

    @routes.post("/admin/revoked-tokens", access=Access.ADMIN)
    def revoke() -> Answer:
        administration.revoke_token(text(json_body(MAX_SMALL_BODY, "id"), "id"), *whose())
        return json_answer({})


def _audit(routes: Blueprint, broker: Broker) -> None:
    @routes.get("/admin/audit", access=Access.ADMIN)
    def list_records() -> Answer:
        asked = call().args.get("last", "100")
        last = _number(int(asked) if asked.isascii() and asked.isdigit() else None, "last")
        return json_answer(whole(broker.audit.last(min(last, MAX_LISTED_RECORDS)), broker.audit))

    @routes.get("/admin/audit/head", access=Access.ADMIN)
    def head() -> Answer:
        found = broker.audit.head()
        return json_answer({"count": found.count, "head": found.hash.hex()})


def _rego(members: dict[str, Any]) -> str:
    """The policy's text: base64url without padding on the wire; padding is borne with."""
    try:
        return base64_bytes(text(members, "policy").rstrip("="), "policy", url=True).decode()
    except (MalformedEvidence, UnicodeDecodeError):
        raise MalformedRequest("request.policy", "the policy is not base64url of UTF-8 text") from None


def _number(value: Any, name: str) -> int:
    if type(value) is not int or not 0 < value < 2**53:
        raise MalformedRequest("request.number", f"{name} must be a positive whole number")
    return value
