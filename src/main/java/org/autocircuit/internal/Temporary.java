package org.autocircuit.internal;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.stream.Stream;

/**
 * A file under a name that nobody else has, and if need be a folder beside it. Both are gone when
 * it is closed or moved, and when the process is asked to end. If it is killed, the next one that
 * is made in the same folder deletes them: a process locks its temporary files as long as it lives,
 * on any machine, so a file that can be locked is nobody's. Where locks are not supported they
 * stay.
 */
public final class Temporary implements AutoCloseable {

  private static final String PREFIX = ".autocircuit-";
  private static final String FILE = ".tmp";
  private static final String FOLDER = ".d";
  private static final int ATTEMPTS = 100;

  /** Those of this process, whose lock it would lose by opening them once more. */
  private static final Set<Temporary> ALIVE = new HashSet<>();

  /** Registered while there are any: it would keep the class loader. */
  private static final Thread HOOK =
      new Thread(null, Temporary::deleteAll, "autocircuit-temporary-files", 0, false);

  private static boolean hooked;
  private static boolean ending;

  private final Path file;
  private final FileChannel channel;

  /** Says that it is moved while the process ends, too, which does not delete it then. */
  private final boolean last;

  /** The folder's final place. */
  private Path destination;

  private Temporary(Path file, FileChannel channel, boolean last) {
    this.file = file;
    this.channel = channel;
    this.last = last;
  }

  /** Makes an empty file in a folder, and deletes those that killed processes left there. */
  public static Temporary in(Path parent) throws IOException {
    return in(parent, /* last= */ false);
  }

  /** As {@link #in}, also while the process ends. */
  static Temporary lastIn(Path parent) throws IOException {
    return in(parent, /* last= */ true);
  }

