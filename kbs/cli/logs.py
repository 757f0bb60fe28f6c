"""One JSON object per line on stderr. What is logged are fields that were named on purpose."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import msgspec

_FIELDS = ("method", "route", "status", "milliseconds", "peer", "error", "reference")


class JsonFormatter(logging.Formatter):
    """``at``, ``level``, ``logger``, ``message`` and the known fields; an exception by its type only."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object in one line."""
        found = record.__dict__
        told: dict[str, Any] = {"at": datetime.fromtimestamp(record.created, UTC), "level": record.levelname.lower(),
                                "logger": record.name, "message": record.getMessage()}
        told |= {name: found[name] for name in _FIELDS if found.get(name) is not None}
        if record.exc_info and record.exc_info[0] is not None:
            told["exception"] = record.exc_info[0].__name__
        return msgspec.json.encode(told).decode()


def configuration(level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`."""
    return {
        "version": 1, "disable_existing_loggers": False,
        "formatters": {"json": {"()": "kbs.cli.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {"_granian": {"handlers": [], "level": level.upper(), "propagate": True},
                    "granian.access": {"handlers": [], "propagate": True}},
    }
