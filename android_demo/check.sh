#!/usr/bin/env bash
# Compiles, tests, packages and verifies the app from its own sources, without the Android SDK, Gradle or a device.
#
# usage: check.sh TOOLCHAIN [BUNDLES]
#   TOOLCHAIN  folder that setup_toolchain.sh fills (about 350 MB); filled here where it is empty
#   BUNDLES    folder with bundles of both tasks, default ../demo_out/bundles (`make demo` writes it); the ones of
#              gradle.properties go into the APK, all of them through the tests
# environment: STEM_EDGE_ANDROID_TOOLS (default ../../shared/android), PYTHON (default ../.venv/bin/python, with
#   stem-edge installed in it), BUILD (default build/check)
# Ends with `N passed, N failed`; the exit code is 1 where anything failed. Logs: BUILD/logs.
set -uo pipefail
if [ $# -lt 1 ] || [ "$1" = --help ] || [ "$1" = -h ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
fi
HERE=$(cd "$(dirname "$0")" && pwd)
TOOLCHAIN=$(mkdir -p "$1" && cd "$1" && pwd)
BUNDLES=$(cd "${2:-$HERE/../demo_out/bundles}" 2>/dev/null && pwd) || {
  echo "check.sh: no bundles at ${2:-$HERE/../demo_out/bundles}: run \`make demo\`, or name their folder" >&2
  exit 2
}
TOOLS=${STEM_EDGE_ANDROID_TOOLS:-$HERE/../../shared/android}
PYTHON=${PYTHON:-$HERE/../.venv/bin/python}
BUILD=${BUILD:-$HERE/build/check}
for needed in "$TOOLS/setup_toolchain.sh" "$PYTHON"; do
  [ -e "$needed" ] || { echo "check.sh: $needed is not there (see check.sh --help)" >&2; exit 2; }
done
if [ -e "$BUILD/steps" ]; then rm -rf "$BUILD"; fi # of an earlier run
mkdir -p "$BUILD/logs" && : >"$BUILD/steps" && cd "$HERE" || exit 1

JSON=/usr/share/java/json-android.jar
JUNIT=/usr/share/java/junit4.jar:/usr/share/java/hamcrest-all.jar
STDLIB=$TOOLCHAIN/kotlinc/package/lib/kotlin-stdlib.jar
ANDROID=$TOOLCHAIN/android-34-stubs.jar
ORT=$TOOLCHAIN/ort/classes.jar
export ORT_DISABLE_TELEMETRY=1
export JAVA_OPTS="-Xmx1g -XX:TieredStopAtLevel=1 -XX:+UseSerialGC" # of kotlinc: short runs, few processors

# step NAME COMMAND...: one line with the last line of the command's output; everything else goes to its log.
step() {
  local name=$1 log="$BUILD/logs/${1// /-}.log" result=ok
  shift
  "$@" >"$log" 2>&1 || result=FAIL
  printf '%-4s %s: %s\n' "$result" "$name" "$(tail -n 1 "$log" | cut -c 1-240)" | tee -a "$BUILD/steps"
  if [ $result = FAIL ]; then tail -n 25 "$log" | sed 's/^/     | /'; fi
}

# junit NAME HEAP CLASSES [-DPROPERTY=VALUE...]: every test counts on its own.
junit() {
  local name=$1 heap=$2 classes=$3 log="$BUILD/logs/${1// /-}.log"
  shift 3
  # shellcheck disable=SC2086
  LD_LIBRARY_PATH=$TOOLCHAIN/ort-desktop java -Xmx"$heap" -Donnxruntime.native.path="$TOOLCHAIN/ort-desktop" \
    -Dedge.bundles="$BUNDLES" "$@" \
    -cp "$BUILD/core.jar:$BUILD/engine-ort.jar:$BUILD/tests.jar:$ORT:$STDLIB:$JSON:$JUNIT" \
    org.junit.runner.JUnitCore $classes >"$log" 2>&1
  "$PYTHON" check/junit.py "$name" "$log" "$BUILD/steps"
}

kotlinc() { # MODULE JAR CLASSPATH [OPTIONS] SOURCES...
  local module=$1 jar=$2 classpath=$3
  shift 3
  "$TOOLCHAIN/kotlinc/package/bin/kotlinc" -jvm-target 11 -no-reflect -module-name "$module" -cp "$classpath" -d "$jar" "$@" &&
    echo "$(for place in "$@"; do [ -d "$place" ] && find "$place" -name '*.kt'; done | wc -l) files to $(basename "$jar")"
}

toolchain() {
  local missing=()
  [ -e "$JSON" ] || missing+=(libandroid-json-org-java)
  command -v javac >/dev/null && command -v jar >/dev/null || missing+=(openjdk-17-jdk-headless)
  for tool in npm unzip apksigner zipalign dexdump; do command -v $tool >/dev/null || missing+=($tool); done
  command -v aapt2 >/dev/null || missing+=(aapt)
  [ -e /usr/share/java/junit4.jar ] && [ -e /usr/share/java/hamcrest-all.jar ] || missing+=(junit4 libhamcrest-java)
  if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" || return 1
  fi
  bash "$TOOLS/setup_toolchain.sh" "$TOOLCHAIN" || return 1
  # edge-run on the very ONNX Runtime of the APK: int8 kernels differ from version to version
  ORT_VERSION=$("$PYTHON" check/project.py version onnxruntime)
  [ -d "$TOOLCHAIN/ort-python-$ORT_VERSION" ] || "$PYTHON" -m pip install -q --disable-pip-version-check --no-deps \
    --target "$TOOLCHAIN/ort-python-$ORT_VERSION" "onnxruntime==$ORT_VERSION" || return 1
  echo "$(java -version 2>&1 | head -n 1), kotlinc $(cat "$TOOLCHAIN/kotlinc/package/build.txt"), ONNX Runtime $ORT_VERSION"
}

references() {
  ORT_VERSION=$("$PYTHON" check/project.py version onnxruntime)
  PYTHONPATH="$TOOLCHAIN/ort-python-$ORT_VERSION" "$PYTHON" check/reference.py "$BUNDLES" "$BUILD/reference/same-ort" "$ORT_VERSION" &&
    "$PYTHON" check/reference.py "$BUNDLES" "$BUILD/reference/installed-ort" "$ORT_VERSION"
}

compile_core() { kotlinc core "$BUILD/core.jar" "$JSON" core/src/main/kotlin; }

compile_engine() {
  kotlinc engine-ort "$BUILD/engine-ort.jar" "$BUILD/core.jar:$ORT" engine-ort/src/main/kotlin &&
    jar uf "$BUILD/engine-ort.jar" -C engine-ort/src/main/resources META-INF
}

compile_tests() {
  kotlinc tests "$BUILD/tests.jar" "$BUILD/core.jar:$BUILD/engine-ort.jar:$ORT:$JSON:$JUNIT" \
    -Xfriend-paths="$BUILD/core.jar" core/src/test/kotlin engine-ort/src/test/kotlin
}

resources() {
  "$PYTHON" check/project.py manifest "$TOOLCHAIN/ort/AndroidManifest.xml" check/onnxruntime-android-manifest.xml \
    >"$BUILD/AndroidManifest.xml" &&
    aapt2 compile --dir app/src/main/res -o "$BUILD/resources.zip" &&
    aapt2 link -I "$TOOLCHAIN/framework-res-34.apk" --manifest "$BUILD/AndroidManifest.xml" --java "$BUILD/gen" \
      --min-sdk-version "$("$PYTHON" check/project.py version minSdk)" \
      --target-sdk-version "$("$PYTHON" check/project.py version targetSdk)" \
      --version-code 1 --version-name 0.1.0 -o "$BUILD/base.apk" "$BUILD/resources.zip" &&
    mkdir -p "$BUILD/gen-classes" && javac -nowarn --release 11 -d "$BUILD/gen-classes" $(find "$BUILD/gen" -name '*.java') &&
    "$PYTHON" check/project.py resources
}

compile_app() {
  mkdir -p "$BUILD/stubs" && javac -nowarn --release 11 -d "$BUILD/stubs" $(find check/stubs -name '*.java') &&
    kotlinc app "$BUILD/app.jar" "$ANDROID:$BUILD/stubs:$JSON:$BUILD/core.jar:$BUILD/engine-ort.jar:$BUILD/gen-classes" app/src/main/kotlin &&
    jar uf "$BUILD/app.jar" -C "$BUILD/gen-classes" .
}

dex() {
  mkdir -p "$BUILD/dex" && java $JAVA_OPTS -cp "$TOOLCHAIN/r8.jar" com.android.tools.r8.D8 --release \
    --min-api "$("$PYTHON" check/project.py version minSdk)" --lib "$ANDROID" --classpath "$BUILD/stubs" --classpath "$JSON" --lib "$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")" \
    --output "$BUILD/dex" "$BUILD/core.jar" "$BUILD/engine-ort.jar" "$BUILD/app.jar" "$ORT" "$STDLIB" &&
    ls -l "$BUILD"/dex/*.dex | awk '{n += 1; s += $5} END {printf "%d dex file(s), %.1f MB\n", n, s / 1e6}'
}

package() {
  local items=() file name abi
  for file in "$BUILD"/dex/*.dex; do items+=("$(basename "$file")=$file"); done
  for abi in $("$PYTHON" check/project.py abis); do
    for file in "$TOOLCHAIN/ort/jni/$abi"/*.so; do items+=("lib/$abi/$(basename "$file")=$file"); done
  done
  for name in $("$PYTHON" check/project.py bundles); do
    while read -r file; do items+=("assets/bundles/$name/$file=$BUNDLES/$name/$file"); done < <(cd "$BUNDLES/$name" && find . -type f | sed 's|^\./||')
  done
  items+=("META-INF/services/org.stemedge.core.Engine=engine-ort/src/main/resources/META-INF/services/org.stemedge.core.Engine")
  python3 "$TOOLS/pack_apk.py" "$BUILD/base.apk" "$BUILD/unsigned.apk" "${items[@]}" &&
    keytool -genkeypair -keystore "$BUILD/debug.keystore" -storepass android -keypass android -alias debug -keyalg RSA \
      -keysize 2048 -validity 10000 -dname "CN=Android Debug" &&
    apksigner sign --ks "$BUILD/debug.keystore" --ks-pass pass:android --min-sdk-version "$("$PYTHON" check/project.py version minSdk)" \
      --out "$BUILD/stem-edge-demo.apk" "$BUILD/unsigned.apk" &&
    ls -l "$BUILD/stem-edge-demo.apk" | awk '{printf "%s, %.1f MB\n", $9, $5 / 1e6}'
}

verify_signature() { apksigner verify --verbose --min-sdk-version 26 "$BUILD/stem-edge-demo.apk" && zipalign -c -p 4 "$BUILD/stem-edge-demo.apk" && echo "signed (v2 or newer), aligned"; }

verify_apk() { "$PYTHON" check/apk.py "$BUILD/stem-edge-demo.apk" "$BUILD" "$BUNDLES"; }

api_levels() {
  "$PYTHON" check/api_levels.py "$TOOLS/newapi_lint.py" "$TOOLCHAIN/android-api-levels.d.ts" \
    "$("$PYTHON" check/project.py version minSdk)" "$BUILD/core.jar" "$BUILD/engine-ort.jar" "$BUILD/app.jar"
}

report() {
  "$PYTHON" check/report.py ../benchmarks/report.schema.json "$BUILD/report.json" &&
    "$PYTHON" check/report.py ../benchmarks/report.schema.json "$BUILD/report.json.sustained" &&
    "$PYTHON" -m edge.cli.bench compare "$BUILD/report.json" "$BUILD/report.json.sustained" &&
    echo "valid by edge-bench's schema, and edge-bench compare reads it"
}

step toolchain toolchain
step "project files" "$PYTHON" check/project.py check
step "edge-run references" references &
step "compile core" compile_core
step "compile engine-ort" compile_engine
step "resources and manifest" resources
step "compile app" compile_app &
step "compile tests" compile_tests
wait
step "dex" dex &
CLASSES=$(find core/src/test engine-ort/src/test -name '*Test.kt' | grep -v LongSong | sed 's|.*/kotlin/||; s|/|.|g; s|\.kt$||')
junit "JVM tests" 512m "$CLASSES" -Dedge.reference="$BUILD/reference/same-ort:$BUILD/reference/installed-ort" -Dedge.report="$BUILD/report.json"
wait
junit "ten-minute song" 64m org.stemedge.ort.LongSongTest -Dedge.song="$(find "$BUILD/reference/same-ort" -path '*song-44k/input.wav' | head -n 1)"
step "benchmark report" report
step "package and sign" package
step "signature and alignment" verify_signature
step "contents and badging" verify_apk
step "API levels" api_levels
passed=$(awk '$1 == "ok" {n += 1} $1 == "tests" {n += $2} END {print n + 0}' "$BUILD/steps")
failed=$(awk '$1 == "FAIL" {n += 1} $1 == "tests" {n += $3} END {print n + 0}' "$BUILD/steps")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
