"""The five questions: revision, selection, weighting, temperature, label loss; `objective` asks them in order."""
