package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.autocircuit.exception.CheckpointException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsWriterTest {
  @TempDir Path folder;

  private static ByteBuffer bytes(int... values) {
    byte[] array = new byte[values.length];
    for (int i = 0; i < array.length; i++) {
      array[i] = (byte) values[i];
    }
    return ByteBuffer.wrap(array);
  }

  private byte[] content(SafetensorsFile file, String name) throws IOException {
    TensorEntry entry = file.require(name);
    return Arrays.copyOfRange(
        Files.readAllBytes(file.path()), (int) entry.begin(), (int) entry.end());
  }

  private long filesInFolder() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.count();
    }
  }

  @Test
  void whatIsWrittenIsReadBack() throws IOException {
    Path path = folder.resolve("out.safetensors");
    ByteBuffer floats = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    floats.putFloat(1.5f).putFloat(-2f).flip();
    new SafetensorsWriter()
        .metadata("format", "pt")
        .add("half", SafetensorsType.BF16, new long[] {3}, bytes(1, 2, 3, 4, 5, 6))
        .add("float", SafetensorsType.F32, new long[] {1, 2}, floats)
        .add("scalar", SafetensorsType.I64, new long[0], bytes(0, 0, 0, 0, 0, 0, 0, 9))
        .add("empty", SafetensorsType.F64, new long[] {0, 7}, bytes())
        .add("\"odd\" näme", SafetensorsType.U8, new long[] {1}, bytes(42))
        .write(path);

    SafetensorsFile file = SafetensorsFile.open(path);
    assertThat(file.metadata()).isEqualTo(Map.of("format", "pt"));
    assertThat(file.entries().keySet())
        .containsExactlyInAnyOrder("half", "float", "scalar", "empty", "\"odd\" näme");
    assertThat(content(file, "half")).containsExactly(1, 2, 3, 4, 5, 6);
    assertThat(content(file, "float")).isEqualTo(floats.array());
    assertThat(content(file, "scalar")).containsExactly(0, 0, 0, 0, 0, 0, 0, 9);
    assertThat(content(file, "empty")).isEmpty();
    assertThat(content(file, "\"odd\" näme")).containsExactly(42);
    assertThat(floats.position()).isZero();
    assertThat(file.require("float").hasShape(1, 2)).isTrue();
    for (TensorEntry entry : file.entries().values()) {
      assertThat(entry.begin() % entry.type().bytes()).as(entry.toString()).isZero();
    }
    assertThat(filesInFolder()).isEqualTo(1);
  }

  @Test
  void randomFilesRoundTrip() throws IOException {
    SplittableRandom random = new SplittableRandom(3);
    for (int round = 0; round < 50; round++) {
      SafetensorsWriter writer = new SafetensorsWriter();
      Map<String, ByteBuffer> expected = new java.util.HashMap<>();
      for (int i = 0; i < random.nextInt(6); i++) {
        List<SafetensorsType> types = List.copyOf(EnumSet.allOf(SafetensorsType.class));
        SafetensorsType type = types.get(random.nextInt(types.size()));
        long[] shape = random.longs(random.nextInt(4), 0, 5).toArray();
        long size = Arrays.stream(shape).reduce(type.bytes(), (a, b) -> a * b);
        byte[] data = new byte[(int) size];
        random.nextBytes(data);
        expected.put("t" + i, ByteBuffer.wrap(data));
        writer.add("t" + i, type, shape, ByteBuffer.wrap(data));
      }
      Path path = folder.resolve("random");
      writer.write(path);
      SafetensorsFile file = SafetensorsFile.open(path);
      assertThat(file.entries().keySet()).isEqualTo(expected.keySet());
      for (String name : expected.keySet()) {
        assertThat(content(file, name)).isEqualTo(expected.get(name).array());
      }
    }
  }

  @Test
  void aFailureLeavesTheOldFile() throws IOException {
    Path path = Files.writeString(folder.resolve("model.safetensors"), "old");
    SafetensorsWriter tooFew =
        new SafetensorsWriter()
            .add("a", SafetensorsType.F32, new long[] {2}, (WritableByteChannel c) -> {});
    assertThatThrownBy(() -> tooFew.write(path))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContainingAll(path.toString(), "tensor a", "8 bytes", "0 were written");
    SafetensorsWriter failing =
        new SafetensorsWriter()
            .add(
                "a",
                SafetensorsType.F32,
                new long[] {2},
                (WritableByteChannel c) -> {
                  throw new IOException("disk full");
                });
    assertThatThrownBy(() -> failing.write(path))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContainingAll(path.toString(), "disk full")
        .hasCauseInstanceOf(IOException.class);
    assertThat(path).hasContent("old");
    assertThat(filesInFolder()).isEqualTo(1);
  }

  @Test
  void refusesWhatCannotBeAFile() {
    SafetensorsWriter writer = new SafetensorsWriter();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> writer.add("a", SafetensorsType.F32, new long[] {2}, bytes(1)))
        .withMessageContaining("has 8 bytes, the buffer has 1");
    writer.add("a", SafetensorsType.U8, new long[] {1}, bytes(1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> writer.add("a", SafetensorsType.U8, new long[] {1}, bytes(1)))
        .withMessageContaining("taken");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> writer.add("__metadata__", SafetensorsType.U8, new long[0], bytes(1)));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> writer.add("n", SafetensorsType.U8, new long[] {-1}, bytes()))
        .withMessageContaining("negative");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> writer.add("o", SafetensorsType.F64, new long[] {1L << 62, 2}, bytes()))
        .withMessageContaining("too many");
    assertThatThrownBy(() -> writer.write(folder.resolve("no/such/folder")))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("cannot be written");
  }
}
