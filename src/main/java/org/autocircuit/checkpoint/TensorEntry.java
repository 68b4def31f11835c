package org.autocircuit.checkpoint;

import java.util.Arrays;
import java.util.Objects;

/**
 * Says where one tensor lies in a file: row-major, little-endian elements in the bytes from {@code
 * begin} (inclusive) to {@code end} (exclusive), counted from the start of the file. Entries made
 * by {@link SafetensorsFile} were checked against the file's length, and {@code end - begin} is the
 * number of elements times the size of one.
 *
 * @param name the tensor's name in the file
 * @param type type of the elements
 * @param shape sizes of the dimensions, empty for a scalar; copied in and out
 * @param begin offset of the first byte in the file
 * @param end offset behind the last byte in the file
 */
@SuppressWarnings("ArrayRecordComponent") // copied in and out, compared by content
public record TensorEntry(String name, SafetensorsType type, long[] shape, long begin, long end) {

  /** Copies the shape. */
  public TensorEntry {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(type, "type");
    shape = shape.clone();
  }

  @Override
  public long[] shape() {
    return shape.clone();
  }

  /** Returns whether the tensor has exactly this shape. */
  public boolean hasShape(long... expected) {
    return Arrays.equals(shape, expected);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof TensorEntry that
        && name.equals(that.name)
        && type == that.type
        && Arrays.equals(shape, that.shape)
        && begin == that.begin
        && end == that.end;
  }

  @Override
  public int hashCode() {
    return Objects.hash(name, type, Arrays.hashCode(shape), begin, end);
  }

  @Override
  public String toString() {
    return "%s %s %s at [%s, %s)".formatted(name, type, Arrays.toString(shape), begin, end);
  }
}
