"""Sealed secrets: only a trusted signer's, only whole, and as another JOSE implementation reads and writes them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from attestation.errors import KeyUnavailable, SetupError
from attestation.secrets import sealed
from attestation.secrets.sealed import Envelope, SealedSecretError, TrustedSigners, Vault
from kbs.protocol.tee_pubkey import ec_point

KID = "kbs:///default/signing-key/1"
KEY_ID = "kbs:///default/kek/1"
NAME = "kbs:///default/secret/1"
SIGNER = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())
TRUSTED = TrustedSigners({KID: SIGNER.public_key()})
VAULT = {"version": "0.1.0", "type": "vault", "name": NAME, "provider": "kbs", "provider_settings": {},
         "annotations": {}}


class Keys(dict[str, bytes]):
    """Key source over a mapping; notes what was asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[str] = []

    def get(self, kid: str) -> bytes:  # type: ignore[override]
        self.asked.append(kid)
        if kid not in self:
            raise KeyUnavailable("key.unknown", "none")
        return self[kid]


@pytest.fixture
def keys() -> Keys:
    return Keys({KEY_ID: bytes(range(32)), NAME: b"from the vault"})


def url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signed(payload: Any, header: Any = None, key: ec.EllipticCurvePrivateKey = SIGNER) -> str:
    """Properly signed, whatever it says."""
    told = url(json.dumps({"alg": "ES256", "kid": KID} if header is None else header).encode())
    body = url(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    r, s = decode_dss_signature(key.sign(f"{told}.{body}".encode(), ec.ECDSA(SHA256())))
    return f"sealed.{told}.{body}.{url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def for_other(key: ec.EllipticCurvePrivateKey) -> ECKey:
    return ECKey.import_key(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def refused(text: str, keys: Keys, signers: TrustedSigners = TRUSTED) -> str:
    with pytest.raises(SealedSecretError) as caught:
        sealed.unseal(text, signers, keys)
    return caught.value.id


def test_vault_secret_is_the_resource_it_names(keys: Keys) -> None:
    assert sealed.unseal(sealed.seal(Vault(name=NAME), KID, SIGNER), TRUSTED, keys) == b"from the vault"
    assert keys.asked == [NAME]


@pytest.mark.parametrize("plaintext", [b"", b"p", bytes(range(256)) * 40])
def test_envelope_opens_with_the_key_it_names(keys: Keys, plaintext: bytes) -> None:
    text = sealed.seal(sealed.envelope(plaintext, KEY_ID, keys[KEY_ID]), KID, SIGNER)
    assert sealed.unseal(text, TRUSTED, keys) == plaintext
    assert keys.asked == [KEY_ID]


def test_form_is_a_compact_jws_that_joserfc_verifies() -> None:
    text = sealed.seal(Vault(name=NAME), KID, SIGNER)
    told = jws.deserialize_compact(text.removeprefix("sealed."), for_other(SIGNER), algorithms=["ES256"])
    assert told.headers() == {"alg": "ES256", "kid": KID}
    assert json.loads(told.payload) == VAULT


def test_what_joserfc_signs_opens(keys: Keys) -> None:
    text = jws.serialize_compact({"alg": "ES256", "kid": KID}, json.dumps(VAULT), for_other(SIGNER),
                                 algorithms=["ES256"])
    assert sealed.unseal("sealed." + text, TRUSTED, keys) == b"from the vault"


def test_signer_chosen_by_the_author_is_not_believed(keys: Keys) -> None:
    assert refused(sealed.seal(Vault(name=NAME), "kbs:///evil/key/1", STRANGER), keys) == "sealed.signer"
    assert refused(sealed.seal(Vault(name=NAME), KID, STRANGER), keys) == "sealed.signature"
    assert refused(sealed.seal(Vault(name=NAME), KID, SIGNER), keys, TrustedSigners({})) == "sealed.signer"
    assert keys.asked == []


def test_name_of_one_trusted_signer_does_not_cover_another(keys: Keys) -> None:
    both = TrustedSigners({KID: SIGNER.public_key(), "other": STRANGER.public_key()})
    assert refused(sealed.seal(Vault(name=NAME), "other", SIGNER), keys, both) == "sealed.signature"


def test_every_changed_bit_is_refused_before_a_key_is_fetched(keys: Keys) -> None:
    text = sealed.seal(Vault(name=NAME), KID, SIGNER)
    parts = text.split(".")
    for index, name in ((1, "header"), (2, "payload"), (3, "signature")):
        octets = raw(parts[index])
        for bit in range(len(octets) * 8):
            changed = bytearray(octets)
            changed[bit // 8] ^= 1 << bit % 8
            told = refused(".".join([*parts[:index], url(bytes(changed)), *parts[index + 1:]]), keys)
            assert told in ("sealed.signature", "sealed.signer", "sealed.header"), name
    assert keys.asked == []


@pytest.mark.parametrize("r_and_s", [bytes(64), b"\xff" * 64, bytes(31) + b"\1" + bytes(32)])
def test_degenerate_signature_is_refused(keys: Keys, r_and_s: bytes) -> None:
    parts = sealed.seal(Vault(name=NAME), KID, SIGNER).split(".")
    assert refused(".".join([*parts[:3], url(r_and_s)]), keys) == "sealed.signature"


@pytest.mark.parametrize("header", [
    {"alg": "none", "kid": KID}, {"alg": "HS256", "kid": KID}, {"alg": "ES384", "kid": KID}, {"alg": "ES256"},
    {"kid": KID}, {"alg": "ES256", "kid": KID, "crit": ["b64"], "b64": False}, {"alg": "ES256", "kid": KID, "jwk": {}},
    {"alg": "ES256", "kid": [KID]}, [],
])
def test_other_header_is_refused(keys: Keys, header: Any) -> None:
    assert refused(signed(VAULT, header), keys) == "sealed.header"


@pytest.mark.parametrize("change", [
    {"version": "0.2.0"}, {"type": "other"}, {"provider": "aliyun"}, {"name": 1}, {"extra": 1},
    {"provider_settings": {"region": "x"}}, {"annotations": []}, {"type": "envelope"},
])
def test_other_payload_is_refused_although_signed(keys: Keys, change: dict[str, Any]) -> None:
    assert refused(signed(VAULT | change), keys) == "sealed.payload"
    assert keys.asked == []


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"version":"0.1.0","version":"0.1.0"}', b"\xff"])
def test_payload_that_is_no_strict_json_object_is_refused(keys: Keys, payload: bytes) -> None:
    assert refused(signed(payload or b" "), keys) == "sealed.payload"


def altered(**change: Any) -> str:
    envelope = sealed.envelope(b"plaintext", KEY_ID, bytes(range(32)))
    return signed(msgspec.to_builtins(envelope) | change)


@pytest.mark.parametrize(("change", "id"), [
    ({"iv": base64.b64encode(bytes(16)).decode()}, "sealed.iv"),
    ({"iv": "!"}, "sealed.iv"),
    ({"iv": base64.b64encode(bytes(12)).decode()}, "sealed.decrypt"),
    ({"encrypted_key": base64.b64encode(bytes(40)).decode()}, "sealed.decrypt"),
    ({"encrypted_key": base64.b64encode(bytes(32)).decode()}, "sealed.encrypted_key"),
    ({"encrypted_data": base64.b64encode(bytes(40)).decode()}, "sealed.decrypt"),
    ({"encrypted_data": ""}, "sealed.decrypt"),
    ({"encrypted_data": "AA=A"}, "sealed.encrypted_data"),
    ({"wrap_type": "A256CTR"}, "sealed.payload"),
])
def test_envelope_that_does_not_open_is_refused(keys: Keys, change: dict[str, Any], id: str) -> None:
    assert refused(altered(**change), keys) == id


@pytest.mark.parametrize("key", [bytes(32), bytes(16), b""])
def test_envelope_with_another_key_is_refused(keys: Keys, key: bytes) -> None:
    keys[KEY_ID] = key
    assert refused(altered(), keys) == ("sealed.decrypt" if len(key) == 32 else "sealed.key")


def test_key_that_cannot_be_had_is_told_by_its_source(keys: Keys) -> None:
    del keys[KEY_ID]
    with pytest.raises(KeyUnavailable) as caught:
        sealed.unseal(altered(), TRUSTED, keys)
    assert caught.value.id == "key.unknown"


@pytest.mark.parametrize("text", [
    "", "sealed", "sealed.", "sealed.a.b", "sealed.a.b.c.d", "vault.a.b.c", " sealed.a.b.c",
    "sealed." + "a" * sealed.MAX_SEALED_CHARACTERS + ".b.c",
])
def test_what_is_no_sealed_secret_is_refused(keys: Keys, text: str) -> None:
    assert refused(text, keys) == "sealed.form"


@given(st.text(max_size=60).map(lambda text: "sealed." + text)
       | st.tuples(*[st.binary(max_size=20).map(url)] * 3).map(lambda parts: "sealed." + ".".join(parts)))
def test_no_text_raises_anything_undocumented(text: str) -> None:
    refused(text, Keys())


def jwk(**change: Any) -> bytes:
    members = {"kty": "EC", "crv": "P-256", **ec_point(SIGNER.public_key().public_numbers())} | change
    return json.dumps(members).encode()


def test_trusted_signers_are_read_from_public_jwks(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "signer.jwk").write_bytes(jwk(alg="ES256", use="sig", kid="x"))
    signers = TrustedSigners.from_files({KID: tmp_path / "signer.jwk"})
    assert sealed.unseal(sealed.seal(Vault(name=NAME), KID, SIGNER), signers, keys) == b"from the vault"


@pytest.mark.parametrize("content", [b"", b"{}", jwk(d="AA"), jwk(crv="P-384"), jwk(kty="oct"), jwk(alg="ES384"),
                                     jwk(x="AA"), jwk(use="enc"), jwk() + b" " * 5000 + b"}"],
                         ids=["empty", "no members", "private", "other curve", "other kind", "other algorithm",
                              "short x", "other use", "too large"])
def test_what_is_no_public_p256_jwk_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "signer.jwk").write_bytes(content)
    with pytest.raises(SetupError) as caught:
        TrustedSigners.from_files({KID: tmp_path / "signer.jwk"})
    assert caught.value.id == "sealed.trusted_key"


def test_absent_jwk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        TrustedSigners.from_files({KID: tmp_path / "absent"})
    assert caught.value.id == "sealed.trusted_key"


def test_envelope_carries_base64_of_the_documented_lengths() -> None:
    made = sealed.envelope(b"12345", KEY_ID, bytes(32))
    assert isinstance(made, Envelope)
    sizes = [len(base64.b64decode(text)) for text in (made.encrypted_key, made.iv, made.encrypted_data)]
    assert sizes == [40, 12, 5 + 16]
