"""A server that speaks S3, and how a process is led to it."""

import uuid
from dataclasses import dataclass, replace

import boto3
from botocore.config import Config


@dataclass(frozen=True)
class S3Server:
    """Is where a server is and who may use it.

    Attributes:
        endpoint: Its URL.
        key: Of an account that may make buckets.
        secret: Its secret.
    """

    endpoint: str
    key: str
    secret: str

    def behind(self, endpoint: str) -> "S3Server":
        """The same server, reached through another door."""
        return replace(self, endpoint=endpoint)

    def environment(self) -> dict[str, str]:
        """Variables that lead to it, without long pauses."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "LONGTAKE_S3_FIRST_PAUSE_S": "0.001",
            "LONGTAKE_S3_READ_TIMEOUT_S": "2",
        }

    def client(self):
        """A client of its own, to look at what is there."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def new_bucket(self) -> str:
        """Makes a bucket and gives its name."""
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=bucket)
        return bucket
