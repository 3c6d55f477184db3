"""What a study decides, one line an event on stderr: for people, or as JSON for programs that collect logs."""

import json
import logging
import sys
import time
from typing import Any, Literal

LogFormat = Literal["text", "json"]

_LOGGER = logging.getLogger("raystudy")
_EVENTS = logging.getLogger("raystudy.events")


def tell(event: str, **details: Any) -> None:
    """Something has happened: shown where ``show_events`` was called, and dropped elsewhere."""
    _EVENTS.info(event, extra={"details": details})


def show_events(form: LogFormat) -> None:
    """Show what is told from now on, and raystudy's warnings, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson() if form == "json" else _AsText())
    for old in [one for one in _LOGGER.handlers if isinstance(one.formatter, (_AsJson, _AsText))]:
        _LOGGER.removeHandler(old)
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)


class _AsText(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        details = "".join(f" {name}={value}" for name, value in _details(record).items())
        return f"{when} {record.levelname.lower()} {record.getMessage()}{details}"


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps(line | _details(record), default=str)


def _details(record: logging.LogRecord) -> dict[str, Any]:
    return dict(getattr(record, "details", {}))
