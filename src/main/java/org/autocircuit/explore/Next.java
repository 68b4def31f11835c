package org.autocircuit.explore;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Comparator;
import java.util.List;
import java.util.stream.LongStream;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.text.NextToken;
import org.autocircuit.text.NextTokens;
import org.autocircuit.tokenizer.Tokenizer;

/** Writes answers as JSON; {@code page/prompt.js} reads them, and names each field. */
final class Next {

  /** So many of the most probable tokens of either run are told. */
  private static final int TOP = 6;

  private Next() {}

  static ObjectNode of(Engine.Answer answer, Tokenizer tokenizer) {
    NextTokens plain = NextTokens.of(answer.plain(), 0, tokenizer);
    NextTokens patched = NextTokens.of(answer.patched(), 0, tokenizer);
    ObjectNode json = StrictJson.MAPPER.createObjectNode();
    answer.clean().forEach(json.putArray("clean")::add);
    answer.corrupt().forEach(json.putArray("corrupt")::add);
    ArrayNode next = json.putArray("next");
    for (long id : shown(answer, plain, patched)) {
      ObjectNode token = next.addObject().put("id", id).put("token", tokenizer.show(id));
      add(token.putArray("plain"), plain.get(id));
      add(token.putArray("patched"), patched.get(id));
    }
    json.put("answer", answer.answer()).put("wrong", answer.wrong());
    Engine.Difference difference = answer.difference();
    json.putArray("difference")
        .add(difference.plain())
        .add(difference.patched())
        .add(difference.empty());
    json.put("recovered", Double.isNaN(difference.recovered()) ? null : difference.recovered());
    return json.put("kl", answer.divergence());
  }

  /** The most probable tokens of either run and the answers, the most probable first. */
  private static long[] shown(Engine.Answer answer, NextTokens plain, NextTokens patched) {
    return LongStream.concat(
            LongStream.of(answer.answer(), answer.wrong()).filter(id -> id >= 0),
            List.of(plain, patched).stream()
                .flatMap(tokens -> tokens.top(TOP).stream())
                .mapToLong(NextToken::id))
        .distinct()
        .boxed()
        .sorted(
            Comparator.comparingDouble(
                id -> -Math.max(plain.get(id).probability(), patched.get(id).probability())))
        .mapToLong(Long::longValue)
        .toArray();
  }

  private static void add(ArrayNode json, NextToken token) {
    json.add(token.probability()).add(token.logit());
  }
}
