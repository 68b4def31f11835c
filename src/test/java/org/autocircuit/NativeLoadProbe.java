package org.autocircuit;

import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.Arrays;
import org.autocircuit.exception.NativeException;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.text.ExampleModel;

/** Runs for NativeLoadTest, in processes that are set up oddly. */
public final class NativeLoadProbe implements Runnable {

  /** Runs a patched pass and prints {@code patched}, or why it could not. */
  @Override
  public void run() {
    try (PatchableModel model = TestModels.patchable();
        SourceActivations activations =
            model.sourceAblations(TestModels.tokens(1, 3, 1), BatchAblation.RESAMPLE)) {
      Masks all = Masks.uniform(model.graph(), 1);
      float[][] patched =
          model.logits(TestModels.tokens(1, 3, 2), PatchContext.of(activations, all));
      float[][] corrupt = model.logits(TestModels.tokens(1, 3, 1));
      System.out.println(Math.abs(patched[0][0] - corrupt[0][0]) < 1e-4 ? "patched" : "differs");
    } catch (NativeException e) {
      System.out.println(e.getClass().getSimpleName() + ": " + e.getMessage());
    }
  }

  /**
   * Opens the embedded model with {@code open}. Runs it twice: with {@code twice} here; with {@code
   * loaders} in two class loaders, the second with its own folder to unpack to if another argument
   * names one; with {@code after} once a library was loaded.
   */
  public static void main(String[] arguments) throws ReflectiveOperationException {
    switch (arguments[0]) {
      case "twice" -> {
        new NativeLoadProbe().run();
        new NativeLoadProbe().run();
      }
      case "loaders" -> {
        runInLoaderOfItsOwn();
        if (arguments.length > 1) {
          System.setProperty("org.bytedeco.javacpp.cachedir", arguments[1]);
        }
        runInLoaderOfItsOwn();
      }
      case "open" -> ExampleModel.open().close();
      case "after" -> {
        System.load(arguments[1]);
        new NativeLoadProbe().run();
      }
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  private static void runInLoaderOfItsOwn() throws ReflectiveOperationException {
    URL[] urls =
        Arrays.stream(System.getProperty("java.class.path").split(":", -1))
            .map(NativeLoadProbe::url)
            .toArray(URL[]::new);
    // Never closed: the classes stay in use as long as their native libraries.
    ClassLoader loader = new URLClassLoader(urls, ClassLoader.getPlatformClassLoader());
    Class<?> probe = loader.loadClass(NativeLoadProbe.class.getName());
    ((Runnable) probe.getConstructor().newInstance()).run();
  }

  private static URL url(String path) {
    try {
      return Path.of(path).toUri().toURL();
    } catch (MalformedURLException e) {
      throw new AssertionError(e);
    }
  }
}
