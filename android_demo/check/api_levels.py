"""No method or field above minSdk without a look at SDK_INT first.

usage: api_levels.py NEWAPI_LINT TYPES MIN_SDK JAR...
newapi_lint.py lists android.* references above minSdk; here java.* is listed as well, each reference is looked up in
the bytecode, and fails unless the same method has read Build.VERSION.SDK_INT before it.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Overrides that return the subclass: in JDK 9, but in Android only from 9 (API 28) on.
COVARIANT = re.compile(
    r"Method java/nio/(?!Buffer)\w+Buffer\.(flip|clear|rewind|limit|position|mark|reset):\(I?\)Ljava/nio/\w+Buffer;"
)
ANDROID_ONLY, WITH_JAVA = "(?:android)/", "(?:android|javax?)/"


def main(lint: str, types: str, minimum: str, *jars: str) -> None:
    references, found, guarded = 0, [], 0
    source = Path(lint).read_text()
    assert ANDROID_ONLY in source, "newapi_lint.py has changed"
    with tempfile.TemporaryDirectory() as folder:
        both = Path(folder) / "lint.py"
        both.write_text(source.replace(ANDROID_ONLY, WITH_JAVA))
        for jar in jars:
            run = [sys.executable, str(both), types, minimum, jar]
            output = subprocess.run(run, capture_output=True, text=True, check=True).stdout
            references += int(re.search(r"^(\d+) android", output, re.M)[1])
            code = bytecode(jar)
            found += [f"{call} in {jar}" for call in COVARIANT.findall(code)]
            for level, member, where in re.findall(r"^API (\d+): (\S+)  in (\S+)$", output, re.M):
                if is_guarded(code, member, where):
                    guarded += 1
                else:
                    found.append(f"API {level}: {member} in {where}")
    print("\n".join(found))
    print(
        f"{references} references to android.* and java.*, {guarded} above API {minimum} and guarded, "
        f"{len(found)} not guarded"
    )
    sys.exit(bool(found))


def bytecode(jar: str) -> str:
    with zipfile.ZipFile(jar) as archive:
        classes = [name[:-6].replace("/", ".") for name in archive.namelist() if name.endswith(".class")]
    return subprocess.run(
        ["javap", "-p", "-c", "-cp", jar, *classes], capture_output=True, text=True, check=True
    ).stdout


def is_guarded(code: str, member: str, where: str) -> bool:
    """Whether every method of class `where` that uses `member` reads SDK_INT before."""
    owner, name = member.rsplit(".", 1)
    simple = owner.split(".")[-1]
    use = re.compile(
        rf"// (?:Interface)?(?:Method|Field) \S*\b{simple}\.(?:\"?{'<init>' if name == 'constructor' else name}\"?):"
    )
    body = re.search(rf"^[^\n]*class {re.escape(where)}\b.*?(?=^}})", code, re.M | re.S)
    if body is None:
        return False
    methods = [method for method in body[0].split("\n\n") if use.search(method)]
    return bool(methods) and all("Build$VERSION.SDK_INT" in method[: use.search(method).start()] for method in methods)


if __name__ == "__main__":
    main(*sys.argv[1:])
