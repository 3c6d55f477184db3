"""Makes what cluster.yaml needs in an AWS account, and prints the five lines to edit there. Safe to run again.

    python clusters/prepare_aws.py --region us-west-2 --bucket my-bucket

- the bucket, closed to the public, unless it is there.
- a security group: all traffic inside the group, port 22 from your address only. (Ray's own would open port 22 to the
  world, and adds rather than replaces rules given to it.)
- a role and instance profile: read and write the one bucket, start machines, end those that Ray started, and hand
  the same role to the machines that it starts, without which a head cannot start workers that may read the bucket.
- the service-linked role for spot machines, which a fresh account lacks and the head may not make.
- the newest image with the NVIDIA driver, Ubuntu 24.04 and Python 3.12.
"""

import argparse
import ipaddress
import json
import sys
import urllib.request
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

IMAGE_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
ADDRESS_SERVICE = "https://checkip.amazonaws.com"
NAME = "raystudy"

ASSUME_ROLE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def policy(bucket: str, role_arn: str) -> dict[str, Any]:
    """What the machines may do, and nothing else."""
    objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    ending = ["ec2:TerminateInstances", "ec2:StopInstances"]
    of_ray = {"StringLike": {"aws:ResourceTag/ray-cluster-name": "*"}}
    statements: list[dict[str, Any]] = [
        {"Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": f"arn:aws:s3:::{bucket}"},
        {"Action": objects, "Resource": f"arn:aws:s3:::{bucket}/*"},
        {"Action": ["ec2:RunInstances", "ec2:CreateTags", "ec2:Describe*"], "Resource": "*"},
        {"Action": ending, "Resource": "*", "Condition": of_ray},
        {"Action": "iam:PassRole", "Resource": role_arn},
    ]
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement} for statement in statements]}


def ensure_bucket(s3: Any, bucket: str, region: str) -> None:
    """Make the bucket, unless this account has it."""
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        s3.create_bucket(Bucket=bucket, **where)
    except ClientError as error:
        _unless(error, "BucketAlreadyOwnedByYou")
        return
    closed = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=closed)


def ensure_security_group(ec2: Any, address: str) -> str:
    """The id of the group, which from now on also lets ``address`` (CIDR) in on port 22."""
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not vpcs:
        raise SystemExit(
            "this region has no default VPC: make one with `aws ec2 create-default-vpc`, or set the group by hand"
        )
    vpc = vpcs[0]["VpcId"]
    filters = [{"Name": "group-name", "Values": [NAME]}, {"Name": "vpc-id", "Values": [vpc]}]
    found = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    if found:
        group = found[0]["GroupId"]
    else:
        group = ec2.create_security_group(GroupName=NAME, Description="raystudy's Ray cluster", VpcId=vpc)["GroupId"]
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": address}]}
    for permission in (inside, ssh):
        try:
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
        except ClientError as error:
            _unless(error, "InvalidPermission.Duplicate")
    return str(group)


def ensure_instance_profile(iam: Any, bucket: str) -> str:
    """The name of a profile whose role may use ``bucket``."""
    try:
        role = iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(ASSUME_ROLE))["Role"]
    except ClientError as error:
        _unless(error, "EntityAlreadyExists")
        role = iam.get_role(RoleName=NAME)["Role"]
    document = json.dumps(policy(bucket, role["Arn"]))
    iam.put_role_policy(RoleName=NAME, PolicyName=f"{NAME}-{bucket}", PolicyDocument=document)
    try:
        iam.create_instance_profile(InstanceProfileName=NAME)
    except ClientError as error:
        _unless(error, "EntityAlreadyExists")
    if not iam.get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=NAME, RoleName=NAME)
    try:
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    except ClientError as error:
        _unless(error, "InvalidInput", "EntityAlreadyExists")
    return NAME


def available_zones(ec2: Any) -> list[str]:
    """The region's zones that take machines now, without local and wavelength zones."""
    filters = [{"Name": "state", "Values": ["available"]}, {"Name": "zone-type", "Values": ["availability-zone"]}]
    return sorted(zone["ZoneName"] for zone in ec2.describe_availability_zones(Filters=filters)["AvailabilityZones"])


def newest_image(ssm: Any) -> str:
    """The id of the newest image that suits, in the region of ``ssm``."""
    return str(ssm.get_parameter(Name=IMAGE_PARAMETER)["Parameter"]["Value"])


def own_address() -> str:
    """This computer's address as the cloud sees it."""
    with urllib.request.urlopen(ADDRESS_SERVICE, timeout=10) as answer:
        return f"{ipaddress.ip_address(answer.read().decode().strip())}/32"


def _unless(error: ClientError, *codes: str) -> None:
    if error.response["Error"]["Code"] not in codes:
        raise error


def main(arguments: list[str] | None = None) -> int:
    """Prints the five lines; 1 when the account refuses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--region", required=True)
    parser.add_argument("--bucket", required=True, help="that will hold data and storage")
    parser.add_argument("--address", help="CIDR that may log in on port 22; default: this computer's")
    options = parser.parse_args(arguments)
    session = boto3.Session(region_name=options.region)
    ec2 = session.client("ec2")
    try:
        image = newest_image(session.client("ssm"))
        ensure_bucket(session.client("s3"), options.bucket, options.region)
        group = ensure_security_group(ec2, options.address or own_address())
        profile = ensure_instance_profile(session.client("iam"), options.bucket)
        zones = ",".join(available_zones(ec2))
    except (BotoCoreError, ClientError) as error:
        print(f"AWS refused: {error}", file=sys.stderr)
        return 1
    print(f"  region: &region {options.region}")
    print(f"  zones: &zones {zones}")
    print(f"  image: &image {image}")
    print(f"  security_group: &security_group {group}")
    print(f"  instance_profile: &instance_profile {profile}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
