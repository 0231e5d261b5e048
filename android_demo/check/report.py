"""Validates a report of the app against edge-bench's schema. usage: report.py SCHEMA REPORT"""

import json
import sys
from pathlib import Path

import jsonschema

schema, report = (json.loads(Path(path).read_text()) for path in sys.argv[1:])
jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(report)
print(f"{len(report['results'])} results, {len(report['failures'])} failure(s)")
