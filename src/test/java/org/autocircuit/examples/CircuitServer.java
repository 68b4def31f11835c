package org.autocircuit.examples;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.Executors;
import org.autocircuit.text.Patched;
import org.autocircuit.text.TextModel;

/** Answers {@code GET /?clean&corrupt&edge&edge…} with those edges patched, for any caller. */
public class CircuitServer {
  public static HttpServer start(TextModel model, int port) throws IOException {
    HttpServer server = HttpServer.create(new InetSocketAddress("localhost", port), 0);
    server.createContext(
        "/",
        exchange -> {
          List<String> query = List.of(exchange.getRequestURI().getQuery().split("&"));
          Patched result = model.patch(query.get(0), query.get(1), query.subList(2, query.size()));
          byte[] body = result.patched().top(2).toString().getBytes(UTF_8);
          exchange.sendResponseHeaders(200, body.length);
          exchange.getResponseBody().write(body);
          exchange.close();
        });
    server.setExecutor(Executors.newFixedThreadPool(8));
    server.start();
    return server;
  }
}
