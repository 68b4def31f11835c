package example;

import dev.langchain4j.data.message.AiMessage;
import dev.langchain4j.data.message.ChatMessage;
import dev.langchain4j.model.chat.StreamingChatModel;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.chat.response.StreamingHandle;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.model.output.TokenUsage;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import org.autocircuit.generate.GeneratedToken;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Generator;
import org.autocircuit.generate.Sampling;
import org.autocircuit.generate.Stop;
import org.autocircuit.generate.TextStream;
import org.autocircuit.text.TextModel;

/**
 * Gives LangChain4j a model with circuits. Answers come on threads of its own; a handle that is
 * cancelled ends its answer, which is then complete with what there is.
 */
public final class CircuitChatModel implements StreamingChatModel, AutoCloseable {

  private final TextModel model;
  private final Generator generator;
  private final Function<List<ChatMessage>, String> format;
  private final UnaryOperator<GenerationRequest> patching;
  private final ExecutorService readers = Executors.newCachedThreadPool();

  /**
   * Model and generator stay the caller's.
   *
   * @param format writes messages as the prompt that the model was trained on
   * @param patching adds patches or steering to each request
   */
  public CircuitChatModel(
      TextModel model,
      Generator generator,
      Function<List<ChatMessage>, String> format,
      UnaryOperator<GenerationRequest> patching) {
    this.model = model;
    this.generator = generator;
    this.format = format;
    this.patching = patching;
  }

  @Override
  public ChatRequestParameters defaultRequestParameters() {
    return ChatRequestParameters.builder().modelName(model.name()).build();
  }

  /** Refuses what does not fit at once; all else comes through the handler. */
  @Override
  public void doChat(ChatRequest request, StreamingChatResponseHandler handler) {
    long[] prompt = model.tokens(format.apply(request.messages()));
    Stop stop = stop(request);
    Generation generation =
        generator.submit(
            patching.apply(
                GenerationRequest.of(prompt).withSampling(sampling(request)).withStop(stop)));
    readers.execute(() -> stream(generation, prompt, stop, handler));
  }

  private static Stop stop(ChatRequest request) {
    Integer most = request.maxOutputTokens();
    return Stop.after(most == null ? GenerationRequest.DEFAULT_MAX_TOKENS : most)
        .atTexts(request.stopSequences().toArray(String[]::new));
  }

  private static Sampling sampling(ChatRequest request) {
    Sampling sampling = Sampling.GREEDY;
    if (request.temperature() != null) {
      sampling = sampling.withTemperature(request.temperature());
    }
    if (request.topP() != null) {
      sampling = sampling.withTopP(request.topP());
    }
    return request.topK() == null ? sampling : sampling.withTopK(request.topK());
  }

  private void stream(
      Generation generation, long[] prompt, Stop stop, StreamingChatResponseHandler handler) {
    StreamingHandle handle =
        new StreamingHandle() {
          private volatile boolean cancelled;

          @Override
          public void cancel() {
            cancelled = true;
            generation.close();
          }

          @Override
          public boolean isCancelled() {
            return cancelled;
          }
        };
    PartialResponseContext context = new PartialResponseContext(handle);
    TextStream text = TextStream.after(model.tokenizer(), prompt, stop.texts());
    StringBuilder all = new StringBuilder();
    try (generation) {
      for (GeneratedToken token : generation) {
        send(text.add(token.id()), all, handler, context);
      }
      send(text.end(), all, handler, context);
      int answered = generation.tokens().size();
      handler.onCompleteResponse(
          ChatResponse.builder()
              .aiMessage(AiMessage.from(all.toString()))
              .modelName(model.name())
              .tokenUsage(new TokenUsage(prompt.length, answered))
              .finishReason(reason(generation.finishReason().orElseThrow()))
              .build());
    } catch (CompletionException e) {
      handler.onError(e.getCause());
    } catch (RuntimeException e) {
      handler.onError(e);
    }
  }

  private static void send(
      String more,
      StringBuilder all,
      StreamingChatResponseHandler handler,
      PartialResponseContext context) {
    if (!more.isEmpty() && !context.streamingHandle().isCancelled()) {
      all.append(more);
      handler.onPartialResponse(new PartialResponse(more), context);
    }
  }

  private static FinishReason reason(org.autocircuit.generate.FinishReason reason) {
    return switch (reason) {
      case STOP_TOKEN, STOP_TEXT -> FinishReason.STOP;
      case LENGTH, CONTEXT -> FinishReason.LENGTH;
      default -> FinishReason.OTHER;
    };
  }

  /** Ends its threads; answers that are read go on. */
  @Override
  public void close() {
    readers.shutdown();
  }
}
