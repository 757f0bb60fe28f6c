"""The small Hygon: the same for ever from a seed, and everything a verifier and a guest need of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verifier.collateral.hygon_files import recognise
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import SetupError
from verifier.evidence import Binding
from verifier.formats.csv_report import CsvReport
from verifier.formats.hygon_cert import Usage, split_certificates
from verifier.software_tee.hygon import CsvGuest, SmallHygon
from verifier.software_tee.keys import KeyRing
from verifier.verify import verify

DATA, INIT = bytes(range(64)), bytes(range(100, 164))


@pytest.fixture(scope="module")
def hygon() -> SmallHygon:
    return SmallHygon.create(bytes(range(32)), at=1_780_000_000)


def judge(maker: SmallHygon, report_data: bytes, init_data: bytes, roots: Roots | None = None):
    first, *more = [recognise(data) for data in maker.collateral_files().values()]
    return verify(maker.evidence(report_data, init_data), collateral=Collateral(hygon=first.with_all_of(more)),
                  roots=roots or Roots.only_software(maker.roots().values()), at=0,
                  binding=Binding(report_data, init_data or None))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("init_data", [b"", INIT])
def test_its_evidence_is_accepted_where_its_root_is_configured(hygon, raw, init_data):
    maker = replace(hygon, raw=raw)
    verdict = judge(maker, DATA, init_data)
    assert verdict.accepted
    assert verdict.claims.software is True
    assert (verdict.claims.report_data, verdict.claims.init_data) == (DATA, init_data)
    assert verdict.claims.body["version"] == (3 if init_data else 1)
    assert judge(maker, DATA, init_data, Roots.makers()).authentic is False


def test_a_seed_determines_every_byte(hygon):
    again = SmallHygon.create(bytes(range(32)), at=5)
    for init_data in (b"", INIT):
        assert again.evidence(DATA, init_data) == hygon.evidence(DATA, init_data)
    assert (again.roots(), again.collateral_files()) == (hygon.roots(), hygon.collateral_files())
    other = SmallHygon.create(bytes(range(1, 33)), at=5)
    assert other.roots() != hygon.roots()
    assert SmallHygon.create(at=5).roots() != SmallHygon.create(at=5).roots()


def test_keys_survive_in_a_folder(hygon, tmp_path):
    hygon.evidence(DATA, b"")
    hygon.collateral_files()
    hygon.keys.save(tmp_path / "keys")
    loaded = replace(hygon, keys=KeyRing.load(tmp_path / "keys"))
    assert loaded.evidence(DATA, b"") == hygon.evidence(DATA, b"")
    assert loaded.roots() == hygon.roots()


def test_its_certificates_look_like_hygons(hygon, corpus):
    """All but keys, key ids and signatures is the same in the genuine ones."""
    folder = corpus.folder("csv/csvrs-v1-full-chain")
    genuine = [split_certificates((folder / name).read_bytes()) for name in ("hrk.cert", "hsk_cek.cert", "pek.cert")]
    for certificate in (one for group in genuine for one in group):
        role = Usage(certificate.usage).name.lower()
        made, = split_certificates(hygon.certificate(role))
        for name in ("version", "usage", "curve", "uid_size", "user_id_field", "reserved"):
            assert getattr(made, name) == getattr(certificate, name), (role, name)
        if role in ("cek", "pek"):
            assert [slot.usage for slot in made.slots] == [slot.usage for slot in certificate.slots]
            assert [slot.empty for slot in made.slots] == [slot.empty for slot in certificate.slots]


def test_the_guest_is_what_the_report_says(hygon):
    guest = CsvGuest(measure=b"\x11" * 32, policy=0x47, vm_id=b"v" * 16, vm_version=b"w" * 16, rtmr1=b"\x22" * 32,
                     user_pubkey_digest=b"u" * 32, mnonce=b"n" * 16, anonce=0xDEADBEEF, build=7, rtmr_version=2)
    maker = replace(hygon, guest=guest)
    told = [CsvReport.from_bytes(maker.evidence(DATA, init_data).quote).info for init_data in (b"", INIT)]
    for info in told:
        for name in ("measure", "policy", "vm_id", "vm_version", "user_pubkey_digest", "mnonce"):
            assert getattr(info, name) == getattr(guest, name)
    assert (told[0].anonce, told[1].anonce) == (0xDEADBEEF, 0)
    assert (told[1].rtmr0, told[1].rtmr1, told[1].build, told[1].rtmr_version) == (guest.measure, guest.rtmr1, 7, 2)


def test_alterations_follow_one_another_and_leave_the_original_alone(hygon):
    before = hygon.certificate("cek")
    altered = hygon.altered(cek=lambda c: replace(c, body=replace(c.body, firmware_major=9))).altered(
        cek=lambda c: replace(c, body=replace(c.body, firmware_minor=8)))
    made, = split_certificates(altered.certificate("cek"))
    assert (made.firmware_major, made.firmware_minor) == (9, 8)
    assert hygon.certificate("cek") == before
    assert judge(altered, DATA, b"").claims.endorsement["cek"]["fw"] == [9, 8]


@pytest.mark.parametrize(("report_data", "init_data"), [(bytes(63), b""), (bytes(65), b""), (b"", b""),
                                                        (DATA, bytes(32)), (DATA, bytes(63)), (DATA, bytes(65))])
def test_bound_data_has_its_size(hygon, report_data, init_data):
    with pytest.raises(SetupError) as caught:
        hygon.evidence(report_data, init_data)
    assert caught.value.id == "software_tee.hygon"


def test_private_keys_are_not_printed(hygon):
    assert "scalar" not in repr(hygon.key("hrk"))
    assert "keys" not in repr(hygon)
