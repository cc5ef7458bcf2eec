"""The fleet's proof, on real servers: Redis, the engine's own workers in their processes, and a gateway that counts.

    .venv/bin/uv run --all-extras --group bench python -m benchmarks.fleet

A run takes about ten minutes and writes `fleet.json` and `fleet.md` to benchmarks/results/. `--only chaos`,
`rate`, `doubles` or `throughput` runs one part; it prints, and writes nowhere unless `--out` says so. The exit
code is 0 only where the promises hold: the figures of speed fail no run.

- chaos: 4 workers, 20,000 requests, a random worker killed by SIGKILL every second and replaced at once, Redis
  restarted once. SMS per number at most 1, every request accounted for, and no window of 5 s in which more than
  5 % over the shared rate came.
- rate: the same workers, undisturbed: every window of 5 s within 5 % of the rate that they share.
- doubles: each task delivered to two workers at once, 1,000 times: 1,000 SMS.
- throughput: 1, 2 and 4 workers against a gateway that answers after 50 ms, with the claim and without it, beside
  the single process; CPU of the workers and of Redis apart, commands of Redis and bytes a request.

How it measures:

- Redis is Debian's, on a port of the loopback, with `appendonly yes` and `appendfsync always` on this machine's disk.
- A request counts when the gateway has read its last byte; its time is that moment, of the system's monotonic clock.
- Throughput: the workers are started and warmed up, and stopped (SIGSTOP) while the queue is filled, so that they
  have the machine to themselves, with Redis and the gateway; each is bounded to 100 requests at a time. Their time is from the gateway's first request to its
  last. With more workers than cores, they share them: CPU a request says what the rate cannot.
"""
