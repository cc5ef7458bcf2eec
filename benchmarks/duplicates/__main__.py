"""The duplicate table: how many POSTs a server saw whole for one logical call, under the same faults.

    .venv/bin/uv run --all-extras --group bench python -m benchmarks.duplicates

The gateway has no idempotency key, so each POST that it has read whole can be a paid SMS, and voids
the PIN of the one before. A second POST after a lost answer is a duplicate; the only POST that may be
repeated is one that the gateway certainly did not take (a refused connection, a 429).

- Real sockets on loopback; each contender in a process of its own; each call with a fresh client and a
  server of its own, whose answers are to the byte the same for all. A POST counts when the server has read
  its last byte, before the fault.
- A user's settings are equal for all: a timeout of 0.3 s, three tries, a pause of about 0.2 s. A contender's own
  habits stay as delivered (ours: `RetryPolicy`'s four attempts; an SDK's own retries and pauses).
- An SDK makes the call that its vendor documents for this: a verification's start, or an SMS. Its number is
  that of the client library alone. A vendor may well recognise a repeated request by something in it; none
  of these sends an idempotency key unless it is told to.
- A contender that is not installed is "not available", and the run goes on.

Left out, and why (looked at in the versions of November 2026):

- `plivo` sets its base URL back to the vendor's on every request that is not a voice call.
- `messagebird`, `stytch`, `smsapi-client` take no timeout, so the first fault would never end.
- `messente-api`, `clicksend-client`, `bandwidth-sdk` have the HTTP layer of `infobip-api-python-client`
  (OpenAPI Generator over urllib3's defaults), and `surge-sdk` that of `telnyx` (Stainless): the same numbers.
- `signalwire` pins a `twilio` of years ago, and `africastalking` an aiohttp that is older than ours needs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..report import RESULTS, options, write
from .contenders import CONTENDERS
from .run import CALLS, files, markdown, run


def main(words: Sequence[str]) -> int:
    asked = options("benchmarks.duplicates", __doc__, words, only=tuple(CONTENDERS), calls=CALLS, out="")
    results = run(lambda text: print(text, file=sys.stderr), asked.only or CONTENDERS, asked.calls)
    if asked.out or not (asked.only or asked.calls != CALLS):
        write(Path(asked.out or RESULTS), files(results))
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
