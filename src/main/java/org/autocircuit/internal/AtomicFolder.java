package org.autocircuit.internal;

import java.io.IOException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Writes the files of a folder beside their final place and moves them when all are complete. A new
 * folder appears in one step. In an existing one the files that differ are replaced, others stay;
 * where that takes more than one step, the file without which nobody reads the rest is gone before
 * the first and comes last, so that nobody ever reads files that do not belong together.
 */
public final class AtomicFolder {

  /** Writes all files, each directly into the folder it is given. */
  @FunctionalInterface
  public interface Content {
    /** Writes files into an existing folder. */
    void writeTo(Path folder) throws IOException;
  }

  private AtomicFolder() {}

  /**
   * Writes a folder, and makes those above it if need be.
   *
   * @param target the folder
   * @param key the name of the file without which nobody reads the others
   * @param content writes the files
   * @throws IOException if it cannot be written; says which folder or file, and why
   */
  public static void write(Path target, String key, Content content) throws IOException {
    try {
      requireFolder(target);
      if (Files.exists(target)) {
        Path place = target.toRealPath();
        try (Temporary temporary = Temporary.in(place)) {
          content.writeTo(temporary.folderFor(target));
          temporary.moveFilesTo(place, key);
        }
      } else {
        Path place = target.toAbsolutePath();
        Files.createDirectories(place.getParent());
        try (Temporary temporary = Temporary.in(place.getParent())) {
          content.writeTo(temporary.folderFor(target));
          temporary.moveFolderTo(place);
        }
      }
    } catch (IOException e) {
      throw AtomicFile.failure(target, e);
    }
  }

  /**
   * Finds out whether a folder could be written now, as far as that can be known.
   *
   * @throws IOException if not; says why
   */
  public static void requireWritable(Path target) throws IOException {
    try {
      AtomicFile.probe(requireFolder(target));
    } catch (IOException e) {
      throw AtomicFile.failure(target, e);
    }
  }

  /** The folder, or the first above it that exists. */
  private static Path requireFolder(Path target) throws IOException {
    Path folder = target.toAbsolutePath();
    while (!Files.exists(folder)) {
      folder = folder.getParent();
    }
    if (!Files.isDirectory(folder)) {
      throw new FileSystemException(
          target.toString(),
          null,
          folder.equals(target.toAbsolutePath())
              ? "it is not a folder"
              : folder + " is not a folder");
    }
    return folder;
  }
}
