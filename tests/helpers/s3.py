"""An S3 server, and the environment that points a process to it."""

import uuid
from dataclasses import dataclass, replace

import boto3
from botocore.config import Config


@dataclass(frozen=True)
class S3Server:
    """The address and credentials of a server.

    Attributes:
        endpoint: Its URL.
        key: Access key of an account that may create buckets.
        secret: Secret of that account.
    """

    endpoint: str
    key: str
    secret: str

    def behind(self, endpoint: str) -> "S3Server":
        """Returns the same server with another endpoint."""
        return replace(self, endpoint=endpoint)

    def environment(self) -> dict[str, str]:
        """Returns variables that point to it, without long pauses."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "LONGTAKE_S3_FIRST_PAUSE_S": "0.001",
            "LONGTAKE_S3_READ_TIMEOUT_S": "2",
        }

    def client(self):
        """Creates a client to inspect the contents."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def new_bucket(self) -> str:
        """Creates a bucket and returns its name."""
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=bucket)
        return bucket
