package org.autocircuit.explore;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.exception.QueueFullException;
import org.autocircuit.generate.Generator;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.http.Exchange;
import org.autocircuit.internal.http.Refusal;
import org.autocircuit.internal.http.Watchdog;
import org.autocircuit.text.TextModel;

/**
 * Serves the page of a circuit to browsers on this machine, with the engine behind it: prompts are
 * typed, edges are patched by a click, circuits of any size run while a slider is dragged.
 *
 * <pre>{@code
 * try (TextModel model = ExampleModel.open();
 *     Generator generator = model.generator().build();
 *     ExploreServer server =
 *         ExploreServer.builder(model, generator, ExampleModel.prompts(), "eap", scored).start()) {
 *   System.out.println(server.uri());
 *   …
 * }
 * }</pre>
 *
 * <p><b>Who may connect.</b> Programs on this machine that know the token in the address, and no
 * page of another site: {@code Host} and {@code Origin} are checked. Nothing is written to disk.
 *
 * <p><b>Ownership.</b> Close it first, then the generator and the model, which stay the caller's.
 * Safe for use by several threads; any number of browsers may share one.
 */
public final class ExploreServer implements AutoCloseable {

  private static final Logger LOG = System.getLogger("org.autocircuit.explore");
  private static final String HOST = "127.0.0.1";
  private static final int BACKLOG = 128;
  private static final int THREADS = 64;
  private static final int TOKEN_BYTES = 18;
  private static final Duration PATIENCE = Duration.ofSeconds(2);
  private static final Duration CLIENT_LIMIT = Duration.ofSeconds(20);

  private final Engine engine;
  private final Pages pages;
  private final Routes routes;
  private final String token;
  private final int bodyLimit;
  private final HttpServer http;
  private final Watchdog watchdog;
  private final AtomicInteger handling = new AtomicInteger();
  private volatile boolean closing;

  private ExploreServer(Builder builder) throws IOException {
    engine = new Engine(builder.model);
    Scores scores = new Scores(builder.key, builder.first, builder.methods);
    pages = new Pages(builder, scores, engine.graph());
    token = builder.token;
    bodyLimit = builder.bodyLimit;
    http =
        HttpServer.create(
            new InetSocketAddress(
                InetAddress.getByAddress(new byte[] {127, 0, 0, 1}), builder.port),
            BACKLOG);
    watchdog = new Watchdog(THREADS, CLIENT_LIMIT);
    routes = new Routes(builder, engine, scores, pages.graph(), watchdog);
    http.setExecutor(watchdog);
    http.createContext("/", this::handle);
    http.start();
  }

  /**
   * Begins a server.
   *
   * @param generator of the model, whose tokenizer is the model's
   * @param prompts the task: the first pair is shown first, all of them measure circuits
   * @param key what the method of the first scores is called, see {@link Builder#method}
   * @param first the scores that are shown first, with edges patched with corrupt prompts
   */
  public static Builder builder(
      TextModel model, Generator generator, PromptDataset prompts, String key, Scored first) {
    return new Builder(model, generator, prompts, key, first);
  }

  /** The address to open in a browser, with the token. */
  public URI uri() {
    return URI.create(
        "http://%s:%s/?token=%s"
            .formatted(
                HOST,
                http.getAddress().getPort(),
                URLEncoder.encode(token, StandardCharsets.UTF_8)));
  }

  private void handle(HttpExchange incoming) {
    handling.incrementAndGet();
    try (Exchange exchange = new Exchange(incoming, bodyLimit)) {
      try {
        answer(exchange);
      } catch (UncheckedIOException e) {
        LOG.log(Level.DEBUG, "a client has gone", e);
      } catch (RuntimeException | Error e) {
        refuse(exchange, e);
      }
    } catch (IOException e) {
      LOG.log(Level.DEBUG, "a client has gone", e);
    } finally {
      handling.decrementAndGet();
    }
  }

  /** Says what is wrong with a request, whatever it is. */
  private void refuse(Exchange exchange, Throwable failure) throws IOException {
    int status = status(failure);
    if (status == 500) {
      LOG.log(Level.ERROR, "a request failed", failure);
    }
    String message =
        status == 500
            ? "the request failed; the program's log says more"
            : closing && status == 503 ? "the server is closing" : failure.getMessage();
    if (exchange.isBegun()) {
      ObjectNode line = StrictJson.MAPPER.createObjectNode().put("problem", message);
      exchange.write(StrictJson.text(line) + "\n");
    } else {
      String member = failure instanceof Refusal refusal ? refusal.member() : null;
      exchange.sendError(status, member, message);
    }
  }

  private int status(Throwable failure) {
    if (failure instanceof Refusal refusal) {
      return refusal.status();
    }
    if (failure instanceof IllegalArgumentException) {
      return 400;
    }
    if (failure instanceof NotFiniteException) {
      return 422;
    }
    if (failure instanceof QueueFullException) {
      return 429;
    }
    return closing ? 503 : 500;
  }

