"""The student of a run, and its peer in mutual learning."""
