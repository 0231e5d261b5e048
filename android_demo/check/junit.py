"""Shows what JUnit's text runner wrote: one line, the tests' notes, and failures. usage: junit.py NAME LOG STEPS"""

import re
import sys
from pathlib import Path

name, log, steps = sys.argv[1], Path(sys.argv[2]).read_text(errors="replace"), Path(sys.argv[3])
if match := re.search(r"^OK \((\d+) tests?\)", log, re.M):
    total, failed = int(match[1]), 0
elif match := re.search(r"^Tests run: (\d+),  Failures: (\d+)", log, re.M):
    total, failed = int(match[1]), int(match[2])
else:  # the process died
    total, failed = 1, 1
seconds = match[1] if (match := re.search(r"^Time: ([\d.,]+)", log, re.M)) else "?"
print(f"{'FAIL' if failed else 'ok  '} {name}: {total - failed} of {total} tests passed in {seconds} s")
for line in re.findall(r"note: (.*)", log):
    print(f"     {line}")
if failed:
    print("     | " + "\n     | ".join(log.splitlines()[-60:]))
with steps.open("a") as file:
    file.write(f"tests {total - failed} {failed}\n")
