"""The DER writer against the encodings of X.690 and against the verifier's own reader."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from verifier.formats import der as reader
from verifier.software_tee import der


@pytest.mark.parametrize(("value", "encoded"), [
    (0, "020100"), (127, "02017f"), (128, "02020080"), (0xD9, "020200d9"), (256, "02020100"), (-1, "0201ff"),
    (-128, "020180"), (-129, "0202ff7f"),
])
def test_integers_take_the_fewest_octets(value: int, encoded: str) -> None:
    assert der.integer(value).hex() == encoded


@given(st.integers(min_value=0, max_value=1 << 200))
def test_integers_are_read_back(value: int) -> None:
    assert reader.unsigned(reader.only(der.integer(value), "test", reader.Tag.INTEGER), "test") == value


@given(st.binary(max_size=70_000))
def test_lengths_are_minimal_and_read_back(content: bytes) -> None:
    assert reader.only(der.octet_string(content), "test", reader.Tag.OCTET_STRING) == content


@pytest.mark.parametrize(("dotted", "encoded"), [
    ("1.2.840.113741.1.13.1.2.18", "060b2a864886f84d010d010212"), ("2.5.29.35", "0603551d23"),
    ("2.999.1", "0603883701"),
])
def test_object_identifiers(dotted: str, encoded: str) -> None:
    assert der.oid(dotted).hex() == encoded


@pytest.mark.parametrize(("bits", "encoded"), [
    ((), "030100"), ((0, 1), "030206c0"), ((5, 6), "03020106"), ((5,), "03020204"), ((8,), "0303070080"),
])
def test_named_bits_leave_trailing_zeros_out(bits: tuple[int, ...], encoded: str) -> None:
    assert der.named_bits(*bits).hex() == encoded


def test_times_change_their_type_with_the_year_2050() -> None:
    last = int(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    assert der.time(last) == b"\x17\x0d491231235959Z"
    assert der.time(last + 1) == b"\x18\x0f20500101000000Z"


def test_sets_are_sorted() -> None:
    assert der.set_of(der.integer(2), der.integer(1)) == der.set_of(der.integer(1), der.integer(2))


def test_names_are_readable_by_others() -> None:
    from verifier.software_tee.certificates import COMMON_NAME, COUNTRY, encoded_name
    encoded = encoded_name(((COMMON_NAME, "Ü"), (COUNTRY, "US")))
    assert encoded == x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Ü"),
                                 x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "US")]).public_bytes()
