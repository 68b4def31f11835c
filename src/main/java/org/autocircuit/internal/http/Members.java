package org.autocircuit.internal.http;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Supplier;
import org.autocircuit.internal.JsonFiles;

/** Reads the members of a JSON object, says which one is wrong, and refuses those nobody read. */
public final class Members {

  private final String place;
  private final JsonNode object;
  private final Set<String> read = new TreeSet<>();

  private Members(String place, JsonNode object) {
    this.place = place;
    this.object = object;
  }

  /** The members of a whole document. */
  public static Members of(ObjectNode document) {
    return new Members("", document);
  }

  /** The place of a member, for messages. */
  public String place(String name) {
    return place + name;
  }

  /** Returns whether a member is there and not null. */
  public boolean has(String name) {
    return !node(name).isNull();
  }

  /** A member, or JSON's null. */
  public JsonNode node(String name) {
    read.add(name);
    return object.hasNonNull(name) ? object.get(name) : NullNode.getInstance();
  }

  public Refusal refuse(String name, String expected) {
    return Refusal.of(place(name), expected, JsonFiles.describe(node(name)));
  }

  public String text(String name, String otherwise) {
    if (!has(name)) {
      return otherwise;
    }
    if (!node(name).isTextual()) {
      throw refuse(name, "a string");
    }
    return whole(place(name), node(name).textValue());
  }

  public int integer(String name, int least, int otherwise) {
    if (!has(name)) {
      return otherwise;
    }
    JsonNode node = node(name);
    if (!node.isIntegralNumber() || !node.canConvertToInt() || node.intValue() < least) {
      throw refuse(name, "a whole number of at least " + least);
    }
    return node.intValue();
  }

  public long seed(String name, long otherwise) {
    if (!has(name)) {
      return otherwise;
    }
    if (!node(name).isIntegralNumber() || !node(name).canConvertToLong()) {
      throw refuse(name, "a whole number of 64 bits");
    }
    return node(name).longValue();
  }

  public double number(String name, double otherwise) {
    if (!has(name)) {
      return otherwise;
    }
    return finite(place(name), node(name));
  }

  public boolean flag(String name) {
    if (has(name) && !node(name).isBoolean()) {
      throw refuse(name, "true or false");
    }
    return node(name).booleanValue();
  }

  /** The members of a member that is an object. */
  public Members members(String name) {
    return members(place(name), node(name));
  }

  public static Members members(String place, JsonNode node) {
    if (!node.isObject()) {
      throw Refusal.of(place, "an object", JsonFiles.describe(node));
    }
    return new Members(place + ".", node);
  }

  /** The elements of a member that is an array; none if it is not there. */
  public List<JsonNode> array(String name) {
    if (!has(name)) {
      return List.of();
    }
    if (!node(name).isArray()) {
      throw refuse(name, "an array");
    }
    List<JsonNode> elements = new ArrayList<>();
    node(name).forEach(elements::add);
    return elements;
  }

  /** The strings of a member that is an array of them. */
  public List<String> texts(String name) {
    List<JsonNode> elements = array(name);
    List<String> texts = new ArrayList<>();
    for (int i = 0; i < elements.size(); i++) {
      String element = "%s[%s]".formatted(place(name), i);
      if (!elements.get(i).isTextual()) {
        throw Refusal.of(element, "a string", JsonFiles.describe(elements.get(i)));
      }
      texts.add(whole(element, elements.get(i).textValue()));
    }
    return texts;
  }

  /** Refuses a member that asks for what is not done; one that asks for nothing may be there. */
  public void onlyIf(String name, boolean asksForNothing, String expected) {
    if (has(name) && !asksForNothing) {
      throw refuse(name, expected);
    }
  }

  /** Refuses members that nobody has read, and suggests what may have been meant. */
  public void refuseOthers() {
    for (Iterator<String> names = object.fieldNames(); names.hasNext(); ) {
      String name = names.next();
      if (!read.contains(name)) {
        throw Refusal.unknown(place(name), name, read);
      }
    }
  }

  /** Reads what is at a place; an argument that is wrong there is refused as of that place. */
  public static <T> T at(String place, Supplier<T> reader) {
    try {
      return reader.get();
    } catch (IllegalArgumentException e) {
      throw Refusal.at(place, e.getMessage());
    }
  }

  public static double finite(String place, JsonNode node) {
    if (!node.isNumber() || !Double.isFinite(node.doubleValue())) {
      throw Refusal.of(place, "a finite number", JsonFiles.describe(node));
    }
    return node.doubleValue();
  }

  /** Refuses text with halves of characters, which no encoding of it has. */
  private static String whole(String place, String text) {
    if (text.codePoints()
        .anyMatch(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE)) {
      throw Refusal.of(place, "whole characters", "one half of a pair of surrogates");
    }
    return text;
  }
}
