package org.autocircuit.examples;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;
import org.autocircuit.text.TextModel;

/** Answers {@code GET /top?prompt} with the most probable next tokens, eight prompts at a time. */
public class PromptServer {
  public static HttpServer start(TextModel model, int port) throws IOException {
    HttpServer server = HttpServer.create(new InetSocketAddress("localhost", port), 0);
    server.createContext(
        "/top",
        exchange -> {
          String top = model.top(exchange.getRequestURI().getQuery(), 5).toString();
          exchange.sendResponseHeaders(200, 0);
          new PrintStream(exchange.getResponseBody(), true, UTF_8).append(top).close();
        });
    server.setExecutor(Executors.newFixedThreadPool(8));
    server.start();
    return server;
  }
}
