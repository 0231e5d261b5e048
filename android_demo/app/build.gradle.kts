import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "org.stemedge.demo"
    compileSdk = libs.versions.compileSdk.get().toInt()

    defaultConfig {
        applicationId = "org.stemedge.demo"
        minSdk = libs.versions.minSdk.get().toInt()
        targetSdk = libs.versions.targetSdk.get().toInt()
        versionCode = 1
        versionName = "0.1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
    androidResources { noCompress += listOf("onnx", "pte", "f32") }
}

kotlin {
    compilerOptions { jvmTarget = JvmTarget.JVM_11 }
}

dependencies {
    implementation(project(":core"))
    implementation(project(":engine-ort"))
    implementation(libs.onnxruntime.android)
    if (providers.gradleProperty("executorch").orNull == "true") implementation(project(":engine-executorch"))
}

/** Copies the bundles of the Gradle property `bundles` to the assets, each under bundles/NAME. */
abstract class CopyBundles @Inject constructor(private val files: FileSystemOperations) : DefaultTask() {
    @get:InputFiles
    abstract val bundles: ConfigurableFileCollection

    @get:OutputDirectory
    abstract val assets: DirectoryProperty

    @TaskAction
    fun copy() {
        for (bundle in bundles.files) {
            check(bundle.resolve("manifest.json").isFile) {
                "$bundle is no bundle: run `make demo` or edge-export first, or set the property bundles"
            }
        }
        files.sync {
            into(assets)
            for (bundle in bundles.files) from(bundle) { into("bundles/${bundle.name}") }
        }
    }
}

val copyBundles = tasks.register<CopyBundles>("copyBundles") {
    bundles.from(
        providers.gradleProperty("bundles").map { list -> list.split(',').map { rootDir.resolve(it.trim()) } },
    )
}

androidComponents {
    onVariants { it.sources.assets?.addGeneratedSourceDirectory(copyBundles, CopyBundles::assets) }
}
