package org.autocircuit.serve;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.autocircuit.generate.Generator;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.http.Exchange;
import org.autocircuit.internal.http.Refusal;
import org.autocircuit.internal.http.Watchdog;
import org.autocircuit.prune.CircuitScores;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.text.TextModel;

/**
 * Answers prompts over HTTP as OpenAI's completions do, each request patched and steered as it
 * likes: {@code POST /v1/completions}, {@code GET /v1/models}, {@code GET /metrics} in the text
 * format of Prometheus, and {@code GET /health}.
 *
 * <pre>{@code
 * try (TextModel model = ExampleModel.open();
 *     Generator generator = model.generator().build();
 *     CompletionServer server = CompletionServer.builder(model, generator).port(8080).start()) {
 *   System.out.println(server.uri());
 *   …
 * }
 * }</pre>
 *
 * <p><b>Who may connect.</b> This machine, unless another {@link Builder#host} is set: there is no
 * password and no TLS, so put a proxy in front where others shall. Requests that a browser sends
 * for a page of another site are refused.
 *
 * <p><b>Limits.</b> Bodies, the time in which a client sends a request or takes the next bytes of
 * an answer, and the time of a request are bounded. A full queue is answered with 429, a request
 * that can never fit with 503, and so is one that comes while this closes. A client that goes away
 * cancels its request, within half a second.
 *
 * <p><b>Ownership.</b> Close it first, then the generator and the model, which stay the caller's.
 * Closing cancels what runs. Safe for use by several threads.
 */
public final class CompletionServer implements AutoCloseable {

  private static final Logger LOG = System.getLogger("org.autocircuit.serve");
  private static final int BACKLOG = 1024;
  private static final Duration PATIENCE = Duration.ofSeconds(2);

  private interface Route {
    void handle(Exchange exchange) throws IOException;
  }

  private final Served served;
  private final Generator generator;
  private final String host;
  private final int bodyLimit;
  private final HttpServer http;
  private final boolean local;
  private final Watchdog watchdog;
  private final Completions completions;
  private final Map<String, Route> routes;
  private final AtomicInteger handling = new AtomicInteger();
  private volatile boolean closing;

  private CompletionServer(Builder builder, Served served) throws IOException {
    this.served = served;
    generator = builder.generator;
    host = builder.host.toLowerCase(Locale.ROOT);
    bodyLimit = builder.bodyLimit;
    InetAddress address = InetAddress.getByName(host);
    local = address.isLoopbackAddress();
    http = HttpServer.create(new InetSocketAddress(address, builder.port), BACKLOG);
    watchdog = new Watchdog(builder.threads, builder.clientLimit);
    completions = new Completions(served, generator, watchdog);
    routes =
        Map.of(
            "/v1/completions", completions::answer,
            "/v1/models", this::models,
            "/metrics", this::metrics,
            "/health", this::health);
    http.setExecutor(watchdog);
    http.createContext("/", this::handle);
    http.start();
  }

  /** Begins a server of a model and its generator, which stay the caller's. */
  public static Builder builder(TextModel model, Generator generator) {
    return new Builder(model, generator);
  }

  /** The address, with the port that was free if any was asked for. */
  public URI uri() {
    String shown = host.contains(":") && !host.startsWith("[") ? "[" + host + "]" : host;
    return URI.create("http://%s:%s".formatted(shown, http.getAddress().getPort()));
  }

  private void handle(HttpExchange incoming) {
    handling.incrementAndGet();
    try (Exchange exchange = new Exchange(incoming, bodyLimit)) {
      try {
        answer(exchange);
      } catch (Refusal e) {
        exchange.sendError(e.status(), e.member(), e.getMessage());
      } catch (IOException e) {
        LOG.log(Level.DEBUG, "a client has gone", e);
      } catch (RuntimeException | Error e) {
        LOG.log(Level.ERROR, "a request failed", e);
        if (!exchange.isBegun()) {
          exchange.sendError(500, null, "the request failed; the server's log says more");
        }
      }
    } catch (IOException e) {
      LOG.log(Level.DEBUG, "a client has gone", e);
    } finally {
      handling.decrementAndGet();
    }
  }

  private void answer(Exchange exchange) throws IOException {
    if (local) {
      exchange.requireLocalName(host);
    }
    Route route = routes.get(exchange.path());
    if (route == null) {
      throw Refusal.of(
          404, "path: expected one of %s".formatted(routes.keySet().stream().sorted().toList()));
    }
    Set<String> methods =
        exchange.path().equals("/v1/completions") ? Set.of("POST") : Set.of("GET", "HEAD");
    if (!methods.contains(exchange.method())) {
      exchange.header("Allow", String.join(", ", methods.stream().sorted().toList()));
      throw Refusal.of(405, "method: expected one of %s".formatted(methods));
    }
    if (closing) {
      throw Refusal.of(503, "the server is closing");
    }
    route.handle(exchange);
  }

