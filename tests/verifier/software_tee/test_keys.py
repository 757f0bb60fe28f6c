"""Keys: what a seed determines, what signatures hold, and how keys are kept."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verifier.errors import SetupError
from verifier.software_tee.keys import KeyRing, derive
from verifier.software_tee.primes import derive_rsa_key


def test_a_seed_gives_the_same_keys_for_ever(seed: bytes) -> None:
    """Known answers: if these change, every recording made from a seed changes with them."""
    ring = KeyRing(seed)
    assert hashlib.sha256(ring.p256("intel/root").public_key).hexdigest() == (
        "76abe8a592ca117bebf224b8b775fdf0feb5ab18890f11f41e81cc9760634d70")
    assert hashlib.sha256(ring.p384("amd/Milan/vcek").public_key).hexdigest() == (
        "1cb41a1f206ff8391daa897227ad2b2f65340c6157635a4c20e1db947be0cd21")


def test_an_rsa_seed_gives_the_same_key_for_ever(seed: bytes) -> None:
    key = derive_rsa_key(derive(seed, "rsa", 32), 1024)
    assert hashlib.sha256(key.private_numbers().p.to_bytes(64, "big")).hexdigest() == (
        "599b83bc28ff37711e7d47476566f58ad0cf937dfca157fe5e10fb9a158b7d1f")
    assert derive_rsa_key(derive(seed, "rsa", 32), 1024).private_numbers() == key.private_numbers()


def test_an_rsa_key_of_full_size_is_found(seed: bytes) -> None:
    """The library checks the key's primes when it is built from its numbers."""
    key = KeyRing(seed).rsa_pss("amd/Milan/ark")
    numbers = key.private.private_numbers()
    assert numbers.public_numbers.n.bit_length() == 4096
    numbers.private_key()


def test_another_seed_or_label_gives_other_keys(seed: bytes) -> None:
    ring, other = KeyRing(seed), KeyRing(seed[::-1])
    assert ring.p256("a").public_key != other.p256("a").public_key
    assert ring.p256("a").public_key != ring.p256("b").public_key
    assert KeyRing(None).p256("a").public_key != KeyRing(None).p256("a").public_key


def test_a_short_seed_is_refused() -> None:
    with pytest.raises(SetupError) as caught:
        KeyRing(b"fifteen bytes..")
    assert caught.value.id == "software_tee.seed"


def test_ecdsa_signatures_are_deterministic_and_hold(seed: bytes) -> None:
    key = KeyRing(seed).p256("a")
    raw = key.sign_raw(b"message")
    assert raw == key.sign_raw(b"message")
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.private.public_key().verify(der, b"message", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("message", [b"", b"message", bytes(1000)])
def test_pss_signatures_are_deterministic_and_hold(seed: bytes, message: bytes) -> None:
    from verifier.software_tee.keys import RsaKey
    key = RsaKey(derive_rsa_key(seed, 2048))
    signature = key.sign(message)
    assert signature == key.sign(message)
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    key.private.public_key().verify(signature, message, scheme, hashes.SHA384())


def test_the_public_point_is_the_keys_own(seed: bytes) -> None:
    key = KeyRing(seed).p256("a")
    numbers = key.private.public_key().public_numbers()
    assert key.public_xy == numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def test_keys_are_kept_where_only_their_owner_can_read(tmp_path: Path) -> None:
    ring = KeyRing(None)
    ec_key, rsa_key = ring.p256("intel/root"), ring.rsa_pss("amd/Milan/ark", 2048)
    ring.save(tmp_path / "keys")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()} == {0o600}
    again = KeyRing.load(tmp_path / "keys")
    assert again.p256("intel/root").public_key == ec_key.public_key
    assert again.rsa_pss("amd/Milan/ark", 2048).public_key == rsa_key.public_key


def test_a_loaded_ring_makes_no_new_keys(tmp_path: Path) -> None:
    KeyRing(None).save(tmp_path / "keys")
    with pytest.raises(SetupError) as caught:
        KeyRing.load(tmp_path / "keys").p256("intel/root")
    assert caught.value.id == "software_tee.key"


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    ring = KeyRing(None)
    ring.p256("a")
    for ask in (ring.p384, ring.rsa_pss):
        with pytest.raises(SetupError) as caught:
            ask("a")
        assert caught.value.id == "software_tee.key"


def test_keys_do_not_show_themselves(seed: bytes) -> None:
    from verifier.software_tee.intel import SmallIntel
    shown = repr(KeyRing(seed).p256("a")) + repr(SmallIntel.create(seed, at=0)) + repr(KeyRing(seed))
    assert seed.hex() not in shown
    assert "PrivateKey" not in shown
