"""What a run leaves behind: its record on disk, its mirror in Weights & Biases, and what it says while it runs."""
