"""From records to tables, figures and one page with everything. Reads what runs left on disk."""
