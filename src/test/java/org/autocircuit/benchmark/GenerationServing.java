package org.autocircuit.benchmark;

import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.micrometer.observation.ObservationRegistry;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.LongSupplier;
import java.util.function.UnaryOperator;
import jdk.jfr.Recording;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.exception.QueueFullException;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.GenerationResult;
import org.autocircuit.generate.Generator;
import org.autocircuit.generate.Sampling;
import org.autocircuit.generate.Stop;
import org.autocircuit.generate.TimedSteps;
import org.autocircuit.metrics.GeneratorMetrics;
import org.autocircuit.metrics.RequestMetrics;
import org.autocircuit.metrics.RequestObservations;
import org.autocircuit.model.Model;
import org.autocircuit.serve.CompletionServer;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/**
 * Generation around its native steps: the time that Java takes of them, and what callers who do
 * harm do to others. The time of Java is that of {@code -Dautocircuit.clock}; all others are of the
 * wall clock, so compare them within one run only.
 */
final class GenerationServing implements AutoCloseable {

  private static final int ROWS = 8;
  private static final int PROMPT = 16;

  private final Model weights;
  private final PatchableModel model;
  private final int rounds;
  private final LongSupplier clock = Benchmarks.clock();
  private boolean isGreedy;

  private GenerationServing(BenchmarkSize size, int rounds) {
    weights = RandomWeights.model(size.config().toBuilder().nCtx(4096).build(), 1);
    model = PatchableModel.of(weights, PatchableModelOptions.defaults());
    this.rounds = rounds;
  }

  /** {@code PART [SIZE [ROUNDS]]}: java, greedy, readers, flood, clients or leaving. */
  public static void main(String[] arguments) throws Exception {
    Benchmarks.setThreads();
    String part = arguments.length > 0 ? arguments[0] : "java";
    BenchmarkSize size =
        arguments.length > 1 ? BenchmarkSize.valueOf(arguments[1]) : BenchmarkSize.EMBEDDED;
    int rounds = arguments.length > 2 ? Integer.parseInt(arguments[2]) : 5;
    try (GenerationServing benchmark = new GenerationServing(size, rounds)) {
      switch (part) {
        case "java" -> benchmark.java();
        case "greedy" -> {
          benchmark.isGreedy = true;
          benchmark.java();
        }
        case "readers" -> benchmark.readers();
        case "flood" -> benchmark.flood();
        case "clients" -> benchmark.clients();
        case "leaving" -> benchmark.leaving();
        default ->
            throw new IllegalArgumentException(
                "part: expected java, greedy, readers, flood, clients or leaving, got " + part);
      }
    }
  }

  private static void print(String format, Object... values) {
    System.out.println(String.format(Locale.ROOT, format, values));
  }

  private static double quantile(List<Double> values, double share) {
    double[] sorted = values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    return Measurement.quantile(sorted, share);
  }

  private GenerationRequest request(long seed, int tokens) {
    long[] prompt = new long[PROMPT];
    Arrays.setAll(prompt, i -> (seed * 31 + i * 7L) % 200);
    return GenerationRequest.of(prompt).withSampling(sampling(seed)).withStop(Stop.after(tokens));
  }

  private Sampling sampling(long seed) {
    return isGreedy ? Sampling.GREEDY : Sampling.RANDOM.withTopK(40).withTopP(0.95).withSeed(seed);
  }

  private Generator generator(UnaryOperator<Generator.Builder> settings) {
    return settings.apply(Generator.builder(model).maxActive(ROWS).kvBytes(4L << 30)).build();
  }

  /** Scheduling, sampling and publishing of eight requests, with and without all that watches. */
  private void java() {
    List<Double> plain = new ArrayList<>();
    List<Double> watched = new ArrayList<>();
    List<Double> steps = new ArrayList<>();
    run(new TimedSteps(model, clock), builder -> builder);
    for (int i = 0; i < rounds; i++) {
      TimedSteps bare = new TimedSteps(model, clock);
      run(bare, builder -> builder);
      plain.add(median(bare.between()));
      steps.add(median(bare.steps()));
      TimedSteps seen = new TimedSteps(model, clock);
      SimpleMeterRegistry registry = new SimpleMeterRegistry();
      try (Recording recording = new Recording()) {
        for (String name : List.of("Generation", "GenerationStep", "Refusal", "Failure")) {
          recording.enable("org.autocircuit." + name);
        }
        recording.start();
        run(
            seen,
            builder ->
                builder
                    .listener(new RequestMetrics(registry, "benchmark"))
                    .listener(new RequestObservations(ObservationRegistry.create(), "benchmark")));
      }
      watched.add(median(seen.between()));
    }
    double step = quantile(steps, 0.5);
    double java = quantile(plain, 0.5);
    print("native step of %d rows: %.3f ms", ROWS, step / 1e6);
    print(
        "Java between two steps: %.3f ms, %.2f %% of both", java / 1e6, 100 * java / (step + java));
    print(
        "with meters, observations and Flight Recorder: %.3f ms more, %.2f %% of a step",
        (quantile(watched, 0.5) - java) / 1e6, 100 * (quantile(watched, 0.5) - java) / step);
  }

