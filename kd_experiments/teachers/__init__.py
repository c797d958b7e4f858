"""Teachers: trained once and kept, or loaded from a file; what they say about every view of every image."""
