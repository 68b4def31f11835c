package org.autocircuit;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

/** Runs a class in a JVM of its own, for what would disturb or end this one. */
final class JavaProcess {

  /** Says how it ended, and what it printed to both of its streams. */
  record Result(int exitCode, String output) {}

  private final List<String> options = new ArrayList<>();
  private final Map<String, String> environment = new LinkedHashMap<>();
  private String classPath = System.getProperty("java.class.path");

  /** Adds options of the JVM. */
  JavaProcess with(String... more) {
    options.addAll(List.of(more));
    return this;
  }

  /** Sets a variable of the environment. */
  JavaProcess environment(String name, String value) {
    environment.put(name, value);
    return this;
  }

  /** Uses another class path than this JVM's. */
  JavaProcess classPath(String value) {
    classPath = value;
    return this;
  }

  /**
   * Runs a class and waits for its end.
   *
   * @throws AssertionError if it takes longer than allowed
   */
  Result run(Class<?> main, int seconds, String... arguments) throws IOException {
    return run(main, seconds, output -> false, arguments);
  }

  /**
   * Runs a class, sends SIGTERM when it has printed a line some times, and waits for its end.
   *
   * @throws AssertionError if it takes longer than allowed
   */
  Result terminate(Class<?> main, int seconds, String line, int times, String... arguments)
      throws IOException {
    return run(
        main, seconds, output -> output.lines().filter(line::equals).count() >= times, arguments);
  }

  private Result run(
      Class<?> main, int seconds, Predicate<String> isToBeTerminated, String... arguments)
      throws IOException {
    Path log = Files.createTempFile("java-process", ".log");
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(options);
    command.addAll(List.of("-cp", classPath, main.getName()));
    command.addAll(List.of(arguments));
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile());
    builder.environment().put("MALLOC_ARENA_MAX", "2");
    builder.environment().put("OMP_NUM_THREADS", "1");
    builder.environment().put("OPENBLAS_NUM_THREADS", "1");
    builder.environment().putAll(environment);
    Process process = builder.start();
    try {
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
      boolean ended = false;
      while (!ended && System.nanoTime() < end) {
        ended = process.waitFor(20, TimeUnit.MILLISECONDS);
        if (!ended && isToBeTerminated.test(Files.readString(log))) {
          process.destroy();
          isToBeTerminated = output -> false;
        }
      }
      String output = Files.readString(log);
      if (!ended) {
        throw new AssertionError(
            "%s did not end in %s seconds: %s".formatted(main.getSimpleName(), seconds, output));
      }
      return new Result(process.exitValue(), output);
    } catch (InterruptedException e) {
      throw new AssertionError("interrupted", e);
    } finally {
      process.destroyForcibly();
      Files.delete(log);
    }
  }
}
