"""Measurements of the running graph; each prints a table, writes JSON and knows its aims."""
