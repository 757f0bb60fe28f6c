"""The stand-in itself: it serves what the makers would, and breaks only where it is told to."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from verifier.collateral.cache import Cache
from verifier.collateral.http import Door, FetchFailed, Origin
from verifier.collateral.item import Item, Kind, Name
from verifier.software_tee.intel import SmallIntel
from verifier.testing import faults
from verifier.testing.faults import Reply
from verifier.testing.populate import populate
from verifier.testing.services import Services
from verifier.testing.stand_in import QUICK, StandIn

AT = 1_780_000_000
INTEL = SmallIntel.create(b"the small Intel of the stand-in", at=AT)
TCB = "/tdx/certification/v4/tcb"
FMSPC = INTEL.platform.fmspc.hex()


def ask(services: Services, path: str, **query: str) -> Reply:
    return services.answer("GET", path, query, b"")


def test_it_answers_as_intel_does():
    services = Services(intel=INTEL)
    reply = ask(services, TCB, fmspc=FMSPC)
    told = json.loads(reply.body)
    assert told["tcbInfo"]["fmspc"] == FMSPC.upper()
    assert reply.headers["TCB-Info-Issuer-Chain"].startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert bytes.fromhex(ask(services, "/sgx/certification/v4/rootcacrl").body.decode()) == INTEL.root_crl
    assert ask(services, "/IntelSGXRootCA.der").body == INTEL.root_crl


@pytest.mark.parametrize(("path", "query", "status"), [
    (TCB, {"fmspc": "000000000000"}, 404), (TCB, {}, 400), (TCB, {"fmspc": FMSPC, "tcbEvaluationDataNumber": "3"}, 404),
    ("/sgx/certification/v4/pckcrl", {"ca": "root"}, 400), ("/sgx/certification/v4/pckcert", {}, 400),
    ("/vcek/v1/Milan/crl", {}, 404), ("/v1/rim/X", {}, 404), ("/other", {}, 404), ("/../etc/passwd", {}, 404)])
def test_what_it_has_not_it_does_not_serve(path, query, status):
    assert ask(Services(intel=INTEL), path, **query).status == status
    assert ask(Services(), path, **query).status == 404


def test_any_family_is_served_where_that_is_asked_for():
    reply = ask(Services(intel=INTEL, any_family=True), TCB, fmspc="0000000000ff")
    assert json.loads(reply.body)["tcbInfo"]["fmspc"] == "0000000000FF"


def test_it_counts_and_breaks_by_path_and_number():
    with StandIn(Services(intel=INTEL)) as service:
        door, origin = Door(replace(QUICK, attempts=1)), Origin.parse(service.url)
        service.break_("/Intel", faults.failing(500), times=2, after=1)
        seen = []
        for _ in range(5):
            try:
                seen.append(len(door.get(origin, "/IntelSGXRootCA.der").body) > 100)
            except FetchFailed as error:
                seen.append(error.got)
        assert seen == [True, 500, 500, True, True]
        assert (service.count("/Intel"), service.count("/tdx")) == (5, 0)
        service.break_("/", faults.down())
        service.mend()
        assert door.get(origin, TCB, [("fmspc", FMSPC)]).body
        service.forget()
        assert service.count() == 0


def test_other_services_from_now_on():
    with StandIn(Services(intel=INTEL)) as service:
        door, origin = Door(QUICK), Origin.parse(service.url)
        assert door.get(origin, "/IntelSGXRootCA.der").body
        service.serve(Services())
        with pytest.raises(FetchFailed) as caught:
            door.get(origin, "/IntelSGXRootCA.der")
        assert caught.value.id == "collateral.fetch.not_found"


def test_a_folder_is_filled_for_measurements(tmp_path):
    cache = Cache(tmp_path)
    like = Item(Name(Kind.VCEK, ("Milan", "ab" * 64, "00" * 8)), {"certificate": b"x"}, "test", AT)
    populate(cache, like, 50)
    assert sum(1 for _ in cache.items()) == 50
    with pytest.raises(ValueError, match="certificate"):
        populate(cache, Item(Name(Kind.ROOT_CRL), {"crl": b"x"}, "test", AT), 1)
