import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.kotlin.jvm)
    `java-library`
}

java {
    sourceCompatibility = JavaVersion.VERSION_11
    targetCompatibility = JavaVersion.VERSION_11
}

kotlin {
    compilerOptions { jvmTarget = JvmTarget.JVM_11 }
}

// The same classes ai.onnxruntime.* are in the desktop jar and in the Android AAR: the app brings the latter.
dependencies {
    api(project(":core"))
    compileOnly(libs.onnxruntime.jvm)
    testImplementation(libs.onnxruntime.jvm)
    testImplementation(libs.android.json)
    testImplementation(libs.junit)
}

// Where the tests find bundles, and what edge-run made of the same audio (written by check/reference.py).
tasks.test {
    systemProperty("edge.bundles", rootDir.resolve("../demo_out/bundles").path)
    systemProperty("edge.reference", rootDir.resolve("build/reference").path)
    environment("ORT_DISABLE_TELEMETRY", "1")
    maxHeapSize = "512m"
}
