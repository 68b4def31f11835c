package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.autocircuit.NativeScope;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.tokenizer.Tokenizer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Tests that one line names what servers and tools leave in the place of a model's files. */
@ExtendWith(NativeScope.class)
class UnreadableFilesTest {

  private static final String LOGIN =
      "\n<!doctype html>\n<html lang=\"en\"><head>\n<title>Log in</title></head></html>";

  @TempDir Path folder;

  @BeforeEach
  void write() throws IOException {
    FamilyFolders.write(FamilyModels.named("llama grouped"), folder, SafetensorsType.F32);
    Files.writeString(folder.resolve("tokenizer.json"), "{}");
  }

  /** Reads a file of the model folder, or a GGUF file. */
  private void read(Path file) {
    String name = file.getFileName().toString();
    if (name.equals("tokenizer.json")) {
      Tokenizer.load(folder).close();
    } else {
      Checkpoints.load(name.endsWith(".gguf") ? file : folder);
    }
  }

  private void assertSays(Path file, String message) {
    assertThatThrownBy(() -> read(file))
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(file + ": " + message)
        .satisfies(e -> assertThat(e.getMessage().lines()).hasSize(1));
  }

  @ParameterizedTest
  @ValueSource(strings = {"config.json", "tokenizer.json", "model.safetensors", "model.gguf"})
  void namesPagesThatServersSend(String name) throws IOException {
    Path file = Files.writeString(folder.resolve(name), LOGIN);
    assertSays(file, "a page in HTML or XML (\"Log in\"), expected the file itself; a server sent");
    Files.writeString(file, "\ufeff<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>");
    assertSays(file, "a page in HTML or XML, expected the file itself; a server sent");
  }

  @ParameterizedTest
  @ValueSource(strings = {"model.safetensors", "model.gguf"})
  void namesTextsThatServersSend(String name) throws IOException {
    Path file = Files.writeString(folder.resolve(name), "Entry not found\n");
    assertSays(file, "text that begins with \"Entry not found\", expected a ");
    Files.writeString(file, "{\"error\":\"Access \u001b[31mto it is restricted\"}");
    assertSays(
        file, "text that begins with \"{\"error\":\"Access \\u001b[31mto it is restricted\"}\"");
  }

  @ParameterizedTest
  @ValueSource(strings = {"config.json", "tokenizer.json", "model.gguf"})
  void namesEmptyFiles(String name) throws IOException {
    Path file = Files.write(folder.resolve(name), new byte[0]);
    assertSays(file, "an empty file; download it once more");
  }

  @Test
  void namesEmptyWeights() throws IOException {
    Path file = Files.write(folder.resolve("model.safetensors"), new byte[0]);
    assertSays(file, "0 bytes, too short for a safetensors file; is the download complete?");
  }

  @ParameterizedTest
  @ValueSource(strings = {"config.json", "tokenizer.json", "model.safetensors"})
  void namesLinksToNothing(String name) throws IOException {
    Path file = folder.resolve(name);
    Files.delete(file);
    Files.createSymbolicLink(file, Path.of("../../blobs/0ab1"));
    assertSays(file, "a link to ../../blobs/0ab1, where nothing is; copy files, not links");
  }

  @Test
  void namesLinksToNothingAmongShards() throws IOException {
    Files.delete(folder.resolve("model.safetensors"));
    Path index = folder.resolve("model.safetensors.index.json");
    Files.createSymbolicLink(index, Path.of("../../blobs/0ab2"));
    assertSays(index, "a link to ../../blobs/0ab2, where nothing is");
    Files.delete(index);
    Files.writeString(index, "{\"weight_map\": {\"x\": \"model-00001-of-00001.safetensors\"}}");
    assertSays(index, "lists the shard model-00001-of-00001.safetensors, which is missing");
    Files.createSymbolicLink(
        folder.resolve("model-00001-of-00001.safetensors"), Path.of("../../blobs/0ab3"));
    assertSays(
        index,
        "lists the shard model-00001-of-00001.safetensors, which is a link to ../../blobs/0ab3");
  }

  @Test
  void namesALinkToNothingInPlaceOfTheFolder(@TempDir Path elsewhere) throws IOException {
    Path link = Files.createSymbolicLink(elsewhere.resolve("model"), Path.of("gone"));
    assertThatThrownBy(() -> Checkpoints.load(link))
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(link + ": a link to gone, where nothing is");
  }
}
