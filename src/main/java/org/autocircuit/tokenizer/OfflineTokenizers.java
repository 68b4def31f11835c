package org.autocircuit.tokenizer;

import ai.djl.engine.EngineException;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.autocircuit.exception.CheckpointException;

/** Makes DJL's tokenizers without letting DJL use the network. */
final class OfflineTokenizers {
  private static final Map<String, String> OFFLINE =
      Map.of("OPT_OUT_TRACKING", "true", "RUST_FLAVOR", "cpu");
  private static final Map<String, String> PLAIN =
      Map.of("addSpecialTokens", "false", "truncation", "false", "padding", "false");

  private OfflineTokenizers() {}

  // The properties are put back afterwards: the host program may use DJL in its own way.
  static synchronized HuggingFaceTokenizer parse(Path file, byte[] json) {
    Map<String, String> before = new HashMap<>();
    Thread caller = Thread.currentThread();
    ClassLoader context = caller.getContextClassLoader();
    // DJL looks for its own files with it, and threads that it starts would keep the caller's.
    caller.setContextClassLoader(HuggingFaceTokenizer.class.getClassLoader());
    OFFLINE.forEach((key, value) -> before.put(key, System.setProperty(key, value)));
    try {
      return HuggingFaceTokenizer.newInstance(new ByteArrayInputStream(json), PLAIN);
    } catch (EngineException | LinkageError e) {
      throw new IllegalStateException(
          "the tokenizer's native library cannot be loaded; DJL unpacks it into ~/.djl.ai or into"
              + " the folder that -DDJL_CACHE_DIR names: "
              + e.getMessage(),
          e);
    } catch (IOException | RuntimeException e) {
      throw new CheckpointException("%s: not a tokenizer: %s".formatted(file, e.getMessage()), e);
    } finally {
      caller.setContextClassLoader(context);
      before.forEach(
          (key, value) -> {
            if (value == null) {
              System.clearProperty(key);
            } else {
              System.setProperty(key, value);
            }
          });
    }
  }
}
