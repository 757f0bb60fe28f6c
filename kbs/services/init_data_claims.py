"""What policies and tokens see of a guest's init data, after its digest was found in the evidence.

The document's ``[data]`` table; its entries ``aa.toml`` and ``cdh.toml`` as the values they hold, and the block
``policy_data := {…}`` at the end of ``policy.rego`` as ``agent_policy_claims``. An entry that cannot be read so stays
text: a policy that asks for a member of it then finds nothing, and nothing is never a yes.
"""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from typing import Any

from kbs.protocol.init_data import InitData
from verifier.errors import MalformedEvidence
from verifier.formats.strict import json_object
from verifier.results.verdict import jsonable

TOML_ENTRIES = ("aa.toml", "cdh.toml")
POLICY_ENTRY = "policy.rego"

# The standard reader takes quadratic time over dotted keys and deep nesting; configuration files have few of either.
_MAX_TOML_CHARACTERS = 64 * 1024
_MAX_TOML_STRUCTURE = 512
_POLICY_DATA = re.compile(r"^policy_data\s*:=\s*(\{.*\})\s*\Z", re.MULTILINE | re.DOTALL)


def init_data_claims(document: InitData) -> dict[str, Any]:
    """The claims of one parsed document, as plain JSON values."""
    claims: dict[str, Any] = dict(document.data)
    for name in TOML_ENTRIES:
        if name in claims:
            claims[name] = _toml(claims[name])
    agent_policy = _POLICY_DATA.search(document.data.get(POLICY_ENTRY, ""))
    if agent_policy is not None:
        with suppress(MalformedEvidence):
            claims["agent_policy_claims"] = json_object(agent_policy.group(1), "policy_data")
    return claims


def _toml(text: str) -> Any:
    if len(text) > _MAX_TOML_CHARACTERS or sum(map(text.count, ".[{")) > _MAX_TOML_STRUCTURE:
        return text
    try:
        return jsonable(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
