"""`python -m edge.bundles`: note of what weights the bundles were made."""

from edge.bundles import FOLDER, record_sources

record_sources(FOLDER.parent / "weights")
