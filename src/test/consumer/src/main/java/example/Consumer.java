package example;

import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.model.MicroModelConfig;
import org.bytedeco.javacpp.Loader;

/** Loads the native libraries out of the packaged jars, where there is no compiler. */
public final class Consumer {
  private Consumer() {}

  public static void main(String[] args) {
    String library = Loader.load(NativeLibrary.class);
    System.out.println("loaded " + library);
    System.out.println(new MicroModelConfig(2));
    System.out.println("consumer: ok");
  }
}
