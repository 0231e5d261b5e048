"""Names of sources as names of files, on every system."""

import re
import unicodedata
from collections.abc import Sequence

_LONGEST = 60


def stem_names(sources: Sequence[str]) -> list[str]:
    """A name of letters, digits, - and _ for each source, in order, no two alike even where case does not count.

    "Lead Vocals" becomes Lead_Vocals, "kick/snare" kick_snare; one without a letter source1, source2, ...
    """
    names: list[str] = []
    for number, source in enumerate(sources, 1):
        plain = unicodedata.normalize("NFKD", source).encode("ascii", "ignore").decode()
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")[:_LONGEST] or f"source{number}"
        unique, count = name, 2
        while unique.lower() in {n.lower() for n in names}:
            unique, count = f"{name}_{count}", count + 1
        names.append(unique)
    return names
