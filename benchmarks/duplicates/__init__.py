"""The duplicate table."""
