"""The soak: mixed faults and cancellations for minutes on end, and at the end every SMS accounted for.

    .venv/bin/uv run --all-extras --group bench python -m benchmarks.soak --minutes 10

A fault server in a process of its own keeps, for each number, how often it read a request to that number
whole and how many SMS it "sent". The client's process sends to each number once (single calls, double clicks
and batches, cancelled at random moments, with short deadlines, left early) and keeps what each call reported.
At the end the two are laid side by side. The bars, all of which have to hold for exit code 0:

- calls = results: every call ended with a result or with its cancellation, every entry that a batch had read
  came out as an item or in `report.unconsumed`.
- SMS = Ok + at most those that may have been sent: an `Ok` has exactly one SMS, a call that may have been
  sent at most one, and all others none. A cancelled call counts as one that may have been sent.
- No call is "not sent" whose request the server accepted. What the log says of a cancelled call is held to
  the same, though not in the balance: a cancellation whose log says nothing has to have sent nothing.
- Every request that the server read whole is one that a client of ours would send.
- Open sockets and tasks are back at what they were before the client was made.
- Memory is flat: the resident memory at the end, against what it was after the warm-up.
- Nothing was logged as an error, by the library, by asyncio or by the HTTP library.

What it does not hold against a client: a surplus answer that comes after the next request has left on the
same connection. HTTP/1.1 has nothing to tell it from that request's answer. Here a surplus answer comes
together with the one that it follows.
"""
