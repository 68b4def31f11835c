package org.autocircuit.internal.jni;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.URL;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import org.autocircuit.exception.NativeLoadException;
import org.bytedeco.javacpp.Loader;

/**
 * Loads the native libraries: JavaCPP's, OpenBLAS and LibTorch as the presets bring them, and ours
 * on top. It happens once, before the library touches anything native; a failure is remembered.
 */
public final class NativeLoader {

  private static final Logger LOG = System.getLogger("org.autocircuit.native");
  private static final String PLATFORM = "linux-x86_64";
  private static final String LIBTORCH = "org/bytedeco/pytorch/linux-x86_64/libc10.so";

  /** A library of each jar that has to be there. (Of JavaCPP itself the presets bring another.) */
  private static final Map<String, String> JARS =
      Map.of(
          "org.bytedeco:openblas", "org/bytedeco/openblas/linux-x86_64/libjniopenblas.so",
          "org.bytedeco:pytorch", LIBTORCH,
          "org.autocircuit:autocircuit",
              "org/autocircuit/internal/jni/linux-x86_64/libjniautocircuit.so");

  private static volatile boolean loaded;
  private static String failure;

  private NativeLoader() {}

  /**
   * Returns when the native libraries are loaded.
   *
   * @throws NativeLoadException if they cannot be; one line that says what to do
   */
  public static void require() {
    if (!loaded) {
      loadOnce();
    }
  }

  private static synchronized void loadOnce() {
    if (failure != null) {
      throw new NativeLoadException(failure, null);
    }
    if (!loaded) {
      try {
        load();
      } catch (NativeLoadException e) {
        failure = e.getMessage();
        throw e;
      }
      loaded = true;
    }
  }

  private static void load() {
    if (!Loader.getPlatform().equals(PLATFORM)) {
      throw new NativeLoadException(
          "AutoCircuit's native library is for %s only, this is %s"
              .formatted(PLATFORM, Loader.getPlatform()),
          null);
    }
    // Libraries find each other by name, so two LibTorch mix, and the second one to start up finds
    // the first one's operators registered: it ends the process.
    Optional<String> foreign = LoadedLibTorch.foreign(onClassPath(LIBTORCH));
    if (foreign.isPresent()) {
      throw new NativeLoadException(
          ("another LibTorch is in this process already: %s; a process can hold one only. Use either"
                  + " it or AutoCircuit here. If another class loader loaded AutoCircuit's, give"
                  + " both the same jars and the same -D%s, or put the jars where they share them")
              .formatted(foreign.get(), CacheFolder.PROPERTY),
          null);
    }
    long start = System.nanoTime();
    try {
      OpenBlasVersion.check();
      NativeLibrary.numThreads();
    } catch (LinkageError e) {
      throw new NativeLoadException(whatToDo(e), e);
    }
    if (Loader.addressof("openblas_set_num_threads") == null) {
      LOG.log(
          Level.WARNING, "LibTorch runs without OpenBLAS: its BLAS may have threads of its own");
    }
    LOG.log(
        Level.DEBUG,
        String.format(
            Locale.ROOT,
            "loaded the native libraries from %s in %.1f s; %s; up to %d threads a call",
            CacheFolder.path(),
            (System.nanoTime() - start) / 1e9,
            NativeLibrary.machine(),
            NativeLibrary.numThreads()));
  }

  private static String whatToDo(LinkageError error) {
    for (Map.Entry<String, String> jar : JARS.entrySet()) {
      if (onClassPath(jar.getValue()) == null) {
        return "%s: the jar with classifier %s is not on the class path; add that dependency"
            .formatted(jar.getKey(), PLATFORM);
      }
    }
    String unusable = CacheFolder.whyUnusable();
    if (unusable != null) {
      return "%s; set -D%s to a folder with 1 GB free".formatted(unusable, CacheFolder.PROPERTY);
    }
    return ("the native libraries in %s cannot be loaded (%s). Programs must be allowed to run from"
            + " that folder (set -D%s to another where it is mounted noexec), and javacpp,"
            + " openblas, pytorch and autocircuit must have the versions of autocircuit's pom")
        .formatted(CacheFolder.path(), innermost(error), CacheFolder.PROPERTY);
  }

  private static URL onClassPath(String library) {
    return NativeLoader.class.getClassLoader().getResource(library);
  }

  /** The first line of what the system's loader said. */
  private static String innermost(Throwable error) {
    Throwable cause = error;
    while (cause.getCause() != null) {
      cause = cause.getCause();
    }
    return String.valueOf(cause.getMessage()).lines().findFirst().orElse("");
  }
}
