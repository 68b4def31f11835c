package org.autocircuit.serve;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Sampling;
import org.autocircuit.generate.Stop;
import org.autocircuit.generate.TextStream;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.http.Members;
import org.autocircuit.internal.http.Refusal;

/**
 * A request for a completion, read and checked.
 *
 * @param request for the generator
 * @param answers number of them
 * @param texts make what turns the tokens of an answer into what they add to the prompt
 * @param stream whether tokens are sent as they come
 * @param usage whether the numbers of tokens are sent
 * @param logProbs whether log-probabilities are sent
 * @param patchedEdges number of edges that are patched
 */
record Completion(
    GenerationRequest request,
    int answers,
    Supplier<TextStream> texts,
    boolean stream,
    boolean usage,
    boolean logProbs,
    int patchedEdges) {

  /** Answers have at most so many tokens unless asked; OpenAI's number. */
  private static final int DEFAULT_MAX_TOKENS = 16;

  private static final int MAX_STOPS = 16;

  private static final int MAX_LOG_PROBS = 20;

  /**
   * Reads a request.
   *
   * @throws Refusal if something is wrong; names the member, what was expected and what came
   */
  static Completion read(ObjectNode document, Served served) {
    Members members = Members.of(document);
    String model = members.text("model", served.name());
    if (!model.equals(served.name())) {
      throw Refusal.of(404, "model: expected '%s', got '%s'".formatted(served.name(), model));
    }
    long[] prompt = tokens(members, "prompt", served);
    Patching patching =
        members.has("autocircuit")
            ? Patching.read(members.members("autocircuit"), served)
            : Patching.NONE;
    GenerationRequest request =
        GenerationRequest.of(prompt)
            .withPatch(patching.patch())
            .withSampling(sampling(members))
            .withStop(stop(members))
            .withTimeLimit(served.timeLimit());
    for (var steering : patching.steering()) {
      request = request.withSteering(steering);
    }
    boolean stream = members.flag("stream");
    members.onlyIf("stream_options", stream, "none without \"stream\": true");
    boolean usage =
        !stream || (members.has("stream_options") && usage(members.members("stream_options")));
    boolean logProbs = logProbs(members);
    request = request.withLogProbs(logProbs ? members.node("logprobs").intValue() : 0);
    int answers = members.integer("n", 1, 1);
    members.onlyIf(
        "best_of", members.number("best_of", answers) == answers, "as many as n: all are sent");
    refuseWhatIsNotDone(members);
    members.refuseOthers();
    List<String> stops = request.stop().texts();
    return new Completion(
        request,
        answers,
        () -> TextStream.after(served.model().tokenizer(), prompt, stops),
        stream,
        usage,
        logProbs,
        patching.edges());
  }

  /** Returns the tokens of a member that is text or token ids. */
  static long[] tokens(Members members, String name, Served served) {
    JsonNode node = members.node(name);
    boolean one = node.isArray() && node.size() == 1 && node.get(0).isTextual();
    if (one || node.isTextual()) {
      String text = one ? members.texts(name).get(0) : members.text(name, "");
      return Members.at(members.place(name), () -> served.model().tokens(text));
    }
    if (!node.isArray() || node.isEmpty()) {
      throw members.refuse(name, "text, or an array of token ids");
    }
    long[] ids = new long[node.size()];
    for (int i = 0; i < ids.length; i++) {
      JsonNode id = node.get(i);
      if (!id.isIntegralNumber() || !id.canConvertToInt() || id.intValue() < 0) {
        throw Refusal.of(
            "%s[%s]".formatted(members.place(name), i),
            "a token id (one prompt a request)",
            JsonFiles.describe(id));
      }
      ids[i] = id.longValue();
    }
    return ids;
  }

  private static Sampling sampling(Members members) {
    double temperature = members.number("temperature", 0);
    int topK = members.integer("top_k", 0, 0);
    double topP = members.number("top_p", 1);
    // A seed that nobody chose is told in the answer; JavaScript can write one of 53 bits.
    long seed = members.seed("seed", ThreadLocalRandom.current().nextLong(1L << 53));
    return new Sampling(temperature, topK, topP, seed);
  }

  private static Stop stop(Members members) {
    Stop stop = Stop.after(members.integer("max_tokens", 1, DEFAULT_MAX_TOKENS));
    List<String> texts =
        members.node("stop").isTextual()
            ? List.of(members.text("stop", ""))
            : members.texts("stop");
    members.onlyIf("stop", texts.size() <= MAX_STOPS, "at most %s texts".formatted(MAX_STOPS));
    return stop.atTexts(texts.toArray(String[]::new));
  }

  private static boolean usage(Members options) {
    boolean usage = options.flag("include_usage");
    options.refuseOthers();
    return usage;
  }

  /** Returns whether they are sent; the number says for how many other tokens. */
  private static boolean logProbs(Members members) {
    JsonNode node = members.node("logprobs");
    double others = node.doubleValue();
    members.onlyIf(
        "logprobs",
        node.isBoolean() || (node.isIntegralNumber() && others >= 0 && others <= MAX_LOG_PROBS),
        "true, or 0 to %s: of so many of the most probable tokens, too".formatted(MAX_LOG_PROBS));
    return node.isIntegralNumber() || node.booleanValue();
  }

  /** Clients send these with the values that ask for nothing. */
  private static void refuseWhatIsNotDone(Members members) {
    members.text("user", "");
    for (String name : List.of("presence_penalty", "frequency_penalty")) {
      members.onlyIf(name, members.number(name, 0) == 0, "0: there are no penalties");
    }
    members.onlyIf("echo", !members.flag("echo"), "false: the prompt is not repeated");
    members.onlyIf("logit_bias", members.node("logit_bias").isEmpty(), "none: logits have no bias");
    members.onlyIf("suffix", members.text("suffix", "").isEmpty(), "none: nothing is filled in");
  }
}
