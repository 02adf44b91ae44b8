"""RetryConfig with times that are given to it."""

import pickle
from datetime import UTC, datetime, timedelta

from unistream.producer import RetryConfig

start = datetime(2024, 1, 7, 12, tzinfo=UTC)
for waits in ([1, 2, 4], [0.5], [0], [3, 1, 2], list(range(1, 20))):
    config = RetryConfig(exp_backoff=waits)
    now = start
    print(config, config.shall_we_retry(now), config.shall_we_retry(now=now - timedelta(days=1)))
    for attempt in range(1, 8):
        config.mark_start_retry(now)
        config.mark_retry_failed(ValueError(attempt))
        answers = [config.shall_we_retry(now + timedelta(seconds=wait / 4)) for wait in range(-2, 90)]
        print(attempt, "".join("ny"[answer] for answer in answers), repr(config))
        now += timedelta(seconds=attempt)
    print(config == RetryConfig(exp_backoff=waits), config.to_dict()["attempts"], config.to_kwargs()["exp_backoff"])
    config.reset_tracker()
    print(config == RetryConfig(exp_backoff=waits), pickle.dumps(config, 4))
try:
    empty = RetryConfig(exp_backoff=[], attempts=1, last_attempt_time=start)
    empty.shall_we_retry(start)
except Exception as error:
    print(type(error), error)
config = RetryConfig()
print(config.exp_backoff, config.exp_backoff is RetryConfig().exp_backoff)
try:
    hash(config)
except TypeError as error:
    print(error)
config.exp_backoff = [9]
config.mark_start_retry(now=start)
config.mark_retry_failed(error=KeyError("x"))
config.show()
