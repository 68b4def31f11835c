package example;

import java.io.IOException;
import org.autocircuit.generate.Generator;
import org.autocircuit.serve.CompletionServer;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Serves the embedded model; {@code TextModel.open} would open another. */
public final class HttpSample {
  private HttpSample() {}

  static Generator.Builder generator(TextModel model) {
    return model.generator().maxActive(8).queue(64);
  }

  public static void main(String[] args) throws IOException, InterruptedException {
    int port = args.length == 0 ? 8080 : Integer.parseInt(args[0]);
    try (TextModel model = ExampleModel.open();
        Generator generator = generator(model).build();
        CompletionServer server = CompletionServer.builder(model, generator).port(port).start()) {
      System.out.println("serving " + server.uri());
      Thread.currentThread().join(); // until Ctrl-C
    }
  }
}
