pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}

dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "stem-edge-demo"
include(":core", ":engine-ort", ":app")

// The ExecuTorch engine adds about 10 MB of native libraries: -Pexecutorch=true, or in gradle.properties.
if (providers.gradleProperty("executorch").orNull == "true") include(":engine-executorch")
