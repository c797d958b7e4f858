"""How fast the suite is, as ratios measured in one run; see `bench/README.md`."""
