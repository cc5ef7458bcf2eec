"""The stores' figures."""
