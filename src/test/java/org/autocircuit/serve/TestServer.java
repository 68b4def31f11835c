package org.autocircuit.serve;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.function.UnaryOperator;
import org.autocircuit.generate.GenerationListener;
import org.autocircuit.generate.Generator;
import org.autocircuit.generate.StepReport;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** A server of the embedded model, whose steps can be made slow, and ways to talk to it. */
final class TestServer implements AutoCloseable {

  static final String PROMPT = "When Mary and John went to the store, John gave a drink to";
  static final String CORRUPT = "When Mary and John went to the store, Mary gave a drink to";

  final TextModel model = ExampleModel.open();
  final Generator generator;
  final CompletionServer server;
  final HttpClient client = HttpClient.newHttpClient();

  /** The rest of the generator after each step. */
  volatile long stepMillis;

  TestServer() {
    this(generator -> generator, server -> server);
  }

  TestServer(
      UnaryOperator<Generator.Builder> generatorSettings,
      UnaryOperator<CompletionServer.Builder> serverSettings) {
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
    generator =
        generatorSettings
            .apply(Generator.builder(model.model()).tokenizer(model.tokenizer()).listener(slow))
            .build();
    try {
      server = serverSettings.apply(CompletionServer.builder(model, generator)).start();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  URI uri(String path) {
    return server.uri().resolve(path);
  }

  static HttpRequest.Builder request(URI uri) {
    return HttpRequest.newBuilder(uri).version(HttpClient.Version.HTTP_1_1);
  }

  HttpRequest completion(String body) {
    return request(uri("/v1/completions"))
        .header("Content-Type", "application/json")
        .POST(BodyPublishers.ofString(body))
        .build();
  }

  HttpResponse<String> send(HttpRequest request) {
    try {
      return client.send(request, BodyHandlers.ofString(StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  HttpResponse<String> post(String body) {
    return send(completion(body));
  }

  HttpResponse<String> get(String path) {
    return send(request(uri(path)).build());
  }

  /** A body with the prompt and other members. */
  static String body(String others) {
    return "{\"prompt\":\"%s\",\"max_tokens\":6%s}"
        .formatted(PROMPT, others.isEmpty() ? "" : "," + others);
  }

  static JsonNode json(String text) {
    try {
      return StrictJson.MAPPER.readTree(text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static long[] ids(JsonNode completion) {
    JsonNode ids = completion.at("/choices/0/token_ids");
    long[] values = new long[ids.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = ids.get(i).longValue();
    }
    return values;
  }

  /** Opens a connection and sends bytes as they are. */
  Socket connect(String text) throws IOException {
    Socket socket = new Socket(server.uri().getHost(), server.uri().getPort());
    socket.setSoTimeout(10_000);
    write(socket, text);
    return socket;
  }

  static void write(Socket socket, String text) throws IOException {
    socket.getOutputStream().write(text.getBytes(StandardCharsets.UTF_8));
    socket.getOutputStream().flush();
  }

  /** Reads until a text has come, or the connection ends. */
  static String readUntil(Socket socket, String end) throws IOException {
    StringBuilder text = new StringBuilder();
    InputStream in = socket.getInputStream();
    for (int b = in.read(); b >= 0; b = in.read()) {
      text.append((char) b);
      if (text.toString().endsWith(end)) {
        break;
      }
    }
    return text.toString();
  }

  /** A POST of a completion as bytes. */
  static String raw(String body, String... headers) {
    String more = headers.length == 0 ? "" : String.join("\r\n", headers) + "\r\n";
    return "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + "Content-Length: %s\r\n%s\r\n%s"
            .formatted(body.getBytes(StandardCharsets.UTF_8).length, more, body);
  }

  @Override
  public void close() {
    server.close();
    generator.close();
    model.close();
  }
}
