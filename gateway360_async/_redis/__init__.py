"""What several processes know together, in Redis: claims, counts and turns. `fleet` and `ledgers` stand in front of it."""
