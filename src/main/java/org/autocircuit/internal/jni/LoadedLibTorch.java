package org.autocircuit.internal.jni;

import java.io.IOException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.bytedeco.javacpp.Loader;

/** The LibTorch libraries that are mapped into this process. */
final class LoadedLibTorch {

  private static final Path MAPS = Path.of("/proc/self/maps");
  private static final Pattern FILE =
      Pattern.compile("(/.*/)lib(c10|torch)(_[a-z_]+)?\\.so[.0-9]*( \\(deleted\\))?");

  private LoadedLibTorch() {}

  /**
   * A file of a LibTorch that is not the presets': another engine's, or one that another class
   * loader unpacked elsewhere. Empty where there is none, or the system does not tell.
   *
   * @param ours the presets' libc10.so on the class path; {@code null} if it is not there
   */
  static Optional<String> foreign(URL ours) {
    try (Stream<String> lines = Files.lines(MAPS)) {
      Stream<String> files =
          lines
              .map(line -> line.substring(Math.max(0, line.indexOf('/'))))
              .filter(file -> FILE.matcher(file).matches());
      Collection<String> loaded = Loader.getLoadedLibraries().values();
      // Unpacks nothing where nothing is mapped, and nothing that will not be needed where it is.
      return files.filter(file -> !loaded.contains(file) && !isBeside(file, ours)).findFirst();
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  /** Class loaders that unpack into the same folder share one LibTorch. */
  private static boolean isBeside(String file, URL ours) {
    try {
      return ours != null
          && Path.of(file).getParent().equals(Loader.cacheResource(ours).toPath().getParent());
    } catch (IOException e) {
      return false;
    }
  }
}
