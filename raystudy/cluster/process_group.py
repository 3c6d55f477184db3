"""The torch process group of a nested Ray Train run, without torch where no training happens.

``ray.train.torch.TorchTrainer`` loads torch into the process that starts a run and into its controller, and starts an
actor for data sets that we do not have. That doubles what a run of two workers costs before its first iteration
(`benchmarks/trial_overhead.py`). Here only workers load torch.
"""

import functools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.worker_group import worker_group
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import placement_group

SHUTDOWN_TIMEOUT_S = 10


@dataclass
class ProcessGroupConfig(BackendConfig):
    """How the workers of a run find each other."""

    backend: str = "gloo"
    """``gloo`` or ``nccl``."""

    timeout_s: int = 600
    """How long a collective operation may wait for a worker before the run counts as failed."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What sets the group up."""
        return _ProcessGroupBackend


class StudyTrainer(DataParallelTrainer):
    """A data-parallel trainer without data sets of Ray's, whose workers' placement group bears a name."""

    def __init__(self, *arguments: Any, group_name: str, **named: Any) -> None:
        self._group_name = group_name
        super().__init__(*arguments, **named)

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = [found for found in super()._create_default_callbacks() if not isinstance(found, DatasetsCallback)]
        # The workers' resources are registered for cleaning up first, so that what fails after that frees them.
        callbacks.sort(key=lambda found: not isinstance(found, PlacementGroupCleanerCallback))
        return [_NamesGroup(self._group_name), *callbacks]


class _NamesGroup(ControllerCallback):
    """Runs in a run's controller, which makes the placement group of its workers, and has it bear a name.

    By its name anybody can tell whose work holds it, and free it when that is dead (``machines.sweep``).
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def after_controller_start(self, train_run_context: Any) -> None:
        """The first thing that a controller does."""
        worker_group.placement_group = functools.partial(placement_group, name=self._name)


class _ProcessGroupBackend(Backend):
    share_cuda_visible_devices = True  # every worker of a node sees all of its GPUs, which NCCL needs for peer access

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        assert isinstance(backend_config, ProcessGroupConfig)
        address = worker_group.execute_single(0, _free_address)
        joining = [
            worker_group.execute_single_async(
                rank,
                join,
                address=address,
                own_rank=rank,
                world=len(worker_group),
                backend=backend_config.backend,
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Leave the group where that is possible; the processes end in any case."""
        try:
            ray.get(worker_group.execute_async(_leave), timeout=SHUTDOWN_TIMEOUT_S)
        except ray.exceptions.RayError:
            return


def _free_address() -> str:
    import socket

    host = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def join(address: str, own_rank: int, world: int, backend: str, timeout_s: int) -> None:
    """Make this process a worker of the group that meets at ``address``, ``host:port`` of the first of them."""
    import torch
    from torch import distributed

    if backend == "nccl":
        from ray.train.torch import get_device

        torch.cuda.set_device(get_device())
    distributed.init_process_group(
        backend, init_method=f"tcp://{address}", rank=own_rank, world_size=world, timeout=timedelta(seconds=timeout_s)
    )


def _leave() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
