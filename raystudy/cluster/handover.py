"""What the process that drives a group of workers, the study and the workers themselves tell each other.

It lies in the cluster's key-value store, which every process of the cluster reaches without a process for it: some
kilobytes while they are needed, under the name of the group's placement group.
"""

from ray.experimental import internal_kv

_NAMESPACE = b"raystudy"


def task_key(group: str, number: int) -> bytes:
    """Of the group's task of that number, which is there until all workers have begun with it."""
    return f"{group}/task/{number}".encode()


def done_key(group: str, number: int) -> bytes:
    """There when all workers have done it."""
    return f"{group}/done/{number}".encode()


def end_key(group: str) -> bytes:
    """There when the workers shall not wait for another task."""
    return f"{group}/end".encode()


def put(key: bytes, value: bytes) -> None:
    """Keep a value."""
    internal_kv._internal_kv_put(key, value, namespace=_NAMESPACE)


def look(key: bytes) -> bytes | None:
    """The value, if there is one."""
    value: bytes | None = internal_kv._internal_kv_get(key, namespace=_NAMESPACE)
    return value


def take(key: bytes) -> bytes | None:
    """The value, which is gone then."""
    value = look(key)
    if value is not None:
        internal_kv._internal_kv_del(key, namespace=_NAMESPACE)
    return value