  private void answer(Exchange exchange) throws IOException {
    exchange.header("Cache-Control", "no-store");
    exchange.header("X-Content-Type-Options", "nosniff");
    exchange.header("Referrer-Policy", "no-referrer");
    exchange.header("X-Frame-Options", "DENY");
    exchange.requireLocalName(HOST);
    exchange.requireOwnOrigin();
    if (exchange.path().equals("/favicon.ico")) {
      throw Refusal.of(404, "path: there is no icon");
    }
    boolean page = exchange.path().equals("/");
    requireToken(page ? exchange.parameter("token") : bearer(exchange));
    requireMethod(exchange, page ? Set.of("GET", "HEAD") : Set.of("POST"));
    if (closing) {
      throw Refusal.of(503, "the server is closing");
    }
    if (page) {
      pages.send(exchange);
      return;
    }
    routes.handle(exchange);
  }

  private static String bearer(Exchange exchange) {
    return exchange.sent("Authorization").replaceFirst("^Bearer ", "");
  }

  /** Takes the same time for every wrong token, so that nobody finds it letter by letter. */
  private void requireToken(String sent) {
    if (!MessageDigest.isEqual(
        sent.getBytes(StandardCharsets.UTF_8), token.getBytes(StandardCharsets.UTF_8))) {
      throw Refusal.of(
          403, "token: expected that of the address which 'autocircuit explore' printed");
    }
  }

  private static void requireMethod(Exchange exchange, Set<String> methods) {
    if (!methods.contains(exchange.method())) {
      exchange.header("Allow", String.join(", ", methods.stream().sorted().toList()));
      throw Refusal.of(405, "method: expected one of %s".formatted(methods));
    }
  }

  /** Lets requests finish, two seconds at most, and frees the port. */
  @Override
  public void close() {
    closing = true;
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
    engine.close();
  }

  /** Returns the address, without the token. */
  @Override
  public String toString() {
    return "ExploreServer[%s:%s]".formatted(HOST, http.getAddress().getPort());
  }

  /** Collects the settings of a server. Not safe for use by several threads. */
  public static final class Builder {

    final TextModel model;
    final Generator generator;
    final PromptDataset prompts;
    final String key;
    final Scored first;
    final Map<String, Scored.Method> methods = new LinkedHashMap<>();
    final Map<String, String> facts = new LinkedHashMap<>();
    String title;
    Path folder;
    private int port;
    private int bodyLimit = 1 << 20;
    private String token = randomToken();

    private Builder(
        TextModel model, Generator generator, PromptDataset prompts, String key, Scored first) {
      this.model = Objects.requireNonNull(model, "model");
      this.generator = Objects.requireNonNull(generator, "generator");
      this.prompts = Objects.requireNonNull(prompts, "prompts");
      this.key = Objects.requireNonNull(key, "key");
      this.first = first;
      title = "The circuit of " + model.name();
      if (!first.scores().graph().equals(model.graph())) {
        throw new IllegalArgumentException(
            "scores: expected those of a %s, got those of a %s"
                .formatted(model.graph(), first.scores().graph()));
      }
      if (model.graph().seqLen().isPresent()) {
        throw new IllegalArgumentException(
            "model: expected edges that hold for all positions, got " + model.graph());
      }
    }

    private static String randomToken() {
      byte[] bytes = new byte[TOKEN_BYTES];
      new SecureRandom().nextBytes(bytes);
      return Base64.getUrlEncoder().encodeToString(bytes);
    }

    /** Sets the line of text above. */
    public Builder title(String value) {
      title = Objects.requireNonNull(value, "title");
      return this;
    }

    /**
     * Says where the model is, for the code that pages give; without it, it is the one that comes
     * with the library.
     */
    public Builder folder(Path value) {
      folder = Objects.requireNonNull(value, "folder");
      return this;
    }

    /** Adds a name and what there is to say about it, for the end of the page. */
    public Builder fact(String name, String text) {
      facts.put(Objects.requireNonNull(name, "name"), Objects.requireNonNull(text, "text"));
      return this;
    }

    /** Adds a method by which people may have the edges scored. */
    public Builder method(String name, Scored.Method method) {
      methods.put(Objects.requireNonNull(name, "name"), Objects.requireNonNull(method, "method"));
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

    /**
     * Sets the token that the address ends with; a random one at first. With the same port and
     * token, pages that are open find a server that was started once more.
     *
     * @throws IllegalArgumentException if it has less than 16 characters
     */
    public Builder token(String value) {
      if (value.length() < 16) {
        throw new IllegalArgumentException("token: expected 16 characters or more");
      }
      token = value;
      return this;
    }

    /** Sets the most bytes of a request; 1 MiB at first. */
    public Builder bodyLimit(int value) {
      bodyLimit = Math.min(Numbers.atLeast(1, "bodyLimit", value), Integer.MAX_VALUE - 16);
      return this;
    }

    /**
     * Starts the server.
     *
     * @return to be closed by the caller
     * @throws IOException if the port cannot be listened at; names it
     */
    public ExploreServer start() throws IOException {
      try {
        return new ExploreServer(this);
      } catch (IOException e) {
        throw new IOException("%s port %s: %s".formatted(HOST, port, e.getMessage()), e);
      }
    }
  }
}
