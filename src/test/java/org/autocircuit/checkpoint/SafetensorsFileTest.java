package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;
import org.autocircuit.exception.CheckpointException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsFileTest {
  private static final String TWO_TENSORS =
      """
      {"__metadata__":{"format":"pt"},
       "b":{"dtype":"I64","shape":[],"data_offsets":[24,32]},
       "a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
       "none":{"dtype":"BOOL","shape":[0,5],"data_offsets":[24,24]}}\
      """;

  @TempDir Path folder;

  private Path file(String header, int dataBytes) throws IOException {
    return file(header.getBytes(StandardCharsets.UTF_8), dataBytes);
  }

  private Path file(byte[] header, int dataBytes) throws IOException {
    ByteBuffer bytes =
        ByteBuffer.allocate(8 + header.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(header.length).put(header);
    return Files.write(folder.resolve("model.safetensors"), bytes.array());
  }

  private static void assertRefused(Path file, String... parts) {
    assertThatThrownBy(() -> SafetensorsFile.open(file))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(file.toString())
        .satisfies(
            e -> assertThat(parts).allSatisfy(part -> assertThat(e).hasMessageContaining(part)));
  }

  @Test
  void readsPlacesInTheFile() throws IOException {
    SafetensorsFile file = SafetensorsFile.open(file(TWO_TENSORS, 32));
    long data = 8L + TWO_TENSORS.length();
    assertThat(file.metadata()).containsExactly(java.util.Map.entry("format", "pt"));
    assertThat(file.entries().keySet()).containsExactly("a", "none", "b");
    assertThat(file.require("a"))
        .isEqualTo(new TensorEntry("a", SafetensorsType.F32, new long[] {2, 3}, data, data + 24));
    assertThat(file.require("b").shape()).isEmpty();
    assertThat(file.require("b").end()).isEqualTo(file.length()).isEqualTo(data + 32);
    assertThatThrownBy(() -> file.require("c"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("no tensor c");
  }

  @Test
  void acceptsPaddingAndNoTensors() throws IOException {
    assertThat(SafetensorsFile.open(file("{}    ", 0)).entries()).isEmpty();
    assertThat(SafetensorsFile.open(file(TWO_TENSORS + "   ", 32)).entries()).hasSize(3);
  }

  @Test
  void ignoresUnknownKeysOfATensor() throws IOException {
    String header =
        "{\"a\":{\"note\":{\"x\":[1,[2]]},\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    assertThat(SafetensorsFile.open(file(header, 1)).entries()).hasSize(1);
  }

  @Test
  void entriesDoNotShareTheirShape() throws IOException {
    TensorEntry entry = SafetensorsFile.open(file(TWO_TENSORS, 32)).require("a");
    entry.shape()[0] = 99;
    assertThat(entry.hasShape(2, 3)).isTrue();
    assertThat(entry).hasToString("a F32 [2, 3] at [%s, %s)".formatted(entry.begin(), entry.end()));
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 7})
  void refusesAFileWithoutALength(int bytes) throws IOException {
    assertRefused(Files.write(folder.resolve("short"), new byte[bytes]), "too short");
  }

  @Test
  void refusesAMissingFileAndAFolder() {
    assertRefused(folder.resolve("nothing"), "no such file");
    assertRefused(folder, "a folder, expected a file");
  }

  @ParameterizedTest
  @CsvSource({
    "9223372036854775807, at most",
    "-1, 18446744073709551615",
    "100000001, at most",
    "2000, only 32 follow",
    "33, only 32 follow",
  })
  void refusesAHeaderLengthThatTheFileDoesNotJustify(long claimed, String part) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(40).order(ByteOrder.LITTLE_ENDIAN).putLong(claimed);
    assertRefused(Files.write(folder.resolve("claim"), bytes.array()), part);
  }

  @Test
  void refusesEveryTruncation() throws IOException {
    byte[] whole = Files.readAllBytes(file(TWO_TENSORS, 32));
    Path cut = folder.resolve("cut");
    for (int length = 0; length < whole.length; length++) {
      Files.write(cut, java.util.Arrays.copyOf(whole, length));
      assertRefused(cut);
    }
  }

  @Test
  void readsOffsetsBeyondTwoGigabytes() throws IOException {
    long elements = 700_000_000L;
    String header =
        "{\"big\":{\"dtype\":\"F64\",\"shape\":[%s],\"data_offsets\":[0,%s]}}"
            .formatted(elements, elements * 8);
    Path file = file(header, 0);
    try (RandomAccessFile sparse = new RandomAccessFile(file.toFile(), "rw")) {
      sparse.setLength(8 + header.length() + elements * 8);
    }
    assertThat(SafetensorsFile.open(file).require("big").end())
        .isEqualTo(8 + header.length() + elements * 8);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '\'',
      value = {
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[-8,0]}} | 8 | out of range",
        "{'a':{'dtype':'F32','shape':[-2],'data_offsets':[0,8]}} | 8 | out of range",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[8,0]}} | 8 | do not lie",
        "{'a':{'dtype':'F32','shape':[3],'data_offsets':[0,12]}} | 8 | do not lie",
        "{'a':{'dtype':'F32','shape':[3],'data_offsets':[0,8]}} | 8 | needs 12 bytes",
        "{'a':{'dtype':'F16','shape':[2],'data_offsets':[0,8]}} | 8 | needs 4 bytes",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}} | 8 | apart from",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}} | 8 | end at byte 4 of 8",
        "{} | 8 | end at byte 0 of 8",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'b':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}"
            + " | 8 | tensor b: begins at 4, inside",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'b':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}"
            + " | 8 | inside",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'a':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}"
            + " | 8 | Duplicate",
        "{'a':{'dtype':'F32','dtype':'F32','shape':[2],'data_offsets':[0,8]}} | 8 | Duplicate",
        "{'a':{'dtype':'F32','shape':[4611686018427387904,4],'data_offsets':[0,8]}} | 8 | too many"
            + " elements",
        "{'a':{'dtype':'F32','shape':[9223372036854775808],'data_offsets':[0,8]}} | 8 | out of"
            + " range",
        "{'a':{'dtype':'F32','shape':[1e0],'data_offsets':[0,4]}} | 4 | array of integers",
        "{'a':{'dtype':'F32','shape':[[1]],'data_offsets':[0,4]}} | 4 | array of integers",
        "{'a':{'dtype':'F32','shape':1,'data_offsets':[0,4]}} | 4 | array of integers",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0]}} | 4 | two numbers",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4,4]}} | 4 | more than 2",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':{}}} | 4 | array of integers",
        "{'a':{'dtype':'F4','shape':[8],'data_offsets':[0,4]}} | 4 | dtype is F4",
        "{'a':{'dtype':'f32','shape':[1],'data_offsets':[0,4]}} | 4 | dtype is f32",
        "{'a':{'dtype':32,'shape':[1],'data_offsets':[0,4]}} | 4 | dtype must be a string",
        "{'a':{'shape':[1],'data_offsets':[0,4]}} | 4 | must have dtype",
        "{'a':{'dtype':'F32','data_offsets':[0,4]}} | 4 | must have dtype",
        "{'a':{'dtype':'F32','shape':[1]}} | 4 | must have dtype",
        "{'a':[1]} | 4 | must be an object",
        "{'a':null} | 4 | must be an object",
        "{'__metadata__':7} | 0 | must be an object",
        "{'__metadata__':{'a':7}} | 0 | strings to strings",
        "{'__metadata__':{'a':{}}} | 0 | strings to strings",
        "[1] | 0 | does not begin with {",
        "' {}' | 0 | does not begin with {",
        "'{} {}' | 0 | goes on behind",
        "'{} x' | 0 | not valid JSON",
        "{'a' | 0 | not valid JSON",
        "{'a':} | 0 | not valid JSON",
        "{a:1} | 0 | not valid JSON",
      })
  void refusesABrokenHeader(String header, int dataBytes, String part) throws IOException {
    assertRefused(file(header.replace('\'', '"'), dataBytes), part);
  }

  @Test
  void refusesHostileText() throws IOException {
    assertRefused(file("{\"a\":" + "[".repeat(500_000), 0));
    assertRefused(file("{\"a\":{\"x\":" + "{\"x\":".repeat(100_000), 0));
    assertRefused(file("{\"a\":{\"shape\":[" + "9".repeat(100_000) + "]}}", 0));
    assertRefused(file("{\"a\":{\"shape\":[" + "1,".repeat(100_000) + "1]}}", 0), "more than 64");
    assertRefused(file("{\"" + "n".repeat(1_000_000) + "\":1}", 0));
    assertRefused(file(new byte[] {'{', '"', (byte) 0xFF, '"', ':', '1', '}'}, 0), "UTF-8");
    assertRefused(file("{}".getBytes(StandardCharsets.UTF_16LE), 0), "UTF-8");
    assertRefused(file(new byte[0], 0), "does not begin");
  }

  @Test
  void anyDamageIsRefusedOrLeavesEveryTensorInsideTheFile() throws IOException {
    byte[] whole = Files.readAllBytes(file(TWO_TENSORS, 32));
    SplittableRandom random = new SplittableRandom(7);
    Path damaged = folder.resolve("damaged");
    for (int round = 0; round < 2000; round++) {
      byte[] bytes = whole.clone();
      for (int change = 0; change < 1 + random.nextInt(4); change++) {
        // Mostly digits at digits' places: those get past the JSON parser.
        int at = random.nextInt(bytes.length - 32);
        bytes[at] =
            Character.isDigit(bytes[at])
                ? (byte) ('0' + random.nextInt(10))
                : random.nextInt(4) > 0 ? bytes[at] : (byte) random.nextInt(256);
      }
      Files.write(damaged, bytes);
      try {
        SafetensorsFile file = SafetensorsFile.open(damaged);
        for (TensorEntry entry : file.entries().values()) {
          long elements = 1;
          for (long size : entry.shape()) {
            elements *= size;
          }
          assertThat(entry.begin()).isBetween(8L, entry.end());
          assertThat(entry.end()).isLessThanOrEqualTo(bytes.length);
          assertThat(entry.end() - entry.begin()).isEqualTo(elements * entry.type().bytes());
        }
      } catch (CheckpointException e) {
        assertThat(e).hasMessageContaining(damaged.toString());
      }
    }
  }
}
