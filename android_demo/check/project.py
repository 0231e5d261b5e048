"""Reads the Gradle project for check.sh, which has no Gradle.

usage: project.py version NAME | abis | bundles | manifest LIBRARY_MANIFEST... | resources | check
"""

import re
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parent.parent
ANDROID = "{http://schemas.android.com/apk/res/android}"
TOOLS = "{http://schemas.android.com/tools}"
CATALOG = tomllib.loads((ROOT / "gradle/libs.versions.toml").read_text())
APP_BUILD = (ROOT / "app/build.gradle.kts").read_text()
# What the issue of the app asks for; one place says it, the others must agree.
PINS = {"agp": "8.9.0", "kotlin": "2.0.21", "compileSdk": "35", "targetSdk": "35", "minSdk": "26"}


def application_id() -> str:
    match = re.search(r'applicationId = "(.+)"', APP_BUILD)
    assert match
    return match[1]


def bundles() -> list[str]:
    """Names of the bundles that go into the APK."""
    match = re.search(r"^bundles=(.+)$", (ROOT / "gradle.properties").read_text(), re.M)
    assert match
    return [Path(path.strip()).name for path in match[1].split(",")]


def abis() -> list[str]:
    match = re.search(r"abiFilters \+= listOf\((.+)\)", APP_BUILD)
    assert match
    return re.findall(r'"(.+?)"', match[1])


def merged_manifest(libraries: list[str]) -> str:
    """The app's manifest with what libraries add, less what it removes with tools:node, as Gradle's merger does."""
    ElementTree.register_namespace("android", ANDROID[1:-1])
    manifest = ElementTree.parse(ROOT / "app/src/main/AndroidManifest.xml").getroot()
    manifest.set("package", application_id())
    places = ["", "application"]

    def place(root: ElementTree.Element, path: str) -> ElementTree.Element:
        found = root.find(path) if path else root
        assert found is not None
        return found

    def key(element: ElementTree.Element) -> tuple[str, str | None]:
        return element.tag, element.get(ANDROID + "name")

    for path in places:
        own = place(manifest, path)
        known = {key(element) for element in own}
        for library in libraries:
            theirs = ElementTree.parse(library).getroot().find(path or ".")
            for element in theirs if theirs is not None else []:
                if key(element) not in known and element.tag not in ("application", "uses-sdk"):
                    own.append(element)
        for element in list(own):
            if element.get(TOOLS + "node") == "remove":
                own.remove(element)
    return ElementTree.tostring(manifest, encoding="unicode").replace("${applicationId}", application_id())


def check_resources() -> str:
    """Every string is used, and every text in a layout or the code's screens is a resource."""
    sources = [*ROOT.glob("app/src/main/kotlin/**/*.kt"), *ROOT.glob("app/src/main/res/layout*/*.xml")]
    text = "\n".join(path.read_text() for path in [*sources, ROOT / "app/src/main/AndroidManifest.xml"])
    strings = re.findall(r'<string name="(\w+)"', (ROOT / "app/src/main/res/values/strings.xml").read_text())
    for name in strings:
        assert re.search(rf"(R\.string\.|@string/){name}\b", text), f"the string {name} is not used"
    for path in ROOT.glob("app/src/main/res/layout*/*.xml"):
        for element in ElementTree.parse(path).iter():
            for attribute in ("text", "contentDescription", "hint"):
                value = element.get(ANDROID + attribute, "@")
                assert value.startswith("@"), f"{path.name}: {attribute} {value!r} is no resource"
            if element.tag in ("ProgressBar", "SeekBar", "Spinner", "ImageView"):
                assert element.get(ANDROID + "contentDescription"), f"{path.name}: {element.tag} has no description"
    return f"{len(strings)} strings, all used; every text and description is a resource"


def shrinker_rules() -> list[Path]:
    """What each engine tells R8 of its users: in the jar of a JVM module, named by the build of an Android one."""
    rules = []
    for service in ROOT.glob("engine-*/src/main/resources/META-INF/services/*"):
        module = service.relative_to(ROOT).parts[0]
        packed = list((ROOT / module).glob("src/main/resources/META-INF/proguard/*.pro"))
        named = re.findall(r'consumerProguardFiles\("(.+?)"\)', (ROOT / module / "build.gradle.kts").read_text())
        found = [*packed, *(ROOT / module / name for name in named)]
        assert found and all(file.is_file() for file in found), f"{module} has no rules for apps that shrink"
        for engine in service.read_text().split():
            kept = any(f"-keep class {engine} " in file.read_text() for file in found)
            assert kept, f"{module}: {engine} is not kept"
        rules += found
    return rules


def check_project() -> str:
    """Pins, and that every alias and module that a build file uses exists."""
    for name, version in PINS.items():
        assert CATALOG["versions"][name] == version, f"{name} is {CATALOG['versions'][name]}, not {version}"
    wrapper = (ROOT / "gradle/wrapper/gradle-wrapper.properties").read_text()
    assert "gradle-8.11.1-bin.zip" in wrapper, "the wrapper is not of Gradle 8.11.1"
    builds = [ROOT / "build.gradle.kts", *ROOT.glob("*/build.gradle.kts")]
    known = {
        *(f"plugins.{name}" for name in CATALOG["plugins"]),
        *(f"versions.{name}" for name in CATALOG["versions"]),
        *CATALOG["libraries"],
    }
    known = {name.replace("-", ".") for name in known}
    for build in builds:
        content = build.read_text()
        for alias in re.findall(r"\blibs\.([\w.]+?)(?=\)|\.get\(\))", content):
            assert alias in known, f"{build.parent.name}: libs.{alias} is not in the version catalog"
        for module in re.findall(r'project\(":(.+?)"\)', content):
            assert (ROOT / module / "build.gradle.kts").is_file(), f"no module {module}"
        if build.parent != ROOT:
            assert "JvmTarget.JVM_11" in content, f"{build.parent.name}: jvmTarget is not 11"
    for rules in shrinker_rules():
        for kept in re.findall(r"-keep class (org\.stemedge\.[\w.]+) ", rules.read_text()):
            source = Path("src/main/kotlin", *kept.split(".")).with_suffix(".kt")
            assert list(ROOT.glob(f"*/{source}")), f"{rules.name} keeps {kept}, which is not there"
    settings = (ROOT / "settings.gradle.kts").read_text()
    modules = re.findall(r'":([\w-]+)"', settings)
    assert sorted(modules) == sorted(path.parent.name for path in ROOT.glob("*/build.gradle.kts")), "modules differ"
    return f"{len(modules)} modules, {len(known)} catalog entries, pins as asked for"


def main(command: str, *arguments: str) -> str:
    if command == "version":
        return CATALOG["versions"][arguments[0]]
    if command == "abis":
        return " ".join(abis())
    if command == "bundles":
        return " ".join(bundles())
    if command == "manifest":
        return merged_manifest(list(arguments))
    return {"resources": check_resources, "check": check_project}[command]()


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
