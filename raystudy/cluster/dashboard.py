"""Where Ray's dashboard is."""

import sys


def dashboard_address() -> str | None:
    """The address of the dashboard of the cluster that this process is connected to; None when there is none (yet)."""
    ray = sys.modules.get("ray")  # who has not imported it is not connected
    if ray is None or not hasattr(ray, "is_initialized") or not ray.is_initialized():
        return None
    from ray._private.worker import get_dashboard_url  # as ray.init() itself returns it

    address = get_dashboard_url()
    return f"http://{address}" if address else None
