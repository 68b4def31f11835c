package org.autocircuit.internal.jni;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.bytedeco.javacpp.Loader;

/**
 * Says where JavaCPP unpacks native libraries, to load them from there: the first of the property's
 * folder, {@code .javacpp/cache} in the home and one in {@code java.io.tmpdir} that can be used.
 */
final class CacheFolder {

  static final String PROPERTY = "org.bytedeco.javacpp.cachedir";

  private CacheFolder() {}

  /** The folder; {@code null} if none of them can be used. */
  static Path path() {
    try {
      return Loader.getCacheDir().toPath();
    } catch (IOException e) {
      return null;
    }
  }

  /** Why libraries cannot be unpacked there; {@code null} if they can. */
  static String whyUnusable() {
    Path folder = path();
    if (folder == null) {
      return "no folder to unpack libraries in can be made or written: not that of -D%s, nor in %s, nor in %s"
          .formatted(
              PROPERTY, System.getProperty("user.home"), System.getProperty("java.io.tmpdir"));
    }
    try {
      Path probe = Files.createTempFile(folder, "probe", null);
      try {
        Files.write(probe, new byte[1 << 16]);
      } finally {
        Files.delete(probe);
      }
      return null;
    } catch (IOException e) {
      return "cannot write to %s (%s)".formatted(folder, e.getMessage());
    }
  }
}
