"""The client's part of its store: keys, claims before a request's first byte, completions after, batches with a name."""