  private void models(Exchange exchange) throws IOException {
    ObjectNode document = StrictJson.MAPPER.createObjectNode().put("object", "list");
    document
        .putArray("data")
        .addObject()
        .put("id", served.name())
        .put("object", "model")
        .put("created", 0)
        .put("owned_by", "autocircuit");
    exchange.send(200, document);
  }

  private void metrics(Exchange exchange) throws IOException {
    byte[] text = Metrics.of(generator.state()).getBytes(StandardCharsets.UTF_8);
    exchange.send(200, Metrics.MEDIA_TYPE, text);
  }

  private void health(Exchange exchange) throws IOException {
    exchange.send(200, StrictJson.MAPPER.createObjectNode().put("status", "ok"));
  }

  /**
   * Cancels all requests, tells their clients, and frees the port; two seconds at most. Does
   * nothing the second time.
   */
  @Override
  public void close() {
    closing = true;
    completions.close();
    long end = System.nanoTime() + PATIENCE.toNanos();
    try {
      while (handling.get() > 0 && System.nanoTime() < end) {
        TimeUnit.MILLISECONDS.sleep(5);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    http.stop(0);
    watchdog.close();
  }

  /** Returns the address. */
  @Override
  public String toString() {
    return "CompletionServer[%s]".formatted(uri());
  }

  /** Collects the settings of a server. Not safe for use by several threads. */
  public static final class Builder {

    private final TextModel model;
    private final Generator generator;
    private String name;
    private String host = "127.0.0.1";
    private int port;
    private int bodyLimit = 1 << 20;
    private int threads = 256;
    private Duration clientLimit = Duration.ofSeconds(20);
    private Duration timeLimit = Duration.ofMinutes(10);
    private final Map<String, CircuitScores> scores = new LinkedHashMap<>();

    private Builder(TextModel model, Generator generator) {
      this.model = Objects.requireNonNull(model, "model");
      this.generator = Objects.requireNonNull(generator, "generator");
      name = model.name();
    }

    /** Sets what clients call the model; its own name at first. */
    public Builder name(String value) {
      name = Objects.requireNonNull(value, "name");
      return this;
    }

    /**
     * Sets the address to listen at; {@code 127.0.0.1} at first, which only this machine reaches.
     */
    public Builder host(String value) {
      host = Objects.requireNonNull(value, "host");
      return this;
    }

    /** Sets the port; 0, as at first: any that is free. */
    public Builder port(int value) {
      port = Numbers.atLeast(0, "port", value);
      if (port > 65_535) {
        throw new IllegalArgumentException("port: expected 0 to 65535, got " + port);
      }
      return this;
    }

    /** Sets the most bytes of a request; 1 MiB at first. */
    public Builder bodyLimit(int value) {
      bodyLimit = Math.min(Numbers.atLeast(1, "bodyLimit", value), Integer.MAX_VALUE - 16);
      return this;
    }

    /**
     * Sets the most requests that are handled at once, those that wait in the generator's queue
     * among them; 256 at first. With fewer than run and wait there, nobody sees its queue full.
     */
    public Builder threads(int value) {
      threads = Numbers.atLeast(1, "threads", value);
      return this;
    }

    /** Sets how long a client may take to send a request, or to read on; 20 seconds at first. */
    public Builder clientLimit(Duration value) {
      clientLimit = positive("clientLimit", value);
      return this;
    }

    /** Sets how long a request may take, its wait included; 10 minutes at first. */
    public Builder timeLimit(Duration value) {
      timeLimit = positive("timeLimit", value);
      return this;
    }

    /**
     * Adds scores by which requests may choose a circuit.
     *
     * @param key what requests call them
     * @throws IllegalArgumentException if they are those of another graph
     */
    public Builder scores(String key, PruneScores value) {
      return scores(key, new CircuitScores(value, EdgeSet.all(value.graph()), Map.of()));
    }

    /**
     * Adds the scores of a circuit, of which requests choose all edges unless they say how many.
     *
     * @param key what requests call them
     * @throws IllegalArgumentException if they are those of another graph
     */
    public Builder scores(String key, CircuitScores value) {
      if (!value.edges().graph().equals(model.graph())) {
        throw new IllegalArgumentException(
            "scores '%s': expected those of a %s, got those of a %s"
                .formatted(key, model.graph(), value.edges().graph()));
      }
      scores.put(Objects.requireNonNull(key, "key"), value);
      return this;
    }

    /**
     * Starts the server.
     *
     * @return to be closed by the caller
     * @throws IOException if the address cannot be listened at, for instance because another
     *     program does; names it
     */
    public CompletionServer start() throws IOException {
      Served served = new Served(name, model, Map.copyOf(scores), timeLimit);
      try {
        return new CompletionServer(this, served);
      } catch (IOException e) {
        throw new IOException("%s port %s: %s".formatted(host, port, e.getMessage()), e);
      }
    }

    private static Duration positive(String name, Duration value) {
      if (value.isNegative() || value.isZero()) {
        throw new IllegalArgumentException(name + ": expected a positive one, got " + value);
      }
      return value;
    }
  }
}
