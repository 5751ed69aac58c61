"""Rehearsal: what the rules would do with events, over time, without doing any of it. Pure."""
