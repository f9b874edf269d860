"""The areas' own commands below `pld`."""
