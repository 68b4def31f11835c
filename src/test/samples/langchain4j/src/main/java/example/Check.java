package example;

import dev.langchain4j.data.message.ChatMessage;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.output.FinishReason;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import org.autocircuit.generate.Donor;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationListener;
import org.autocircuit.generate.GenerationPatch;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Generator;
import org.autocircuit.generate.StepReport;
import org.autocircuit.generate.Stop;
import org.autocircuit.generate.TextStream;
import org.autocircuit.patch.Masks;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Holds the chat model to the generator, and cancels an answer. */
public final class Check {

  private static final String PROMPT = "When Mary and John went to the store, John gave a drink to";
  private static final String CORRUPT =
      "When Mary and John went to the store, Mary gave a drink to";
  private static final int TOKENS = 12;

  private Check() {}

  /** Collects what comes, and cancels after some pieces. */
  private static final class Reader implements StreamingChatResponseHandler {
    private final int most;
    private final List<String> pieces = new ArrayList<>();
    private final CompletableFuture<ChatResponse> end = new CompletableFuture<>();

    Reader(int most) {
      this.most = most;
    }

    @Override
    public void onPartialResponse(PartialResponse piece, PartialResponseContext context) {
      pieces.add(piece.text());
      if (pieces.size() == most) {
        context.streamingHandle().cancel();
      }
    }

    @Override
    public void onCompleteResponse(ChatResponse response) {
      end.complete(response);
    }

    @Override
    public void onError(Throwable error) {
      end.completeExceptionally(error);
    }
  }

  public static void main(String[] args) throws Exception {
    GenerationListener slow =
        new GenerationListener() {
          @Override
          public void stepped(StepReport step) {
            try {
              Thread.sleep(20);
            } catch (InterruptedException e) {
              Thread.currentThread().interrupt();
            }
          }
        };
    try (TextModel model = ExampleModel.open();
        // The model would end its answers after a sentence.
        Generator generator = model.generator().listener(slow).stopTokens(List.of()).build()) {
      GenerationPatch patch =
          GenerationPatch.resample(
              model.tokens(CORRUPT),
              Masks.ofNames(model.graph(), List.of("A3.0->Resid End", "A3.4->Resid End")),
              Donor.FOLLOWS);
      String plain = check(model, generator, UnaryOperator.identity());
      String patched = check(model, generator, request -> request.withPatch(patch));
      expect(!plain.equals(patched), "the patch changes nothing: " + plain);
    }
    System.out.println("langchain4j: ok");
  }

  /** Chats, and returns the answer, which is the generator's. */
  private static String check(
      TextModel model, Generator generator, UnaryOperator<GenerationRequest> patching)
      throws Exception {
    try (CircuitChatModel chat = new CircuitChatModel(model, generator, Check::format, patching)) {
      Reader all = chat(chat, Integer.MAX_VALUE);
      ChatResponse answer = all.end.get(30, TimeUnit.SECONDS);
      String text = answer.aiMessage().text();
      expect(text.equals(generated(model, generator, patching)), "another answer: " + text);
      expect(all.pieces.size() >= 2 && String.join("", all.pieces).equals(text), "" + all.pieces);
      expect(answer.tokenUsage().outputTokenCount() == TOKENS, "" + answer.tokenUsage());
      expect(answer.finishReason() == FinishReason.LENGTH, "" + answer.finishReason());

      Reader some = chat(chat, 2);
      answer = some.end.get(30, TimeUnit.SECONDS);
      expect(some.pieces.size() == 2, "after the cancel: " + some.pieces);
      expect(answer.finishReason() == FinishReason.OTHER, "" + answer.finishReason());
      expect(generator.state().active() == 0, "still running: " + generator.state());
      return text;
    }
  }

  private static Reader chat(CircuitChatModel chat, int most) {
    Reader reader = new Reader(most);
    chat.chat(
        ChatRequest.builder().messages(UserMessage.from(PROMPT)).maxOutputTokens(TOKENS).build(),
        reader);
    return reader;
  }

  /** The embedded model continues text: it knows no roles. */
  private static String format(List<ChatMessage> messages) {
    return ((UserMessage) messages.get(messages.size() - 1)).singleText();
  }

  private static String generated(
      TextModel model, Generator generator, UnaryOperator<GenerationRequest> patching) {
    long[] prompt = model.tokens(PROMPT);
    TextStream text = TextStream.after(model.tokenizer(), prompt, List.of());
    StringBuilder all = new StringBuilder();
    try (Generation generation =
        generator.submit(
            patching.apply(GenerationRequest.of(prompt).withStop(Stop.after(TOKENS))))) {
      generation.forEach(token -> all.append(text.add(token.id())));
    }
    return all.append(text.end()).toString();
  }

  private static void expect(boolean condition, String otherwise) {
    if (!condition) {
      throw new AssertionError(otherwise);
    }
  }
}
