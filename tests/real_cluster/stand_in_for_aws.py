"""AWS as a process of its own (moto): ``python -m tests.real_cluster.stand_in_for_aws HOST PORT FILE``.

It knows the image that clusters/prepare_aws.py looks up, and the types of machine that cluster.yaml names. FILE always
tells which machines there are, for whoever shall make them. Run it where no real cloud can be reached.
"""

import importlib.util
import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.real_cluster.hosts import ROOT

REGION = "us-west-2"
ACCOUNT = "123456789012"


def seed() -> None:
    """What the account finds in its region."""
    from moto.ec2.models import ec2_backends, instance_types
    from moto.ssm.models import Parameter, ssm_backends

    used = set(re.findall(r"InstanceType: (\S+)", (ROOT / "cluster.yaml").read_text()))
    known = [instance_types.InstanceType(name) for name in sorted(used)]
    instance_types.InstanceTypeBackend.instance_types = known  # Ray asks for all; a thousand take moto ten seconds
    image = next(iter(ec2_backends[ACCOUNT][REGION].amis))
    name = _prepare_aws().IMAGE_PARAMETER
    parameter = Parameter(
        account_id=ACCOUNT,
        name=name,
        value=image,
        parameter_type="String",
        description="",
        allowed_pattern=None,
        keyid=None,
        last_modified_date=int(time.time()),
        version=1,
        data_type="aws:ec2:image",
    )
    ssm_backends[ACCOUNT][REGION]._parameters[name] = [parameter]


def machines() -> list[dict[str, str]]:
    """Every machine that was ever started."""
    from moto.ec2.models import ec2_backends

    return [
        {
            "id": instance.id,
            "state": instance.state,
            "address": instance.private_ip,
            "type": instance.instance_type,
            "market": instance.lifecycle or "on-demand",
        }
        for reservation in list(ec2_backends[ACCOUNT][REGION].reservations.values())
        for instance in reservation.instances
    ]


def report(file: Path) -> None:
    """Write the machines down, again and again."""
    while True:
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(machines()))
        temporary.replace(file)
        time.sleep(0.5)


def _prepare_aws() -> Any:
    spec = importlib.util.spec_from_file_location("prepare_aws", ROOT / "clusters" / "prepare_aws.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    from moto.server import main

    os.environ["AWS_DEFAULT_REGION"] = REGION
    seed()
    threading.Thread(target=report, args=[Path(sys.argv[3])], daemon=True).start()
    main(["-H", sys.argv[1], "-p", sys.argv[2]])
