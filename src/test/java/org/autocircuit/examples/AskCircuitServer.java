package org.autocircuit.examples;

import com.sun.net.httpserver.HttpServer;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Starts the server and asks it three times at once, each time with other edges. */
public class AskCircuitServer {
  public static void main(String[] args) throws Exception {
    String prompts =
        "When Mary and John went to the store, John gave a drink to"
            + "&When Mary and John went to the store, Mary gave a drink to";
    List<String> edges = List.of("", "&A3.0->Resid End", "&A3.0->Resid End&A3.4->Resid End");
    try (TextModel model = ExampleModel.open()) {
      HttpServer server = CircuitServer.start(model, 0);
      int port = server.getAddress().getPort();
      HttpClient client = HttpClient.newHttpClient();
      List<CompletableFuture<HttpResponse<String>>> answers = new ArrayList<>();
      for (String more : edges) {
        URI uri = new URI("http", null, "localhost", port, "/", prompts + more, null);
        answers.add(client.sendAsync(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString()));
      }
      answers.forEach(answer -> System.out.println(answer.join().body()));
      server.stop(0);
      ((ExecutorService) server.getExecutor()).shutdown();
    }
  }
}
