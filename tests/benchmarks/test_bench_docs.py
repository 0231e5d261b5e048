"""docs/benchmarks.md says what the reports say, and the reports are what the schema says."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


def test_the_page_is_the_one_made_from_the_reports():
    from edge.benchmarks.docs import page

    assert (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8") == page(RESULTS)


def test_every_section_names_its_command_and_machine():
    from edge.benchmarks.docs import page

    sections = page(RESULTS).split("\n## ")[1:]
    assert len(sections) >= 3
    for section in sections:
        assert re.search("`[^`]*(edge-|python|make )[^`]*`", section), section.splitlines()[0]
        assert re.search("[Mm]easured|[Cc]ounted", section), section.splitlines()[0]


@pytest.mark.parametrize("name", ["bench.json", "htdemucs.json"])
def test_the_reports_meet_the_schema(name):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "benchmarks" / "report.schema.json").read_text())
    report = json.loads((RESULTS / name).read_text())
    for key in ("rivals", "delegation"):  # beside what the schema knows
        report.pop(key, None)
    jsonschema.Draft202012Validator(schema).validate(report)
    assert report["failures"] == []


def test_a_broken_report_is_named(tmp_path):
    from edge.benchmarks.docs import page
    from edge.errors import InputError

    (tmp_path / "bench.json").write_text("{")
    with pytest.raises(InputError, match=r"bench\.json is no JSON"):
        page(tmp_path)