  private static double median(double[] values) {
    return quantile(Arrays.stream(values).boxed().toList(), 0.5);
  }

  private void run(TimedSteps steps, UnaryOperator<Generator.Builder> settings) {
    try (Generator generator =
        steps.start(settings.apply(Generator.builder(model).maxActive(ROWS)))) {
      new GeneratorMetrics(generator, "benchmark").bindTo(new SimpleMeterRegistry());
      List<Generation> running = new ArrayList<>();
      for (int i = 0; i < ROWS; i++) {
        running.add(generator.submit(request(i, 60)));
      }
      running.forEach(each -> each.result().join());
    }
  }

  /** Four requests beside four whose readers read at once, never, and never with a bound. */
  private void readers() {
    List<Double> slow = new ArrayList<>();
    List<Double> bounded = new ArrayList<>();
    beside(true, Integer.MAX_VALUE);
    for (int i = 0; i < rounds; i++) {
      double prompt = beside(true, Integer.MAX_VALUE);
      slow.add(beside(false, Integer.MAX_VALUE) / prompt);
      bounded.add(beside(false, 8) / prompt);
    }
    print("four requests beside four that nobody reads: %.2f of the time", quantile(slow, 0.5));
    print("the same where these rest at 8 unread tokens: %.2f", quantile(bounded, 0.5));
  }

  private double beside(boolean isRead, int maxUnread) {
    try (Generator generator = generator(builder -> builder)) {
      long begin = System.nanoTime();
      List<Generation> read = new ArrayList<>();
      for (int i = 0; i < ROWS; i++) {
        GenerationRequest request = request(i, 200);
        Generation each = generator.submit(i % 2 == 0 ? request : request.withMaxUnread(maxUnread));
        if (i % 2 == 0 || isRead) {
          read.add(each);
        }
      }
      read.forEach(each -> each.forEach(token -> {}));
      return System.nanoTime() - begin;
    }
  }

  /** Ten times as many requests at once as may wait. */
  private void flood() throws InterruptedException {
    int queue = 64;
    int threads = 16;
    Queue<Double> refusals = new ConcurrentLinkedQueue<>();
    Queue<Generation> taken = new ConcurrentLinkedQueue<>();
    try (Generator generator = generator(builder -> builder.queue(queue))) {
      generator.submit(request(0, 20)).result().join();
      long begin = System.nanoTime();
      CountDownLatch go = new CountDownLatch(1);
      List<Thread> callers = new ArrayList<>();
      for (int t = 0; t < threads; t++) {
        int first = t * 10 * queue / threads;
        Thread caller =
            new Thread(
                () -> {
                  awaitQuietly(go);
                  for (int i = 0; i < 10 * queue / threads; i++) {
                    long start = System.nanoTime();
                    try {
                      taken.add(generator.submit(request(first + i, 20)));
                    } catch (QueueFullException e) {
                      refusals.add((System.nanoTime() - start) / 1e6);
                    }
                  }
                });
        callers.add(caller);
        caller.start();
      }
      go.countDown();
      for (Thread caller : callers) {
        caller.join();
      }
      double flooded = (System.nanoTime() - begin) / 1e6;
      List<GenerationResult> results = taken.stream().map(each -> each.result().join()).toList();
      double all = (System.nanoTime() - begin) / 1e6;
      print(
          "%d requests within %.0f ms: %d answered, %d refused, each within %.2f ms (median %.3f)",
          10 * queue,
          flooded,
          results.size(),
          refusals.size(),
          quantile(List.copyOf(refusals), 1),
          quantile(List.copyOf(refusals), 0.5));
      print(
          "answered ones: median %.0f ms, slowest %.0f ms, of which it waited %.0f ms; %.0f tokens/s",
          quantile(millis(results, GenerationResult::total), 0.5),
          quantile(millis(results, GenerationResult::total), 1),
          quantile(millis(results, GenerationResult::waited), 1),
          20 * results.size() / all * 1e3);
    }
  }

