"""The one gate between a token and a secret.

    1  who asks            the session's token, else the bearer token; verified, not expired, not revoked
    2  may they            the release policy over the token's claims; nothing but true is a yes
    3  what is it          the plugin says what would be released, without touching it
    4  written down        the decision is in the audit log before anything opens
    5  opened and sealed   plugin to plaintext to JWE for the key that the evidence bound
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kbs import metrics
from kbs.audit.record import AuditLog, Kind, Outcome
from kbs.errors import KbsError, PolicyDenied, ResourceNotFound, SessionInvalid, TokenInvalid
from kbs.plugins.base import Located, Plugin
from kbs.protocol import jwe
from kbs.services.decisions import Case, Refused, as_kbs_error, thumbprint
from kbs.services.shelf import InForce, Shelf
from kbs.services.tokens import GuestToken, Tokens
from verifier.errors import SetupError as VerifierSetupError

ALLOW = "data.policy.allow"
WHY = "data.policy.why"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: ``/kbs/v0/<plugin>/<path…>?<query>``, decoded once."""

    plugin: str
    path: tuple[str, ...]
    query: str = ""
    arguments: Mapping[str, str] | None = None


class ReleaseGate:
    """``token_of`` gives a session's token by its cookie, at a moment."""

    def __init__(self, *, token_of: Callable[[str, int], str], tokens: Tokens, shelf: Shelf, audit: AuditLog,
                 plugins: Iterable[Plugin]) -> None:
        self._token_of = token_of
        self._tokens = tokens
        self._shelf = shelf
        self._audit = audit
        self._plugins = {plugin.name: plugin for plugin in plugins}

    def release(self, wanted: Wanted, *, cookie: str | None, bearer: str | None, at: int, peer: str) -> bytes:
        """The secret as a flattened JWE. Raises `Refused`; either way the audit log has it first."""
        case = Case(Kind.RELEASE, {"peer": peer, "plugin": wanted.plugin, "resource": "/".join(wanted.path)})
        try:
            plugin = self._plugin(wanted)
            in_force = self._shelf.in_force()
            token = self._who(case, in_force, cookie, bearer, at)
            self._may(case, in_force, token, wanted)
            located = plugin.locate(wanted.path, wanted.query)
            case.subject |= {"resource": located.name, "version": located.version}
            self._audit.append(case.entry(), at)
        except Exception as error:  # noqa: BLE001 - every refusal is written down, whatever caused it
            raise self._ended(case, as_kbs_error(error), Outcome.REFUSED, at) from None
        return self._open(case, plugin, located, token, at)

    def _plugin(self, wanted: Wanted) -> Plugin:
        plugin = self._plugins.get(wanted.plugin)
        if plugin is None:
            raise ResourceNotFound("release.plugin", "there is no such plugin")
        return plugin

    def _who(self, case: Case, in_force: InForce, cookie: str | None, bearer: str | None, at: int) -> GuestToken:
        token = self._tokens.verify(self._presented(cookie, bearer, at), at)
        case.subject |= {"token": token.id, "key": thumbprint(token.jwk)}
        if token.id in in_force.revoked:
            raise TokenInvalid("token.revoked", "the token was revoked")
        return token

    def _presented(self, cookie: str | None, bearer: str | None, at: int) -> str:
        if not cookie and not bearer:
            raise TokenInvalid("token.missing", "neither an attested session nor a token was presented")
        if cookie:
            try:
                return self._token_of(cookie, at)
            except SessionInvalid:
                if not bearer:
                    raise
        return bearer or ""

    def _may(self, case: Case, in_force: InForce, token: GuestToken, wanted: Wanted) -> None:
        policy = in_force.release_policy
        asked = {"plugin": wanted.plugin, "resource-path": list(wanted.path), "query": dict(wanted.arguments or {})}
        answer = policy.evaluate(ALLOW, input=token.claims, data=asked)
        case.decision |= {"policy_digest": policy.digest, "allow": answer, "status": _statuses(token)}
        if answer is not True:
            case.decision["rules"] = self._why(in_force, token, asked)
            raise PolicyDenied("release.policy", "the release policy does not allow this")

    @staticmethod
    def _why(in_force: InForce, token: GuestToken, asked: Mapping[str, Any]) -> Any:
        """The policy's own account of its rules, None where it gives none."""
        try:
            return in_force.release_policy.evaluate(WHY, input=token.claims, data=asked)
        except VerifierSetupError as error:
            return {"error": error.id}

    def _open(self, case: Case, plugin: Plugin, located: Located, token: GuestToken, at: int) -> bytes:
        try:
            sealed = jwe.encrypt(plugin.open(located), token.key)
        except Exception as error:  # noqa: BLE001 - what was allowed and then failed is written down too
            raise self._ended(case, as_kbs_error(error), Outcome.FAILED, at) from None
        metrics.RELEASES.labels(plugin.name, "allowed").inc()
        return sealed

    def _ended(self, case: Case, error: KbsError, outcome: Outcome, at: int) -> Refused:
        record = self._audit.append(case.entry(error, outcome), at)
        known = case.subject["plugin"] if case.subject["plugin"] in self._plugins else "unknown"
        metrics.RELEASES.labels(known, outcome.value).inc()
        return Refused(error, record.reference)


def _statuses(token: GuestToken) -> dict[str, Any]:
    submods = token.claims["submods"]
    return {name: part.get("ear.status") for name, part in submods.items() if isinstance(part, dict)}
