"""From records to tables and figures. Reads what runs left on disk; needs no torch for tables."""
