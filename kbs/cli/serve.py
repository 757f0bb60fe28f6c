"""``kbs serve``: the broker behind granian."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from kbs.cli.options import configured
from kbs.config import Config, load

KILL_SECONDS = 30


@click.command()
@configured
@click.option("--listen", metavar="ADDRESS:PORT", help="Where to listen; loopback unless TLS is configured.")
@click.option("--workers", type=int, metavar="N", help="How many processes serve.")
def serve(config: Path | None, state: Path | None, listen: str | None, workers: int | None) -> None:
    """Serve until SIGTERM, which lets what is in flight finish."""
    settings = load(config, state=state, listen=listen, workers=workers)
    with tempfile.TemporaryDirectory(prefix="kbs-metrics-") as shared:
        if settings.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # read when the metrics are first loaded
        _prepare(settings)
        server = _server(settings)
        server.serve(target_loader=lambda: _application(settings), wrap_loader=False)


def _prepare(settings: Config) -> None:
    """Make keys and schema before any worker starts, and find out here what is wrong with the configuration."""
    from kbs.app import create_broker

    create_broker(settings).close()


def _application(settings: Config) -> Any:
    from kbs.app import create_gateway

    application = create_gateway(settings)
    # What is loaded now stays: the collector need not walk it again and again, nor as often as a small program's.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # nobody prints these
    logging._srcfile = None  # nor where a line was logged from
    return application


def _server(settings: Config) -> Any:
    from granian import Granian
    from granian.constants import Interfaces

    from kbs.cli.logs import configuration

    host, port = settings.address
    for warning in _warnings(settings):
        click.echo(f"kbs: {warning}", err=True)
    return Granian(
        "kbs", address=host, port=port, interface=Interfaces.RSGI, workers=settings.workers,
        websockets=False, workers_kill_timeout=KILL_SECONDS,
        log_dictconfig=configuration(settings.log_level), ssl_cert=settings.tls.certificate, ssl_key=settings.tls.key)


def _warnings(settings: Config) -> list[str]:
    found = []
    if settings.insecure_http:
        found.append("insecure_http: guests cannot tell this broker from another one, and their cookies travel openly")
    if settings.insecure_sample_tee:
        found.append("insecure_sample_tee: unsigned evidence is let through")
    if os.geteuid() == 0:
        found.append("runs as root and need not")
    return found
