"""Every single bit of a quote and of its PCK chain, turned over one at a time: never authentic.

Genuine quotes and a small Intel's, of each format. The certificates are altered inside their DER, because the text
around it is transport: of the text, every bit is turned over as well, and those that mean nothing are listed here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography.x509 import load_der_x509_certificate

from verifier import Binding, Collateral, Evidence, Roots, Tee, Verdict
from verifier.checks.prepared import Prepared
from verifier.collateral.files import load
from verifier.formats.quote import Quote
from verifier.verify import verify

UNBOUND = Binding.insecure_unbound()
# The X.509 library warns of what altered certificates say before it refuses them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

GENUINE = {"tdx-v4": "tdx/dcapqvl-v4-b0c06f", "tdx-v5-td15": "tdx/gotdxguest-v5-td15",
           "tdx-v5-td15ex": "tdx/dcapqvl-v5-td15ex", "sgx-v3": "sgx/dcapqvl-00a067"}
BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----\n?")


@dataclass(frozen=True)
class Subject:
    """A quote that is authentic, and the trust to judge its alterations with, prepared once."""

    tee: Tee
    quote: bytes
    collateral: Collateral
    roots: Roots
    at: int
    prepared: Prepared

    def judge(self, quote: bytes) -> Verdict:
        return verify(Evidence(self.tee, quote), collateral=self.collateral, roots=self.roots, at=self.at,
                      binding=UNBOUND, prepared=self.prepared)

    @property
    def parsed(self) -> Quote:
        return Quote.from_bytes(self.quote)

    def with_chain(self, chain: bytes) -> bytes:
        """The quote with another chain, every length right."""
        parsed = self.parsed
        return replace(parsed, certification=replace(parsed.certification, certification_data=chain)).to_bytes()


@pytest.fixture
def software(intel_case: Callable[[str], Any]) -> Callable[[str], Subject]:
    def make(kind: str) -> Subject:
        case = intel_case(kind)
        return authentic(Subject(case.tee, case.raw, Collateral(intel=case.intel_collateral), case.trusted, case.at,
                                 Prepared()))
    return make


@pytest.fixture
def genuine(corpus: Any) -> Callable[[str], Subject]:
    def make(kind: str) -> Subject:
        case = corpus.case(GENUINE[kind])
        folder, appraisal = corpus.folder(case), case["appraisals"][0]
        name = "quote.bin" if (folder / "quote.bin").exists() else "quote.dat"
        return authentic(Subject(Tee(case["tee"]), (folder / name).read_bytes(),
                                 load([folder / appraisal["collateral"]]), Roots.makers(), appraisal["at"], Prepared()))
    return make


@pytest.fixture(params=["genuine", "software"])
def subject_of(request: pytest.FixtureRequest) -> Callable[[str], Subject]:
    return request.getfixturevalue(request.param)


def authentic(subject: Subject) -> Subject:
    assert subject.judge(subject.quote).authentic is True
    return subject


def flips(data: bytes, start: int = 0, end: int | None = None, *,
          bits: range = range(8)) -> Iterator[tuple[int, bytes]]:
    """Each bit's offset with the data in which it is turned over."""
    altered = bytearray(data)
    for position in range(start, len(data) if end is None else end):
        for bit in bits:
            altered[position] ^= 1 << bit
            yield 8 * position + bit, bytes(altered)
            altered[position] ^= 1 << bit


def regions(quote: Quote) -> dict[str, tuple[int, int, set[str]]]:
    """Parts of a quote: start, end, and what may refuse a bit in it (a dotted tail of the error's id)."""
    signed, auth = len(quote.signed), len(quote.certification.qe_auth_data)
    form = {"format.quote", "quote.version", "quote.att_key_type", "quote.tee_type", "quote.body_type",
            "quote.certification_type", "quote.tee", "quote.vendor"}
    layout: list[tuple[str, int, set[str]]] = [
        ("header, descriptor and body", signed, {"quote.signature", *form}),
        ("length of the signature data", 4, form),
        ("quote signature", 64, {"quote.signature"}),
        ("attestation key", 64, {"qe_report.binding"}),
        ("outer certification data", 0 if quote.header.version == 3 else 6, form),
        ("QE report", 384, {"qe_report.signature"}),
        ("QE report signature", 64, {"qe_report.signature"}),
        ("length of the authentication data", 2, {"qe_report.binding", *form}),
        ("authentication data", auth, {"qe_report.binding"}),
        ("type and length of the chain", 6, {"pck_chain.length", "collateral.certificate", "collateral.pck_chain",
                                             *form}),
    ]
    found, position = {}, 0
    for name, size, reasons in layout:
        found[name] = (position, position + size, reasons)
        position += size
    return found


@pytest.mark.parametrize("kind", ["tdx-v4", "tdx-v5-td15", "sgx-v3", pytest.param(
    "tdx-v5-td15ex", marks=pytest.mark.slow)])
