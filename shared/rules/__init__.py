"""Rules: what operations people wrote, held against events. Pure: no clock, network, environment or log."""
