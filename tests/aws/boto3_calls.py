"""Calls PutRecords of a server by boto3, as `core/benches/aws.rs` asks: calls a second and CPU time a call."""

import json
import sys
import time

import boto3

url, records, size, calls, rounds = sys.argv[1], *map(int, sys.argv[2:])
client = boto3.client(
    "kinesis", endpoint_url=url, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
)
batch = [{"Data": b"x" * size, "PartitionKey": f"key-{n}"} for n in range(records)]


def put() -> None:
    answer = client.put_records(StreamName="null", Records=batch)
    assert answer["FailedRecordCount"] == 0
    assert len(answer["Records"]) == records


put()
for _ in range(rounds):
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        put()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"calls": calls / wall, "cpu": cpu / calls}), flush=True)
