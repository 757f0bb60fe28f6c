"""Recorded chains of Intel's and AMD's by the openssl command: it says of each what we do, at every moment we do.

AWS's and NVIDIA's chains are asked about beside their own tests.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier.corpus.test_intel_corpus import NO_PCK_CRL, quote_of, verdict_on
from tests.verifier.tees.test_snp_corpus import files, judge, window

DAY = 86_400
WITHOUT_CHAIN = {
    "sgx/certtype3-fortanix", "sgx/certtype3-oasis", "sgx/intel-qvl-sample-testroot", "snp/kds-crl-openpcc",
    "snp/milan-v4-gce-openpcc-nocert", "snp/neg-lit-malformed"}
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


def chain_from(leaf: x509.Certificate, pool: list[x509.Certificate]) -> list[x509.Certificate]:
    """The leaf and its issuers by name, as far as the pool has them."""
    chain = [leaf]
    while chain[-1].issuer != chain[-1].subject:
        above = [each for each in pool if each.subject == chain[-1].issuer]
        if not above:
            break
        chain.append(above[0])
    return chain


def openssl_says(folder: Path, chain: list[x509.Certificate], at: int) -> bool:
    """AMD's CAs bring no key identifiers and its names hold what -x509_strict objects to, so it is left out."""
    for name, certificates in (("leaf", chain[:1]), ("between", chain[1:-1]), ("root", chain[-1:])):
        (folder / name).write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    between = ["-untrusted", "between"] if len(chain) > 2 else []
    done = subprocess.run(["openssl", "verify", "-attime", str(at), "-CAfile", "root", *between, "leaf"], cwd=folder,
                          capture_output=True, check=False)
    return done.returncode == 0


def span(chain: list[x509.Certificate]) -> tuple[int, int]:
    """When every certificate of it is valid, first and last second."""
    return (max(int(each.not_valid_before_utc.timestamp()) for each in chain),
            min(int(each.not_valid_after_utc.timestamp()) for each in chain))


@pytest.mark.corpus("tdx", "sgx")
def test_it_accepts_the_pck_chain_of_each_quote_that_is_authentic(corpus, case, tmp_path):
    folder = corpus.folder(case)
    pool = [x509.load_pem_x509_certificate(pem) for pem in PEM.findall(quote_of(folder))]
    leaves = [each for each in pool if "PCK Certificate" in each.subject.rfc4514_string()]
    if not leaves:
        assert case["case"] in WITHOUT_CHAIN
        return
    chain = chain_from(leaves[0], pool)
    for appraisal in case["appraisals"]:
        verdict = verdict_on(folder, case, appraisal, appraisal["at"])
        good = openssl_says(tmp_path, chain, appraisal["at"])
        if verdict.authentic or (case["case"], appraisal["collateral"]) in NO_PCK_CRL:
            assert good, appraisal["collateral"]
        if not good:
            assert verdict.authentic is False
    first, last = span(chain)
    assert [openssl_says(tmp_path, chain, at) for at in (first - 1, first, last - 1, last + 1)] == [
        False, True, True, False]


@pytest.mark.corpus("snp")
def test_it_accepts_the_chain_of_each_report_that_is_authentic(corpus, case, tmp_path):
    folder = corpus.folder(case)
    pool = [x509.load_pem_x509_certificate(pem) for data in files(folder, "*.pem") for pem in PEM.findall(data)]
    leaves = [x509.load_der_x509_certificate(data) for data in files(folder, "vcek.der", "vlek.der")]
    if not (leaves and pool):
        assert case["case"] in WITHOUT_CHAIN
        return
    chain = chain_from(leaves[0], pool)
    supplied = tuple(each.public_bytes(Encoding.DER) for each in chain)
    first, last = span(chain)
    if case.get("valid_window"):
        good = case["expected"]["verdict"].startswith("verified")
        assert judge(folder, window(case)[0], certificates=supplied).authentic is good, "its chain is good"
        assert openssl_says(tmp_path, chain, window(case)[0]) is True
    for moment in (first - DAY, last + DAY):
        assert openssl_says(tmp_path, chain, moment) is False
        assert judge(folder, moment, certificates=supplied).authentic is False
