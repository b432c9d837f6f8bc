"""A server that speaks S3, whose keys are in the environment as AWS's would be."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from tests.waiting import PATIENCE_S

BUCKET = "photographs"


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address; it has an empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    settings = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "AWS_ENDPOINT_URL": url}.items():
        monkeypatch.setenv(name, value)
    requests.post(f"{url}/moto-api/reset", timeout=PATIENCE_S).raise_for_status()  # moto keeps what an earlier server held
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    S3FileSystem.clear_instance_cache()  # of an earlier server
    yield url
    server.stop()


def put(files: Mapping[str, bytes]) -> None:
    client = boto3.client("s3")
    for name, content in files.items():
        client.put_object(Bucket=BUCKET, Key=name, Body=content)


def stored(folder: str) -> dict[str, bytes]:
    """All that is below a folder of the bucket."""
    bucket = boto3.resource("s3").Bucket(BUCKET)
    return {
        each.key.removeprefix(f"{folder}/"): each.get()["Body"].read() for each in bucket.objects.filter(Prefix=f"{folder}/")
    }
