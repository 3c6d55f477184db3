"""Specs as plain data, and the identity that follows from it.

A spec is a tree of frozen dataclasses. Its identity is a hash of the fields that decide a result: a field is left
out when it stands at its default (so that a field added later keeps every old id) or when it is declared
``located()`` (where the data lies, what a thing is called), because moving or renaming decides nothing.
"""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from raystudy.errors import SpecError

T = TypeVar("T")


def located(default: Any) -> Any:
    """A dataclass field that is recorded but decides no result, so that it is no part of the identity."""
    return dataclasses.field(default=default, metadata={"identity": False})


def to_dict(spec: Any) -> Any:
    """The whole spec as JSON-ready dicts and lists, defaults included."""
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        return {field.name: to_dict(getattr(spec, field.name)) for field in dataclasses.fields(spec)}
    if isinstance(spec, tuple | list):
        return [to_dict(item) for item in spec]
    if isinstance(spec, Mapping):
        return {str(key): to_dict(value) for key, value in spec.items()}
    return spec


def compact_dict(spec: Any) -> Any:
    """As ``to_dict``, without the fields that stand at their default: what a person writes and reads of a spec."""
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        return {
            field.name: compact_dict(getattr(spec, field.name))
            for field in dataclasses.fields(spec)
            if not _stands_at_default(field, getattr(spec, field.name))
        }
    if isinstance(spec, tuple | list):
        return [compact_dict(item) for item in spec]
    if isinstance(spec, Mapping):
        return {str(key): compact_dict(value) for key, value in spec.items()}
    return spec


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """The inverse of ``to_dict``.

    Raises:
        SpecError: keys that ``cls`` does not have, values of the wrong kind or keys that are missing, all at once.
    """
    problems: list[str] = []
    spec = _parse(cls, data, where or cls.__name__, problems)
    if problems:
        raise SpecError(problems)
    return typing.cast(T, spec)


def identity_dict(spec: Any) -> dict[str, Any]:
    """The fields that decide a result and differ from their default."""
    chosen: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        if not field.metadata.get("identity", True):
            continue
        value = getattr(spec, field.name)
        if _is_default(field, value):
            continue
        chosen[field.name] = _identity_value(value)
    return chosen


def digest(content: Any, length: int = 8) -> str:
    """The first ``length`` hex digits of the SHA-256 of ``content`` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _stands_at_default(field: "dataclasses.Field[Any]", value: Any) -> bool:
    """In every part, location included."""
    if field.default is not dataclasses.MISSING:
        return bool(value == field.default)
    return field.default_factory is not dataclasses.MISSING and bool(value == field.default_factory())


def _is_default(field: "dataclasses.Field[Any]", value: Any) -> bool:
    """By identity, so that a nested spec which differs in its location only is still at its default."""
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    else:
        return False
    return type(value) is type(default) and bool(_identity_value(value) == _identity_value(default))


def _identity_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return identity_dict(value)
    if isinstance(value, tuple | list):
        return [_identity_value(item) for item in value]
    return value


def _parse(kind: Any, value: Any, where: str, problems: list[str]) -> Any:
    """``value`` as a ``kind``; what does not fit goes to ``problems``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _parse(next(a for a in arguments if a is not type(None)), value, where, problems)
    if origin is typing.Literal:
        if value not in arguments:
            problems.append(f"{where} is {value!r}, but must be one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _parse_tuple(arguments, value, where, problems)
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where, problems)
    if kind in (dict, Any):
        return value
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            problems.append(f"{where} is {value!r}, but must be a mapping")
            return value
        return {key: _parse(arguments[1], item, f"{where}.{key}", problems) for key, item in value.items()}
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        problems.append(f"{where} is {value!r}, but must be of type {kind.__name__}")
        return value
    return kind(value)


def _parse_tuple(arguments: tuple[Any, ...], value: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(f"{where} is {value!r}, but must be a list")
        return value
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        kinds: tuple[Any, ...] = (arguments[0],) * len(value)
    else:
        kinds = arguments
    if len(kinds) != len(value):
        problems.append(f"{where} has {len(value)} items, but must have {len(kinds)}")
        return value
    return tuple(_parse(k, v, f"{where}[{i}]", problems) for i, (k, v) in enumerate(zip(kinds, value, strict=True)))


def _parse_dataclass(kind: Any, value: Any, where: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        problems.append(f"{where} is {value!r}, but must be a mapping of the fields of {kind.__name__}")
        return value
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        problems.append(f"{where} has no field {', '.join(unknown)}; its fields are {', '.join(fields)}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in value]
    if missing:
        problems.append(f"{where} lacks {', '.join(missing)}")
        return value
    hints = typing.get_type_hints(kind)
    known = {k: _parse(hints[k], v, f"{where}.{k}", problems) for k, v in value.items() if k in fields}
    return kind(**known)
