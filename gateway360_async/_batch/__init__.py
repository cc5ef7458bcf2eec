"""Batches: many requests, as completed; with a name, durable and shared by machines."""

from ._batch import HALT_ON, Batch
from ._input import InputReader
from ._report import BatchItem, BatchReport

__all__ = ["HALT_ON", "Batch", "BatchItem", "BatchReport", "InputReader"]