def test_no_bit_of_a_quote_before_its_chain_can_be_turned_over(subject_of, kind):
    subject, turned = subject_of(kind), 0
    for name, (start, end, reasons) in regions(subject.parsed).items():
        for bit, quote in flips(subject.quote, start, end):
            verdict = subject.judge(quote)
            if "chain" in name and verdict.error.id == "collateral.pck_chain":
                assert verdict.authentic is None, (name, bit)  # it says that it brings no chain: nothing is decided
            else:
                assert verdict.authentic is False, (name, bit)
            assert verdict.error.id.removeprefix(f"{subject.tee}.") in reasons, (name, bit, verdict.error)
            turned += 1
    assert turned >= 8 * 1000


def certificates(chain: bytes) -> list[bytes]:
    return [base64.b64decode(block) for block in BLOCK.findall(chain)]


def pem(*ders: bytes) -> bytes:
    return b"".join(b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
                    for der in ders)


def test_no_bit_of_the_certificates_in_a_genuine_quote_can_be_turned_over(genuine):
    """The root is compared whole with a hash: one bit of each of its bytes here, all of them in the slow tests."""
    no_bit_of_the_certificates_can_be_turned_over(genuine("tdx-v4"), of_the_root=range(1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tdx-v4", "tdx-v5-td15", "sgx-v3"])
def test_no_bit_at_all_of_the_certificates_in_a_quote_can_be_turned_over(subject_of, kind):
    no_bit_of_the_certificates_can_be_turned_over(subject_of(kind), of_the_root=range(8))


def no_bit_of_the_certificates_can_be_turned_over(subject: Subject, *, of_the_root: range) -> None:
    ders = certificates(subject.parsed.certification.certification_data)
    assert len(ders) == 3
    assert subject.judge(subject.with_chain(pem(*ders))).authentic is True
    for index, der in enumerate(ders):
        before, after = pem(*ders[:index]), pem(*ders[index + 1:])
        for bit, altered in flips(der, bits=of_the_root if index == 2 else range(8)):
            verdict = subject.judge(subject.with_chain(before + pem(altered) + after))
            assert (verdict.authentic, verdict.claims) == (False, None), (index, bit)
            assert verdict.error.id != "verifier.internal", (index, bit)


def test_a_signature_of_a_certificate_has_one_encoding(intel_case):
    """Unused bits at the end of its BIT STRING would be a second one, for every other signature."""
    found = 0
    for serial in range(1, 9):
        case = intel_case().altered(pck=lambda p, serial=serial: replace(p, serial=serial))
        subject = Subject(case.tee, case.raw, Collateral(intel=case.intel_collateral), case.trusted, case.at,
                          Prepared(0))
        ders = certificates(case.maker.pck_chain)
        signature = load_der_x509_certificate(ders[0]).signature
        found += signature[-1] % 2 == 0
        for unused in range(1, 8):
            leaf = bytearray(ders[0])
            leaf[-len(signature) - 1] = unused
            verdict = subject.judge(subject.with_chain(pem(bytes(leaf), *ders[1:])))
            assert (verdict.authentic, verdict.error.id) == (False, "collateral.certificate"), (serial, unused)
    assert found >= 2


def indifferent_bits(subject: Subject, positions: set[int]) -> set[tuple[bytes, bytes]]:
    """Bytes of the chain's text that, altered in one bit, leave the quote authentic: what they were and became."""
    chain = subject.parsed.certification.certification_data
    ders, indifferent = certificates(chain), set()
    for position in positions:
        for bit, altered in flips(chain, position, position + 1):
            verdict = subject.judge(subject.with_chain(altered))
            assert verdict.error is None or verdict.error.id != "verifier.internal", bit
            if verdict.authentic:
                assert certificates(altered) == ders, bit
                indifferent.add((chain[position : position + 1], altered[position : position + 1]))
    return indifferent


def test_the_bits_of_the_frame_of_the_certificates_that_mean_nothing(subject_of):
    """A NUL after the last block may as well be a space; each other bit of what is not base64 refuses."""
    subject = subject_of("tdx-v4")
    chain = subject.parsed.certification.certification_data
    inside = {position for match in BLOCK.finditer(chain) for position in range(*match.span(1))
              if chain[position : position + 1] != b"\n"}
    expected = {(b"\x00", b" ")} if chain.endswith(b"\x00") else set()
    assert indifferent_bits(subject, set(range(len(chain))) - inside) == expected


@pytest.mark.slow
def test_the_bits_of_the_text_of_the_certificates_that_mean_nothing(subject_of):
    """As above, for all of the text: there is one base64 of a certificate."""
    subject = subject_of("tdx-v4")
    chain = subject.parsed.certification.certification_data
    expected = {(b"\x00", b" ")} if chain.endswith(b"\x00") else set()
    assert indifferent_bits(subject, set(range(len(chain)))) == expected


def test_bits_behind_the_signed_structure_change_nothing_that_is_claimed(subject_of):
    """Guests hand over whole buffers; nobody signed what follows, so nothing may read it."""
    subject = subject_of("tdx-v4")
    quote = subject.parsed.to_bytes()
    expected = subject.judge(quote)
    for tail in (bytes(64), b"\xff" * 64, quote[:64], b"{}"):
        verdict = subject.judge(quote + tail)
        assert (verdict.claims, verdict.checks) == (expected.claims, expected.checks)
