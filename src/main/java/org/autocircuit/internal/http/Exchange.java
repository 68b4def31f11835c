package org.autocircuit.internal.http;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.io.OutputStream;
import java.net.URLDecoder;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.VisibleText;

/** One request of HTTP and its response, for the thread that handles it. */
public final class Exchange implements AutoCloseable {

  private static final String JSON = "application/json";

  private final HttpExchange http;
  private final int bodyLimit;
  private OutputStream out;
  private long lastSent = System.nanoTime();

  public Exchange(HttpExchange http, int bodyLimit) {
    this.http = http;
    this.bodyLimit = bodyLimit;
  }

  public String path() {
    return String.valueOf(http.getRequestURI().getPath());
  }

  public String method() {
    return http.getRequestMethod();
  }

  /** Sets a header of the response, which has not begun. */
  public void header(String name, String value) {
    http.getResponseHeaders().set(name, value);
  }

  /**
   * Refuses requests that a page of another site makes a browser on this machine send: their names
   * for this machine are not its own.
   */
  public void requireLocalName(String host) {
    String named = http.getRequestHeaders().getFirst("Host");
    if (named == null) {
      return; // HTTP/1.0
    }
    String name = named.replaceAll(":\\d*$", "").toLowerCase(Locale.ROOT);
    if (!List.of("localhost", "127.0.0.1", "[::1]", host).contains(name)) {
      throw Refusal.of(
          421, "Host: expected localhost, since the server is for this machine, got " + named);
    }
  }

  /**
   * Refuses requests of pages of other sites, which browsers mark with their origin; requests of
   * this server's own pages, and of programs, pass.
   */
  public void requireOwnOrigin() {
    String origin = http.getRequestHeaders().getFirst("Origin");
    String host = http.getRequestHeaders().getFirst("Host");
    if (origin != null && !origin.equalsIgnoreCase("http://" + host)) {
      throw Refusal.of(403, "Origin: expected a page of this server, got " + origin);
    }
  }

  /** The first value of a header of the request, empty if it is not there. */
  public String sent(String name) {
    String value = http.getRequestHeaders().getFirst(name);
    return value == null ? "" : value;
  }

  /** The first value of a parameter of the address, empty if it is not there. */
  public String parameter(String name) {
    String query = String.valueOf(http.getRequestURI().getRawQuery());
    for (String part : List.of(query.split("&"))) {
      if (part.startsWith(name + "=")) {
        return decoded(part.substring(name.length() + 1));
      }
    }
    return "";
  }

  private static String decoded(String text) {
    try {
      return URLDecoder.decode(text, StandardCharsets.UTF_8);
    } catch (IllegalArgumentException e) {
      throw Refusal.of(400, "address: " + e.getMessage());
    }
  }

  /** Reads the body, one JSON object in UTF-8. */
  public ObjectNode readObject() throws IOException {
    requireJson(http.getRequestHeaders());
    byte[] body = http.getRequestBody().readNBytes(bodyLimit + 1);
    if (body.length > bodyLimit) {
      header("Connection", "close");
      throw Refusal.of(413, "body: expected at most %s bytes".formatted(bodyLimit));
    }
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body)).toString();
      JsonNode node = StrictJson.MAPPER.readTree(text);
      if (node instanceof ObjectNode object) {
        return object;
      }
      throw Refusal.of(400, "body: expected a JSON object, got " + JsonFiles.describe(node));
    } catch (CharacterCodingException e) {
      throw Refusal.of(400, "body: expected UTF-8, got bytes that are not");
    } catch (JsonProcessingException e) {
      throw Refusal.of(400, "body: " + StrictJson.notValid(e));
    }
  }

  /** Pages of other sites may send what looks like a form or text, but no JSON. */
  private static void requireJson(Headers headers) {
    String type = String.valueOf(headers.getFirst("Content-Type"));
    String plain = type.toLowerCase(Locale.ROOT).replaceAll("[\\s\"]", "");
    if (!plain.equals(JSON) && !plain.equals(JSON + ";charset=utf-8")) {
      throw Refusal.of(415, "Content-Type: expected %s, got %s".formatted(JSON, type));
    }
  }

  /** Responds with a document. */
  public void send(int status, JsonNode document) throws IOException {
    send(status, JSON, bytes(document));
  }

  /** Responds with text. */
  public void send(int status, String type, byte[] bytes) throws IOException {
    header("Content-Type", type);
    boolean bare = method().equals("HEAD");
    http.sendResponseHeaders(status, bare ? -1 : bytes.length);
    out = http.getResponseBody();
    if (!bare) {
      out.write(bytes);
    }
  }

  /** Responds that something went wrong, in the form that OpenAI's clients read. */
  public void sendError(int status, String member, String message) throws IOException {
    send(status, error(status, member, message));
  }

  /** The document that says what went wrong. */
  public static ObjectNode error(int status, String member, String message) {
    ObjectNode error = StrictJson.MAPPER.createObjectNode();
    error
        .putObject("error")
        .put("message", VisibleText.of(message))
        .put("type", status < 500 ? "invalid_request_error" : "server_error")
        .put("param", member)
        .put("code", status);
    return error;
  }

  /** Begins a response of unknown length. */
  public void begin(String type) throws IOException {
    header("Content-Type", type);
    header("Cache-Control", "no-cache");
    http.sendResponseHeaders(200, 0);
    out = http.getResponseBody();
  }

  /** Returns whether the response has begun. */
  public boolean isBegun() {
    return out != null;
  }

  /** Sends more of a response that has begun, at once. */
  public void write(String text) throws IOException {
    out.write(text.getBytes(StandardCharsets.UTF_8));
    out.flush();
    lastSent = System.nanoTime();
  }

  /** Returns for how long nothing was sent. */
  public long silentMillis() {
    return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - lastSent);
  }

  private static byte[] bytes(JsonNode document) {
    return (StrictJson.text(document) + "\n").getBytes(StandardCharsets.UTF_8);
  }

  @Override
  public void close() {
    http.close();
  }
}
