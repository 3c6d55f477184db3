"""Where a report is written: beside the study in a folder, or on this machine and then to the object store."""

from pathlib import Path

from raystudy.files import is_address
from raystudy.store import Store


def report_folder(storage: str, name: str, destination: Path | None) -> Path:
    """The folder to write to: ``destination``, or the report's own place, of which an object store has a local copy."""
    return destination or Store.open_unchecked(storage).scratch / "reports" / name


def deliver(storage: str, name: str, folder: Path) -> str:
    """Bring a report that was written to its own place to the object store; its address there, or nothing."""
    if not is_address(storage) or folder != report_folder(storage, name, None):
        return ""
    files = Store.open_unchecked(storage).files
    files.upload(folder, f"reports/{name}")
    return f"{files.location}/reports/{name}/report.html"
