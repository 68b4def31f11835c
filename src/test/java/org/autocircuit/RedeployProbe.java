package org.autocircuit;

import java.io.IOException;
import java.lang.ref.WeakReference;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.bytedeco.javacpp.Pointer;

/**
 * A server that deploys an application, ends it and deploys it again, each time in a class loader
 * of its own with all its libraries, on a thread that stays. Prints how many of those class loaders
 * are left, and the resident memory in MB after each.
 */
public final class RedeployProbe {

  private RedeployProbe() {}

  /** The application. */
  public static final class Application implements Runnable {

    @Override
    public void run() {
      try {
        Path folder = Files.createTempDirectory("redeploy");
        LeakWorkload.repeatAll(2, folder);
        PromptDataset prompts =
            new PromptDataset(
                List.of(new PromptPair("clean", "corrupt", List.of("yes"), List.of("no"))));
        prompts.write(folder.resolve("prompts.json"));
        PromptDataset.read(folder.resolve("prompts.json"));
        try (PatchableModel model = PatchableModel.open(folder)) {
          Path scores = folder.resolve("scores.json");
          PruneScoresJson.write(PruneScores.filled(model.graph(), 0.5), scores);
          PruneScoresJson.read(model.graph(), scores);
        }
      } catch (IOException e) {
        throw new AssertionError(e);
      }
      // JavaCPP's thread is nobody else's: only who ends the application knows that it ends.
      Pointer.interruptDeallocatorThread();
    }
  }

  /** Another application: Java 17 keeps the types of the record whose methods it linked last. */
  public static final class Another implements Runnable {

    private record Last(String text) {}

    @Override
    public void run() {
      Last last = new Last("");
      if (last.toString().isEmpty() || last.hashCode() == 1 || last.equals(new Last("else"))) {
        throw new AssertionError();
      }
    }
  }

  /** Deploys as often as the argument says, each time when nothing is left of the last. */
  public static void main(String[] arguments) throws Exception {
    ExecutorService server = Executors.newFixedThreadPool(1);
    List<WeakReference<ClassLoader>> loaders = new ArrayList<>();
    List<Long> resident = new ArrayList<>();
    for (int i = 0; i < Integer.parseInt(arguments[0]); i++) {
      loaders.add(server.submit(() -> deploy(Application.class)).get());
      server.submit(() -> deploy(Another.class)).get();
      await(loaders);
      resident.add(Math.round(LeakWorkload.residentBytes() / 1e6));
    }
    System.out.println(count(loaders) + " left, resident " + resident);
    server.shutdown();
  }

  private static WeakReference<ClassLoader> deploy(Class<?> type) throws Exception {
    URL[] urls =
        Arrays.stream(System.getProperty("java.class.path").split(":", -1))
            .map(RedeployProbe::url)
            .toArray(URL[]::new);
    try (URLClassLoader loader = new URLClassLoader(urls, ClassLoader.getPlatformClassLoader())) {
      Thread.currentThread().setContextClassLoader(loader);
      Class<?> application = loader.loadClass(type.getName());
      ((Runnable) application.getConstructor().newInstance()).run();
      return new WeakReference<>(loader);
    } finally {
      Thread.currentThread().setContextClassLoader(null);
    }
  }

  private static void await(List<WeakReference<ClassLoader>> loaders) throws InterruptedException {
    for (int i = 0; i < 50 && count(loaders) > 0; i++) {
      System.gc();
      Thread.sleep(100);
    }
  }

  private static long count(List<WeakReference<ClassLoader>> loaders) {
    return loaders.stream().filter(loader -> loader.get() != null).count();
  }

  private static URL url(String path) {
    try {
      return Path.of(path).toUri().toURL();
    } catch (MalformedURLException e) {
      throw new AssertionError(e);
    }
  }
}
