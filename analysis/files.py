"""Reading a storage, local folder or object store, without knowing what is in it."""

import json
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from pyarrow import fs

from raystudy.errors import StorageError


class StorageReader:
    """Reads files below one root: a local folder, or a URI such as ``s3://bucket/path``."""

    def __init__(self, root: str) -> None:
        """Raises ``StorageError`` when the root cannot be reached."""
        self.root = root
        self.is_local = "://" not in root
        try:
            if self.is_local:
                self._files, self._base = fs.LocalFileSystem(use_mmap=True), str(Path(root).expanduser().resolve())
            else:
                self._files, self._base = fs.FileSystem.from_uri(root)
        except (OSError, pa.ArrowInvalid) as error:
            raise StorageError(f"storage {root} cannot be reached: {error}") from error

    def read(self, path: str) -> bytes | None:
        """The content of a file; None when it is not there."""
        if self.is_local:
            try:
                return Path(self._base, path).read_bytes()
            except FileNotFoundError:
                return None
        try:
            with self._files.open_input_stream(f"{self._base}/{path}") as stream:
                return cast(bytes, stream.read())
        except FileNotFoundError:
            return None

    def read_json(self, path: str) -> dict[str, Any] | None:
        """The content of a JSON file; None when it is not there."""
        content = self.read(path)
        if content is None:
            return None
        try:
            parsed: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise StorageError(f"{self.root}/{path} is no JSON ({error}); it was not written by raystudy") from error
        return parsed

    def read_table(self, path: str) -> pa.Table | None:
        """An Arrow IPC file as a table, memory-mapped where it is local; None when it is not there."""
        try:
            with self._files.open_input_file(f"{self._base}/{path}") as source:
                return pa.ipc.open_file(source).read_all()
        except FileNotFoundError:
            return None
        except pa.ArrowInvalid as error:
            raise StorageError(f"{self.root}/{path} is no Arrow file: {error}") from error

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty when it is not there."""
        selector = fs.FileSelector(f"{self._base}/{folder}", allow_not_found=True)
        return sorted(info.base_name for info in self._files.get_file_info(selector))
