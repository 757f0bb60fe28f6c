"""Each TEE's attester over the model of the kernel, the software attester, and the choice between them."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attestation.attesters.base import Attester
from attestation.attesters.configfs_tsm import ConfigfsTsm
from attestation.attesters.detect import detect
from attestation.attesters.snp import SnpAttester
from attestation.attesters.software import SoftwareAttester
from attestation.attesters.tdx import CCEL, MAX_EVENT_LOG_BYTES, TdxAttester
from attestation.errors import AttesterError, SetupError
from verifier.errors import SetupError as VerifierSetupError
from verifier.evidence import Evidence, Tee
from verifier.formats.coco_evidence import evidence_from_json, evidence_to_json
from verifier.formats.quote import Quote
from verifier.formats.snp_cert_table import ARK, VCEK, CertEntry, CertTable
from verifier.formats.snp_report import SnpReport

DATA = bytes(range(64))


def tdx(kernel: Any) -> TdxAttester:
    return TdxAttester(ConfigfsTsm(files=kernel, sleep=lambda _: None), files=kernel)


def snp(kernel: Any) -> SnpAttester:
    return SnpAttester(ConfigfsTsm(files=kernel, sleep=lambda _: None))


def refused(attester: Attester, report_data: bytes = DATA) -> str:
    with pytest.raises(AttesterError) as caught:
        attester.evidence(report_data)
    return caught.value.id


def test_tdx_evidence_is_a_quote_over_the_report_data_with_the_event_log(tdx_kernel: Any) -> None:
    tdx_kernel.others[CCEL] = b"event log"
    evidence = tdx(tdx_kernel).evidence(DATA)
    assert (evidence.tee, evidence.event_log) == (Tee.TDX, b"event log")
    assert Quote.from_bytes(evidence.quote).body.report_data == DATA
    assert evidence_from_json(Tee.TDX, evidence_to_json(evidence)) == evidence


def test_tdx_without_an_event_log_sends_none(tdx_kernel: Any) -> None:
    assert tdx(tdx_kernel).evidence(DATA).event_log is None


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOMEM, errno.ESTALE, errno.ENOTDIR])
def test_event_log_that_cannot_be_read_is_not_an_absent_one(tdx_kernel: Any, number: int) -> None:
    tdx_kernel.others[CCEL] = number
    assert refused(tdx(tdx_kernel)) == "attester.tdx.event_log"


def test_oversized_event_log_is_refused(tdx_kernel: Any) -> None:
    tdx_kernel.others[CCEL] = bytes(MAX_EVENT_LOG_BYTES + 1)
    assert refused(tdx(tdx_kernel)) == "attester.tdx.event_log"


@pytest.mark.parametrize("change", [lambda quote: quote[:-1], lambda quote: b"\0" * len(quote), lambda quote: b"x"])
def test_what_is_no_quote_is_refused(tdx_kernel: Any, change: Any) -> None:
    make = tdx_kernel.make
    tdx_kernel.make = lambda *asked: (change(make(*asked)[0]), b"")
    assert refused(tdx(tdx_kernel)) == "attester.tdx.quote"


def test_quote_of_an_enclave_is_refused(tdx_kernel: Any, software_tee: Any) -> None:
    tdx_kernel.make = lambda report_data, _: (software_tee.evidence("sgx", report_data).quote, b"")
    assert refused(tdx(tdx_kernel)) == "attester.tdx.quote"


def test_replayed_quote_is_refused(tdx_kernel: Any) -> None:
    old = tdx_kernel.make(bytes(64), 0)
    tdx_kernel.make = lambda *_: old
    assert refused(tdx(tdx_kernel)) == "attester.tsm.busy"


def test_snp_evidence_is_a_report_over_the_report_data_with_the_hosts_certificates(
    snp_kernel: Any, software_tee: Any,
) -> None:
    made = software_tee.evidence("snp", DATA)
    table = CertTable((CertEntry(VCEK, b"vcek"), CertEntry(ARK, b"ark"))).to_bytes() + bytes(4096)
    snp_kernel.make = lambda *_: (made.quote, table)
    evidence = snp(snp_kernel).evidence(DATA)
    assert evidence == Evidence(Tee.SNP, made.quote, (b"vcek", b"ark"))
    assert SnpReport.from_bytes(evidence.quote).report_data == DATA


def test_snp_without_certificates_sends_none(snp_kernel: Any) -> None:
    assert snp(snp_kernel).evidence(DATA).certificates == ()


def test_certificate_table_that_is_none_is_refused(snp_kernel: Any) -> None:
    make = snp_kernel.make
    snp_kernel.make = lambda *asked: (make(*asked)[0], b"\x01" * 48)
    assert refused(snp(snp_kernel)) == "attester.snp.certificates"


def test_what_is_no_report_is_refused(snp_kernel: Any) -> None:
    snp_kernel.make = lambda *_: (bytes(1183), b"")
    assert refused(snp(snp_kernel)) == "attester.snp.report"


def test_privilege_level_reaches_the_kernel(snp_kernel: Any) -> None:
    asked: list[int] = []
    make = snp_kernel.make
    snp_kernel.make = lambda report_data, level: asked.append(level) or make(report_data, level)
    SnpAttester(ConfigfsTsm(files=snp_kernel), privlevel=2).evidence(DATA)
    assert asked == [2]


@pytest.mark.parametrize(("provider", "kind"), [("tdx_guest", TdxAttester), ("sev_guest", SnpAttester)])
def test_detection_follows_the_kernels_provider(tdx_kernel: Any, provider: str, kind: type) -> None:
    tdx_kernel.provider = provider
    assert isinstance(detect(ConfigfsTsm(files=tdx_kernel)), kind)


def test_machine_without_a_tee_gets_an_error_and_no_substitute(tdx_kernel: Any) -> None:
    tdx_kernel.exists = False
    with pytest.raises(AttesterError) as caught:
        detect(ConfigfsTsm(files=tdx_kernel))
    assert caught.value.id == "attester.none"


def test_tee_without_an_attester_gets_an_error(tdx_kernel: Any) -> None:
    tdx_kernel.provider = "arm_cca_guest"
    with pytest.raises(AttesterError) as caught:
        detect(ConfigfsTsm(files=tdx_kernel))
    assert caught.value.id == "attester.unknown"


@pytest.mark.parametrize("step", range(2))
@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOMEM, errno.ENXIO, errno.EINTR, errno.ESTALE])
def test_host_that_fails_a_step_of_detection_is_not_believed_to_have_no_tee(tdx_kernel: Any, step: int,
                                                                           number: int) -> None:
    tdx_kernel.fail_call(step, number)
    with pytest.raises(AttesterError) as caught:
        detect(ConfigfsTsm(files=tdx_kernel))
    assert caught.value.id == "attester.tsm.io"


class Maker:
    """Notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def evidence(self, tee: str, report_data: bytes, *, init_data: bytes | None = None) -> Evidence:
        self.asked.append((tee, report_data, init_data))
        return Evidence(Tee(tee), b"quote")


