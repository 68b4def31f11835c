package example;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.LongStream;
import org.autocircuit.generate.Donor;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationListener;
import org.autocircuit.generate.GenerationPatch;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Generator;
import org.autocircuit.generate.StepReport;
import org.autocircuit.generate.Stop;
import org.autocircuit.patch.Masks;
import org.autocircuit.serve.CompletionServer;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Holds the server to the generator, with curl, and with more clients than it takes. */
public final class Check {

  private static final String PROMPT = "When Mary and John went to the store, John gave a drink to";
  private static final String CORRUPT =
      "When Mary and John went to the store, Mary gave a drink to";
  private static final List<String> EDGES = List.of("A3.0->Resid End", "A3.4->Resid End");
  private static final String AUTOCIRCUIT =
      ",\"autocircuit\":{\"corrupt\":\"%s\",\"edges\":[\"%s\",\"%s\"]}"
          .formatted(CORRUPT, EDGES.get(0), EDGES.get(1));
  private static final Pattern IDS = Pattern.compile("\"token_ids\":\\[([^]]*)]");
  private static final int PARALLEL = 300;

  private static volatile long stepMillis;

  private Check() {}

  public static void main(String[] args) throws Exception {
    GenerationListener slow =
        new GenerationListener() {
          @Override
          public void stepped(StepReport step) {
            try {
              Thread.sleep(stepMillis);
            } catch (InterruptedException e) {
              Thread.currentThread().interrupt();
            }
          }
        };
    try (TextModel model = ExampleModel.open();
        // The model would end its answers after a sentence.
        Generator generator =
            HttpSample.generator(model).listener(slow).stopTokens(List.of()).build();
        CompletionServer server = CompletionServer.builder(model, generator).start()) {
      tokensAreTheGenerators(server, model, generator);
      streamsComeInPieces(server);
      aKilledClientEndsItsRequest(server);
      whoComesTooMuchIsRefused(server);
    }
    System.out.println("http: ok");
  }

  private static void tokensAreTheGenerators(
      CompletionServer server, TextModel model, Generator generator) throws Exception {
    GenerationRequest request = GenerationRequest.of(model.tokens(PROMPT)).withStop(Stop.after(12));
    GenerationPatch patch =
        GenerationPatch.resample(
            model.tokens(CORRUPT), Masks.ofNames(model.graph(), EDGES), Donor.FOLLOWS);
    String plain = tokens(generator, request);
    String patched = tokens(generator, request.withPatch(patch));
    expect(!plain.equals(patched), "the patch changes nothing");
    for (String stream : List.of("", ",\"stream\":true")) {
      equal(plain, ids(curl(server, stream)));
      equal(patched, ids(curl(server, stream + AUTOCIRCUIT)));
    }
  }

  private static void streamsComeInPieces(CompletionServer server) throws Exception {
    stepMillis = 50;
    Process curl = start(server, ",\"stream\":true" + AUTOCIRCUIT);
    long begin = System.nanoTime();
    List<Long> times = new ArrayList<>();
    try (BufferedReader lines = reader(curl)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        if (line.startsWith("data: ")) {
          times.add(System.nanoTime() - begin);
        }
      }
    }
    long last = times.get(times.size() - 1);
    expect(times.size() == 14 && last - times.get(0) >= last / 2, "pieces came at " + times);
  }

  private static void aKilledClientEndsItsRequest(CompletionServer server) throws Exception {
    stepMillis = 300;
    for (String stream : List.of("", ",\"stream\":true")) {
      Process curl = start(server, stream);
      await(server, "autocircuit_generator_active 1", 10);
      curl.destroyForcibly().waitFor();
      await(server, "autocircuit_generator_active 0", 1);
    }
    await(server, "autocircuit_generator_finished_total{reason=\"cancelled\"} 2", 1);
  }

  private static void whoComesTooMuchIsRefused(CompletionServer server) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    List<CompletableFuture<HttpResponse<String>>> responses = new ArrayList<>();
    HttpRequest request =
        HttpRequest.newBuilder(server.uri().resolve("/v1/completions"))
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(body("")))
            .build();
    for (int i = 0; i < PARALLEL; i++) {
      responses.add(client.sendAsync(request, BodyHandlers.ofString()));
    }
    stepMillis = 300;
    CompletableFuture.anyOf(
            responses.stream()
                .map(each -> each.thenAccept(got -> equal("429", "" + got.statusCode())))
                .toArray(CompletableFuture[]::new))
        .join();
    stepMillis = 20;
    int refused = 0;
    for (CompletableFuture<HttpResponse<String>> each : responses) {
      int status = each.join().statusCode();
      expect(status == 200 || status == 429, "status " + status);
      refused += status == 429 ? 1 : 0;
    }
    // Eight run and 64 wait; those that end meanwhile let some more in.
    expect(refused > 0 && refused <= PARALLEL - 72, refused + " refused");
  }

  private static String body(String others) {
    return "{\"prompt\":\"%s\",\"max_tokens\":12%s}".formatted(PROMPT, others);
  }

  private static Process start(CompletionServer server, String others) throws IOException {
    return new ProcessBuilder(
            "curl",
            "-sN",
            server.uri().resolve("/v1/completions").toString(),
            "-H",
            "Content-Type: application/json",
            "-d",
            body(others))
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start();
  }

  private static BufferedReader reader(Process process) {
    return new BufferedReader(
        new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
  }

  private static String curl(CompletionServer server, String others) throws Exception {
    Process curl = start(server, others);
    String output = new String(curl.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    expect(curl.waitFor() == 0, "curl: " + output);
    return output;
  }

  private static String tokens(Generator generator, GenerationRequest request) {
    try (Generation generation = generator.submit(request)) {
      return Arrays.toString(generation.result().join().ids());
    }
  }

  private static String ids(String output) {
    Matcher each = IDS.matcher(output);
    LongStream.Builder ids = LongStream.builder();
    while (each.find()) {
      if (!each.group(1).isEmpty()) {
        Arrays.stream(each.group(1).split(",")).mapToLong(Long::parseLong).forEach(ids);
      }
    }
    return Arrays.toString(ids.build().toArray());
  }

  private static void await(CompletionServer server, String line, int seconds) throws Exception {
    HttpRequest request = HttpRequest.newBuilder(server.uri().resolve("/metrics")).build();
    long begin = System.nanoTime();
    String metrics = "";
    while (System.nanoTime() - begin < seconds * 1_000_000_000L) {
      metrics = HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).body();
      if (metrics.lines().anyMatch(line::equals)) {
        return;
      }
      Thread.sleep(20);
    }
    throw new AssertionError("no '%s' in %s s: %s".formatted(line, seconds, metrics));
  }

  private static void equal(String expected, String actual) {
    expect(expected.equals(actual), "expected %s, got %s".formatted(expected, actual));
  }

  private static void expect(boolean condition, String otherwise) {
    if (!condition) {
      throw new AssertionError(otherwise);
    }
  }
}