  private static Temporary in(Path parent, boolean last) throws IOException {
    clear(parent);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      Path file = parent.resolve(PREFIX + UUID.randomUUID() + FILE);
      Temporary temporary;
      synchronized (ALIVE) {
        if (!last) {
          hookIfNeeded(true);
          requireNotEnding();
        }
        temporary = new Temporary(file, create(file), last);
        ALIVE.add(temporary);
      }
      // Another process may have taken it for a killed one's in between.
      if (temporary.lock() && Files.exists(file)) {
        return temporary;
      }
      temporary.close();
    }
    throw new IOException("another process deletes temporary files in " + parent);
  }

  private static FileChannel create(Path file) throws IOException {
    try {
      // Not Files.createTempFile: that makes the file unreadable to everyone but its owner.
      return FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
    } catch (NoSuchFileException e) { // as under /proc
      Path folder = file.getParent();
      String reason = "no file can be made in " + folder;
      throw (FileSystemException)
          new FileSystemException(folder.toString(), null, reason).initCause(e);
    }
  }

  /** Writes to the file. */
  FileChannel channel() {
    return channel;
  }

  /** Makes the folder beside the file, for what is to be at another place. */
  public Path folderFor(Path place) throws IOException {
    synchronized (ALIVE) {
      requireNotEnding();
      destination = place;
      return Files.createDirectory(folderOf(file));
    }
  }

  /** Returns where a file in such a folder will be, for people. */
  static Path destination(Path path) {
    synchronized (ALIVE) {
      for (Temporary temporary : ALIVE) {
        Path folder = folderOf(temporary.file);
        if (temporary.destination != null && path.startsWith(folder)) {
          return destination(temporary.destination.resolve(folder.relativize(path)));
        }
      }
      return path;
    }
  }

  /** Gives the file its final place, and an older one's permissions. */
  void moveTo(Path place) throws IOException {
    if (Files.exists(place) && Files.getFileStore(place).supportsFileAttributeView("posix")) {
      Files.setPosixFilePermissions(file, Files.getPosixFilePermissions(place));
    }
    synchronized (ALIVE) {
      if (!last) {
        requireNotEnding();
      }
      move(file, place);
    }
  }

  /** Gives the folder its final place, where nothing is. */
  void moveFolderTo(Path place) throws IOException {
    synchronized (ALIVE) {
      requireNotEnding();
      Files.move(folderOf(file), place, StandardCopyOption.ATOMIC_MOVE);
    }
  }

  /** Moves the files of the folder that differ into another one; see {@link AtomicFolder}. */
  void moveFilesTo(Path place, String key) throws IOException {
    List<Path> moved = new ArrayList<>();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folderOf(file))) {
      for (Path from : files) {
        Path to = place.resolve(from.getFileName());
        if (!Files.exists(to) || Files.mismatch(from, to) >= 0) {
          moved.add(from);
        }
      }
    }
    moved.sort(Comparator.comparing(from -> from.endsWith(key)));
    synchronized (ALIVE) {
      requireNotEnding();
      if (moved.size() > 1 && moved.get(moved.size() - 1).endsWith(key)) {
        Files.deleteIfExists(place.resolve(key));
      }
      for (Path from : moved) {
        move(from, place.resolve(from.getFileName()));
      }
    }
  }

  private static void move(Path from, Path to) throws IOException {
    Files.move(from, to, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }

  @Override
  public void close() throws IOException {
    try {
      synchronized (ALIVE) { // not while the end of the process deletes it, too
        delete(file);
      }
    } finally {
      // The lock goes last.
      channel.close();
      synchronized (ALIVE) {
        ALIVE.remove(this);
        hookIfNeeded(!ALIVE.isEmpty());
      }
    }
  }

  private static void hookIfNeeded(boolean needed) {
    try {
      if (needed && !hooked) {
        Runtime.getRuntime().addShutdownHook(HOOK);
      } else if (!needed && hooked) {
        Runtime.getRuntime().removeShutdownHook(HOOK);
      }
      hooked = needed;
    } catch (IllegalStateException shuttingDown) {
      ending = true;
    }
  }

  private boolean lock() {
    try {
      return channel.tryLock() != null;
    } catch (IOException unsupported) {
      return true;
    }
  }

  private static Path folderOf(Path file) {
    String name = file.getFileName().toString();
    return file.resolveSibling(name.substring(0, name.length() - FILE.length()) + FOLDER);
  }

  private static void requireNotEnding() throws IOException {
    if (ending) {
      throw new IOException("the JVM is shutting down");
    }
  }

  private static void clear(Path parent) {
    try (DirectoryStream<Path> files = Files.newDirectoryStream(parent, PREFIX + "*" + FILE)) {
      for (Path left : files) {
        clearFile(left);
      }
    } catch (IOException | DirectoryIteratorException e) {
      // Whoever cannot list the folder can still write to it.
    }
  }

  private static void clearFile(Path left) {
    synchronized (ALIVE) {
      if (ALIVE.stream().anyMatch(own -> own.file.endsWith(left.getFileName()))) {
        return;
      }
    }
    try (FileChannel channel =
            FileChannel.open(left, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS);
        FileLock lock = channel.tryLock()) {
      if (lock != null) {
        delete(left);
      }
    } catch (IOException | OverlappingFileLockException e) {
      // It is somebody's, or gone.
    }
  }

  /** Deletes the folder and then the file, so that a folder is never without its file. */
  private static void delete(Path file) throws IOException {
    Path folder = folderOf(file);
    if (Files.exists(folder, LinkOption.NOFOLLOW_LINKS)) {
      List<Path> all;
      try (Stream<Path> walk = Files.walk(folder)) {
        all = walk.sorted(Comparator.reverseOrder()).toList();
      } catch (UncheckedIOException e) {
        throw e.getCause();
      }
      for (Path path : all) {
        Files.deleteIfExists(path);
      }
    }
    Files.deleteIfExists(file);
  }

  private static void deleteAll() {
    synchronized (ALIVE) {
      ending = true;
      for (Temporary temporary : ALIVE) {
        if (temporary.last) {
          continue;
        }
        for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
          try {
            delete(temporary.file);
            break;
          } catch (IOException stillWrittenTo) {
            Thread.onSpinWait();
          }
        }
      }
    }
  }
}
