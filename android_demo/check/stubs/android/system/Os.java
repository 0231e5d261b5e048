package android.system;

/** What the app uses of a class that the toolchain's android.jar lacks; compiled against, never packaged. */
public final class Os {
    private Os() {}

    public static native void setenv(String name, String value, boolean overwrite);
}