def test_software_attester_asks_its_maker_for_its_kind_with_its_init_data() -> None:
    maker = Maker()
    attester = SoftwareAttester(maker, Tee.SNP, bytes(32))
    assert attester.evidence(DATA) == Evidence(Tee.SNP, b"quote")
    assert maker.asked == [(Tee.SNP, DATA, bytes(32))]
    assert refused(attester, DATA[:48]) == "attester.report_data"


def test_software_attester_tells_what_its_maker_refused() -> None:
    class Refusing:
        def evidence(self, *_: Any, **__: Any) -> Evidence:
            raise VerifierSetupError("software_tee.tee", "was not made for that")

    assert refused(SoftwareAttester(Refusing())) == "attester.software"


@pytest.mark.parametrize("tee", [Tee.TDX, Tee.SGX, Tee.SNP])
def test_software_tee_from_its_folder_binds_report_data_and_init_data(tmp_path: Path, software_tee: Any,
                                                                      tee: Tee) -> None:
    software_tee.save(tmp_path / "tee")
    size = {Tee.TDX: 48, Tee.SGX: 64, Tee.SNP: 32}[tee]
    evidence = SoftwareAttester.load(tmp_path / "tee", tee, b"\x07" * size).evidence(DATA)
    assert evidence.tee is tee
    assert DATA in evidence.quote
    assert b"\x07" * size in evidence.quote


def test_folder_without_a_software_tee_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        SoftwareAttester.load(tmp_path / "absent")
    assert caught.value.id == "attester.software.folder"


def test_makers_in_miniature_are_not_loaded_with_the_attesters() -> None:
    code = ("import sys, attestation.attesters.detect, attestation.attesters.software;"
            "sys.exit(any(name.startswith('verifier.software_tee') for name in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
