"""The stores' figures, on real servers and a gateway that counts what comes.

    .venv/bin/uv run --all-extras --group bench python -m benchmarks.stores

A run takes about twenty minutes and writes `stores.json` and `stores.md` to benchmarks/results/. `--only throughput`,
`keyed`, `two` or `chaos` runs one part, and `--store sqlite` (`redis`, `postgres`) one store; these print only. The exit code
is 0 where all bars are met.

- throughput: a batch of 100 at a time against a gateway that answers after 50 ms, without and with a store, in five
  alternating rounds. CPU is the client's process; the server's stands apart.
- keyed: `request_pin` with an idempotency key through Redis, 100 at a time.
- two: two processes that send one file through one store, and one process.
- chaos: 4 processes send 20,000 rows at a shared rate; a random one is killed by SIGKILL every second and replaced at
  once, and the server, where there is one, is restarted once. At the gateway, no number may have two SMS, and each row
  has to be accounted for.

Redis has `appendonly yes` and `appendfsync always`; PostgreSQL its defaults, with `synchronous_commit`; SQLite this
machine's disk.
"""
