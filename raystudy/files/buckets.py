"""Clients of object stores, with the credentials that each one's own tools would use."""

import os
from datetime import timedelta
from typing import Any

from obstore.store import GCSStore, S3Store

from raystudy.files.objects import ObjectFiles

REQUEST_S, CONNECT_S = 60, 5
"""Of one request, which moves a few megabytes at most."""


def open_bucket(location: str) -> ObjectFiles:
    """The place ``s3://bucket/prefix`` or ``gs://bucket/prefix``; asks nothing of it yet."""
    scheme, _, rest = location.partition("://")
    bucket, _, prefix = rest.partition("/")
    return ObjectFiles(location, _client(scheme, bucket, prefix))


def _client(scheme: str, bucket: str, prefix: str) -> Any:
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=REQUEST_S),
        "connect_timeout": timedelta(seconds=CONNECT_S),
    }
    # A few quick tries here; raystudy.files.patience goes on from there.
    retries: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=15)}
    common: dict[str, Any] = {"prefix": prefix or None, "client_options": options, "retry_config": retries}
    if scheme == "gs":
        return GCSStore(bucket, **common)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if endpoint:
        common["endpoint"] = endpoint
        options["allow_http"] = endpoint.startswith("http://")
    provider = None if os.environ.get("AWS_ACCESS_KEY_ID") else _boto3_provider()
    if provider is not None:
        common["credential_provider"] = provider
    elif not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        common["region"] = "us-east-1"
    return S3Store(bucket, **common)


def _boto3_provider() -> Any:
    """Profiles, SSO and roles as the AWS tools know them; None without boto3 or without any credentials."""
    try:
        from boto3.session import Session
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return None
    session = Session()
    return None if session.get_credentials() is None else Boto3CredentialProvider(session)
