"""One call: coalescing, admission, retry loop, exchange."""
