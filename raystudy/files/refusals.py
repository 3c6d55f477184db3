"""What an object store's errors mean: whether they may pass, and what a user can do about them."""

import re

from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_PASSING_STATUS = {408, 409, 425, 429}
"""Of those below 500. 409 is what S3 says when two write the same name at once."""


def may_pass(error: Exception) -> bool:
    """Whether trying again may help: connections, time-outs, errors of the server."""
    if isinstance(error, AlreadyExistsError | PermissionDeniedError | UnauthenticatedError | FileNotFoundError):
        return False
    if not isinstance(error, BaseError | TimeoutError | ConnectionError):
        return False
    text = str(error)
    if _lacks_credentials(text):
        return False
    status = _STATUS.search(text)
    return status is None or int(status[1]) >= 500 or int(status[1]) in _PASSING_STATUS


def is_missing_bucket(error: Exception) -> bool:
    """Whether the store says that there is no such bucket."""
    return "NoSuchBucket" in str(error) or "The specified bucket does not exist" in str(error)


def cause(error: Exception, location: str) -> str:
    """Why a request was refused, in a line."""
    text, bucket = str(error), location.split("://")[-1].split("/")[0]
    code = match[1] if (match := _CODE.search(text)) else ""
    if is_missing_bucket(error):
        return f"there is no bucket {bucket}; make it, or correct the address"
    if _lacks_credentials(text):
        return (
            "no credentials are found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give the machine a role, or "
            "install boto3 (pip install 'raystudy[aws]') for AWS_PROFILE and `aws sso login`"
            if location.startswith("s3://")
            else "no credentials are found; run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS"
        )
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or "403" in text[:300]:
        return f"access is refused{f' ({code})' if code else ''}; check the credentials and the bucket's policy"
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return f"the bucket lies in another region ({code}); set AWS_REGION to it"
    return " ".join(text.split("Debug source:")[0].split())[:300]


def _lacks_credentials(text: str) -> bool:
    return "169.254.169.254" in text or "metadata.google.internal" in text or "NoCredentials" in text
