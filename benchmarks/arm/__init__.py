"""The ARM64 instruction budget: bundles checked and counted on emulated cores. Instructions are not time."""
