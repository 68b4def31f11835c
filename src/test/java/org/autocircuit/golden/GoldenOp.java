package org.autocircuit.golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * One operation of a case.
 *
 * @param goldenCase the case
 * @param json its entry in {@code ops}
 */
public record GoldenOp(GoldenCase goldenCase, JsonNode json) {

  /** Returns what is done. */
  public String name() {
    return json.get("op").asText();
  }

  /** The operation's number within the case. */
  public int id() {
    return json.get("id").asInt();
  }

  /** A parameter, or a missing node. */
  public JsonNode param(String name) {
    return json.path("params").path(name);
  }

  /** A scalar result, or a missing node. */
  public JsonNode scalar(String name) {
    return json.path("scalars").path(name);
  }

  /** The type of the reference's exception, or {@code null} if it raises none. */
  public String raises() {
    JsonNode raises = json.path("raises").path("type");
    return raises instanceof MissingNode ? null : raises.asText();
  }

  /** Returns whether there is an input of that name. */
  public boolean hasInput(String name) {
    return json.path("inputs").has(name);
  }

  /** Returns whether there is an output of that name. */
  public boolean hasOutput(String name) {
    return json.path("outputs").has(name);
  }

  /** An input that is one tensor. */
  public GoldenTensor input(String name) {
    return tensor("inputs", name);
  }

  /** An output that is one tensor. */
  public GoldenTensor output(String name) {
    return tensor("outputs", name);
  }

  /** An input that has one tensor for each destination module. */
  public Map<String, GoldenTensor> inputByModule(String name) {
    return byModule("inputs", name);
  }

  /** An output that has one tensor for each destination module. */
  public Map<String, GoldenTensor> outputByModule(String name) {
    return byModule("outputs", name);
  }

  /** The names of the outputs. */
  public List<String> outputNames() {
    List<String> names = new ArrayList<>();
    json.path("outputs").fieldNames().forEachRemaining(names::add);
    return names;
  }

  /** The case, the number and the operation. */
  @Override
  public String toString() {
    return goldenCase.name() + " op" + id() + " " + name();
  }

  private GoldenTensor tensor(String kind, String name) {
    return goldenCase.tensor(json.path(kind).path(name).path("tensor").asText());
  }

  private Map<String, GoldenTensor> byModule(String kind, String name) {
    JsonNode prefix = json.path(kind).path(name).path("by_module");
    if (prefix.isMissingNode()) {
      throw new IllegalArgumentException(this + " has no " + kind + " by module of name " + name);
    }
    return new TreeMap<>(goldenCase.byModule(prefix.asText()));
  }
}
