package org.autocircuit.explore;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.BitSet;
import java.util.function.UnaryOperator;
import org.autocircuit.generate.Generator;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** A server of the embedded model, and ways to talk to it. */
final class TestExploration implements AutoCloseable {

  static final String TOKEN = "a token of a test";
  static final String PROMPT = "When Mary and John went to the store, John gave a drink to";
  static final String CORRUPT = "When Mary and John went to the store, Mary gave a drink to";

  final TextModel model;
  final Generator generator;
  final PruneScores scores;
  final String scoresName;
  final ExploreServer server;
  final HttpClient client = HttpClient.newHttpClient();

  TestExploration() {
    this(ExampleModel.open(), settings -> settings);
  }

  /** Takes the model over. */
  TestExploration(TextModel model, UnaryOperator<ExploreServer.Builder> settings) {
    this.model = model;
    generator = model.generator().build();
    PruneAlgorithm algorithm = MaskGradient.builder().build();
    scores = model.discover(ExampleModel.prompts());
    scoresName = algorithm.name();
    Scored first =
        new Scored(algorithm.name(), algorithm.unit(), algorithm.sign(), "A meaning.", scores);
    try {
      server =
          settings
              .apply(
                  ExploreServer.builder(model, generator, ExampleModel.prompts(), "eap", first)
                      .token(TOKEN))
              .start();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A request of a program that knows the token. */
  HttpRequest.Builder request(String path) {
    return HttpRequest.newBuilder(server.uri().resolve(path))
        .version(HttpClient.Version.HTTP_1_1)
        .header("Authorization", "Bearer " + TOKEN);
  }

  HttpRequest post(String path, String body) {
    return request(path)
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

  /** Asks and returns the answer of a request that goes well. */
  JsonNode ask(String path, ObjectNode body) {
    HttpResponse<String> response = send(post(path, body.toString()));
    if (response.statusCode() != 200) {
      throw new IllegalStateException(response.statusCode() + ": " + response.body());
    }
    return json(response.body());
  }

  HttpResponse<String> page(String query) {
    URI uri = server.uri().resolve("/" + query);
    return send(HttpRequest.newBuilder(uri).version(HttpClient.Version.HTTP_1_1).build());
  }

  /** A question with some edges patched. */
  static ObjectNode question(EdgeSet patched) {
    BitSet bits = new BitSet();
    patched.indices().forEach(bits::set);
    return StrictJson.MAPPER
        .createObjectNode()
        .put("clean", PROMPT)
        .put("corrupt", CORRUPT)
        .put("patched", Base64.getEncoder().encodeToString(bits.toByteArray()));
  }

  static JsonNode json(String text) {
    try {
      return StrictJson.MAPPER.readTree(text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    server.close();
    generator.close();
    model.close();
  }
}
