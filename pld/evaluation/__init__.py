"""Honest statistics: seeds, outcomes, intervals, comparisons, reports."""