  private static List<Double> millis(
      List<GenerationResult> results, Function<GenerationResult, Duration> of) {
    return results.stream().map(each -> of.apply(each).toNanos() / 1e6).toList();
  }

  private static void awaitQuietly(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Four streams beside four clients that read theirs, and four that do not. */
  private void clients() throws Exception {
    try (TextModel example = ExampleModel.open();
        TextModel served = TextModel.of(model, example.tokenizer());
        Generator generator = generator(builder -> builder.tokenizer(served.tokenizer()));
        CompletionServer server =
            CompletionServer.builder(served, generator)
                .clientLimit(Duration.ofSeconds(2))
                .start()) {
      List<Double> ratios = new ArrayList<>();
      List<Double> cut = new ArrayList<>();
      streams(server, generator, true, cut);
      cut.clear();
      for (int i = 0; i < rounds; i++) {
        double read = streams(server, generator, true, new ArrayList<>());
        ratios.add(streams(server, generator, false, cut) / read);
      }
      print("four streams beside four that stall: %.2f of the time", quantile(ratios, 0.5));
      print(
          "slots and memory of those that stall are back %.0f ms (at most %.0f) after the others",
          quantile(cut, 0.5), quantile(cut, 1));
    }
  }

  private double streams(
      CompletionServer server, Generator generator, boolean isRead, List<Double> cut)
      throws Exception {
    List<Socket> sockets = new ArrayList<>();
    long begin = System.nanoTime();
    for (int i = 0; i < ROWS; i++) {
      sockets.add(stream(server, 500, i % 2 == 0 || isRead ? 1 << 20 : 1 << 10));
    }
    List<Thread> readers = new ArrayList<>();
    for (int i = 0; i < ROWS; i++) {
      Socket socket = sockets.get(i);
      if (i % 2 == 0 || isRead) {
        Thread reader = new Thread(() -> readAll(socket));
        reader.start();
        readers.add(reader);
      }
    }
    for (Thread reader : readers) {
      reader.join();
    }
    long end = System.nanoTime();
    awaitIdle(generator);
    cut.add((System.nanoTime() - end) / 1e6);
    for (Socket socket : sockets) {
      socket.close();
    }
    return end - begin;
  }

  private static void readAll(Socket socket) {
    try {
      socket.getInputStream().transferTo(OutputStream.nullOutputStream());
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private static Socket stream(CompletionServer server, int tokens, int buffer) throws IOException {
    Socket socket = new Socket();
    socket.setReceiveBufferSize(buffer);
    socket.connect(new InetSocketAddress(server.uri().getHost(), server.uri().getPort()));
    String body =
        "{\"prompt\":[5,6,7],\"max_tokens\":%s,\"stream\":true,\"temperature\":1,\"logprobs\":20}"
            .formatted(tokens);
    String request =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + "Connection: close\r\n"
            + "Content-Length: %s\r\n\r\n%s".formatted(body.length(), body);
    socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
    socket.getOutputStream().flush();
    return socket;
  }

  private static void awaitIdle(Generator generator) throws InterruptedException {
    while (generator.state().active() > 0 || generator.state().kvReserved() > 0) {
      TimeUnit.MICROSECONDS.sleep(200);
    }
  }

  /** Clients whose connections break after their first token. */
  private void leaving() throws Exception {
    try (TextModel example = ExampleModel.open();
        TextModel served = TextModel.of(model, example.tokenizer());
        Generator generator = generator(builder -> builder.tokenizer(served.tokenizer()));
        CompletionServer server = CompletionServer.builder(served, generator).start()) {
      List<Double> times = new ArrayList<>();
      for (int i = 0; i < 10 * rounds; i++) {
        Socket socket = stream(server, 3000, 1 << 16);
        byte[] bytes = new byte[1 << 12];
        String text = "";
        while (!text.contains("data: ")) {
          int n = socket.getInputStream().read(bytes);
          text += new String(bytes, 0, Math.max(n, 0), StandardCharsets.ISO_8859_1);
        }
        socket.setSoLinger(true, 0); // it breaks, and is not closed
        long begin = System.nanoTime();
        socket.close();
        awaitIdle(generator);
        times.add((System.nanoTime() - begin) / 1e6);
      }
      print(
          "slots and memory of clients that are gone are back within %.1f ms, at most %.1f",
          quantile(times, 0.5), quantile(times, 1));
    }
  }

  @Override
  public void close() {
    model.close();
    weights.close();
  }
}
