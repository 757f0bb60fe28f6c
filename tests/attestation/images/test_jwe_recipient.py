"""JWE for recipients, beside joserfc; every header that could weaken it is refused."""

from __future__ import annotations

import base64
import json
from functools import partial

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe as jose
from joserfc.jwk import ECKey, RSAKey

from attestation.errors import AttestationError, ImageIntegrityError
from attestation.images.jwe_keys import JwePrivateKey, JweRecipient, KeyAlgorithm
from attestation.images.jwe_recipient import unwrap, wrap

PLAINTEXT = b'{"symkey":"not really"}'
CASES = [
    ("rsa", KeyAlgorithm.RSA_OAEP),
    ("rsa", KeyAlgorithm.RSA_OAEP_256),
    ("p256", KeyAlgorithm.ECDH_ES_A128KW),
    ("p384", KeyAlgorithm.ECDH_ES_A192KW),
    ("p521", KeyAlgorithm.ECDH_ES_A256KW),
]
REGISTRY = jose.JWERegistry(algorithms=[*KeyAlgorithm, "A256GCM"])


def _b64(document) -> str:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _header(text: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(text + "==="))


def _jose_key(key):
    kind = ECKey if hasattr(key, "curve") else RSAKey
    return kind.import_key(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _id(data: bytes, *keys) -> str:
    with pytest.raises(AttestationError) as caught:
        unwrap(data, [JwePrivateKey(key) for key in keys])
    return caught.value.id


@pytest.mark.parametrize(("name", "algorithm"), CASES)
def test_joserfc_opens_ours(keys, name, algorithm):
    made = json.loads(wrap(PLAINTEXT, [JweRecipient(keys[name].public_key(), algorithm)]))
    assert list(made) == ["protected", "encrypted_key", "iv", "ciphertext", "tag"]
    assert _header(made["protected"])["alg"] == algorithm
    assert jose.decrypt_json(made, _jose_key(keys[name]), registry=REGISTRY).plaintext == PLAINTEXT


@pytest.mark.parametrize(("name", "algorithm"), CASES)
def test_we_open_joserfcs(keys, name, algorithm):
    compact = jose.encrypt_compact(
        {"alg": algorithm.value, "enc": "A256GCM"}, PLAINTEXT, _jose_key(keys[name]), registry=REGISTRY
    )
    parts = zip(("protected", "encrypted_key", "iv", "ciphertext", "tag"), compact.split("."), strict=True)
    assert unwrap(json.dumps(dict(parts)).encode(), [JwePrivateKey(keys[name])]) == PLAINTEXT


@pytest.mark.parametrize(("name", "algorithm"), CASES)
def test_we_open_joserfcs_general_form_even_with_one_recipient(keys, name, algorithm):
    made = jose.GeneralJSONEncryption({"enc": "A256GCM"}, PLAINTEXT)
    made.add_recipient({"alg": algorithm.value}, _jose_key(keys[name]))
    data = json.dumps(jose.encrypt_json(made, None, registry=REGISTRY)).encode()
    assert unwrap(data, [JwePrivateKey(keys[name])]) == PLAINTEXT


def test_general_form_opens_for_each_recipient_here_and_with_joserfc(keys):
    data = wrap(PLAINTEXT, [JweRecipient(keys[name].public_key(), algorithm) for name, algorithm in CASES])
    made = json.loads(data)
    assert _header(made["protected"]) == {"enc": "A256GCM"}
    assert [entry["header"]["alg"] for entry in made["recipients"]] == [algorithm for _, algorithm in CASES]
    for name, _ in CASES:
        assert unwrap(data, [JwePrivateKey(keys[name])]) == PLAINTEXT
    # joserfc wants every recipient's key at once.
    parsed = jose.decrypt_json(
        made,
        lambda entry: _jose_key(
            keys[
                dict(zip(map(str, KeyAlgorithm), ("rsa", "rsa", "p256", "p384", "p521"), strict=True))[
                    entry.headers()["alg"]
                ]
            ]
        ),
        registry=REGISTRY,
    )
    assert parsed.plaintext == PLAINTEXT


def test_who_is_no_recipient_learns_just_that(keys):
    for name, algorithm in CASES:
        data = wrap(PLAINTEXT, [JweRecipient(keys[name].public_key(), algorithm)])
        others = [JwePrivateKey(key) for other, key in keys.items() if other != name]
        assert unwrap(data, others) is None
        assert unwrap(data, []) is None
        assert unwrap(data, [*others, JwePrivateKey(keys[name])]) == PLAINTEXT


def test_nothing_is_wrapped_for_nobody():
    with pytest.raises(AttestationError) as caught:
        wrap(PLAINTEXT, [])
    assert caught.value.id == "image.recipients"


@pytest.fixture
def flattened(keys) -> dict:
    return json.loads(wrap(PLAINTEXT, [JweRecipient(keys["p256"].public_key(), KeyAlgorithm.ECDH_ES_A256KW)]))


@pytest.fixture
def general(keys) -> dict:
    return json.loads(
        wrap(
            PLAINTEXT,
            [
                JweRecipient(keys["p256"].public_key(), KeyAlgorithm.ECDH_ES_A256KW),
                JweRecipient(keys["rsa"].public_key(), KeyAlgorithm.RSA_OAEP),
            ],
        )
    )


@pytest.mark.parametrize(
    ("change", "id"),
    [
        ({"crit": ["exp"]}, "image.jwe.header"),
        ({"zip": "DEF"}, "image.jwe.header"),
        ({"jku": "https://host/"}, "image.jwe.header"),
        ({"jwk": {}}, "image.jwe.header"),
        ({"apu": "QQ"}, "image.jwe.header"),
        ({"p2c": 10**9}, "image.jwe.header"),
        ({"enc": "A128GCM"}, "image.jwe.enc"),
        ({"enc": "A128CBC-HS256"}, "image.jwe.enc"),
        ({"enc": None}, "image.jwe.enc"),
        ({"alg": "dir"}, "image.jwe.alg"),
        ({"alg": "RSA1_5"}, "image.jwe.alg"),
        ({"alg": "ECDH-ES"}, "image.jwe.alg"),
        ({"alg": "PBES2-HS512+A256KW"}, "image.jwe.alg"),
        ({"alg": "ecdh-es+a256kw"}, "image.jwe.alg"),
        ({"alg": []}, "image.jwe.alg"),
        ({"alg": "RSA-OAEP"}, "image.jwe.header"),
        ({"epk": "x"}, "image.jwe.epk"),
        ({"epk": {"kty": "EC"}}, "image.jwe.epk"),
    ],
    ids=str,
)
def test_headers_off_the_list_are_refused(flattened, keys, change, id):
    flattened["protected"] = _b64(_header(flattened["protected"]) | change)
    assert _id(json.dumps(flattened).encode(), keys["p256"]) == id


@pytest.mark.parametrize(
    "change", [{"y": 0}, {"crv": "P-192"}, {"crv": "P-384"}, {"kty": "OKP"}, {"x": "AA"}, {"d": "AA"}], ids=str
)
def test_ephemeral_keys_of_another_shape_or_off_the_curve_are_refused(flattened, keys, change):
    header = _header(flattened["protected"])
    header["epk"] |= {"y": header["epk"]["x"]} if change == {"y": 0} else change
    flattened["protected"] = _b64(header)
    assert _id(json.dumps(flattened).encode(), keys["p256"]) in ("image.jwk", "image.jwe.epk")


@pytest.mark.parametrize("name", ["protected", "iv", "ciphertext", "tag", "encrypted_key"])
def test_missing_and_damaged_members_are_refused(flattened, keys, outcome, name):
    for value in (None, "", 5, "****", flattened[name] + "=", flattened[name] + "AAAA", "A"):
        damaged = {**flattened, name: value}
        if value is None:
            del damaged[name]
        found = outcome(partial(unwrap, json.dumps(damaged).encode(), [JwePrivateKey(keys["p256"])]))
        if found is None:
            assert (name, value) in (("encrypted_key", ""), ("encrypted_key", flattened[name] + "AAAA"))
        else:
            assert found in ("image.jwe", "image.jwe.tag")


@pytest.mark.parametrize(
    "more", [{"unprotected": {"alg": "dir"}}, {"aad": "QQ"}, {"header": {"alg": "dir"}}, {"extra": 1}], ids=str
)
def test_unauthenticated_members_are_refused(flattened, keys, more):
    assert _id(json.dumps(flattened | more).encode(), keys["p256"]) == "image.jwe"


def test_both_forms_at_once_are_refused(general, keys):
    assert unwrap(json.dumps(general).encode(), [JwePrivateKey(keys["rsa"])]) == PLAINTEXT
    repeated = general | {"encrypted_key": general["recipients"][0]["encrypted_key"]}
    assert unwrap(json.dumps(repeated).encode(), [JwePrivateKey(keys["rsa"])]) == PLAINTEXT
    foreign = general | {"encrypted_key": general["recipients"][1]["encrypted_key"]}
    assert _id(json.dumps(foreign).encode(), keys["rsa"]) == "image.jwe"


@pytest.mark.parametrize(
    "recipients",
    [
        [],
        None,
        {},
        ["x"],
        [{}],
        [{"header": {}, "encrypted_key": "AA"}],
        [{"header": {"alg": "RSA-OAEP", "enc": "A256GCM"}, "encrypted_key": "AA"}],
        [{"header": {"alg": "RSA-OAEP"}, "encrypted_key": "AA", "x": 1}],
        [{"header": {"alg": "RSA-OAEP"}, "encrypted_key": "AA"}] * 65,
    ],
    ids=lambda v: str(v)[:60],
)
def test_recipients_of_another_shape_are_refused(general, keys, recipients):
    assert _id(json.dumps(general | {"recipients": recipients}).encode(), keys["rsa"]) in (
        "image.jwe",
        "image.jwe.header",
    )


def test_altered_content_is_an_integrity_error_not_somebody_elses(flattened, keys):
    flattened["tag"] = _b64(bytes(16))
    with pytest.raises(ImageIntegrityError) as caught:
        unwrap(json.dumps(flattened).encode(), [JwePrivateKey(keys["p256"])])
    assert caught.value.id == "image.jwe.tag"


def test_protected_header_is_authenticated(flattened, keys):
    flattened["protected"] = _b64(_header(flattened["protected"]) | {"kid": "added"})
    assert _id(json.dumps(flattened).encode(), keys["p256"]) == "image.jwe.tag"


def test_content_key_of_another_length_is_refused(keys):
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA256

    made = json.loads(wrap(PLAINTEXT, [JweRecipient(keys["rsa"].public_key(), KeyAlgorithm.RSA_OAEP_256)]))
    short = keys["rsa"].public_key().encrypt(bytes(16), OAEP(MGF1(SHA256()), SHA256(), None))
    assert _id(json.dumps(made | {"encrypted_key": _b64(short)}).encode(), keys["rsa"]) == "image.jwe"


def test_oversized_and_deep_input_is_refused(keys):
    assert _id(b'{"protected":"' + b"A" * 200_000 + b'"}', keys["rsa"]) == "image.jwe"
    assert _id(b"[" * 100_000, keys["rsa"]) == "image.jwe"


_VALUE = (
    st.none()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from([_b64({"alg": "RSA-OAEP", "enc": "A256GCM"}), _b64(bytes(12)), _b64(bytes(16))])
)


@settings(max_examples=200)
@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(["protected", "iv", "ciphertext", "tag", "encrypted_key", "recipients", "header"]),
        _VALUE
        | st.lists(
            st.dictionaries(
                st.sampled_from(["header", "encrypted_key"]),
                _VALUE | st.dictionaries(st.sampled_from(["alg", "enc", "epk"]), _VALUE),
            )
        ),
        min_size=3,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_input_raises_anything_but_the_documented_errors(keys, outcome, data):
    found = outcome(lambda: unwrap(data, [JwePrivateKey(keys["rsa"]), JwePrivateKey(keys["p256"])]))
    assert found is None or found.startswith(("image.jwe", "image.jwk"))
