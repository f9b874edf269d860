"""Between messages and the vocabulary of `pld`."""
