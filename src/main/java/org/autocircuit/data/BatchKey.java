package org.autocircuit.data;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** A short digest of token arrays, the same in every process. */
final class BatchKey {
  private static final int BYTES = 8;

  private BatchKey() {}

  static String of(long[][]... arrays) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      for (long[][] rows : arrays) {
        update(digest, rows.length);
        for (long[] row : rows) {
          update(digest, row.length);
          for (long value : row) {
            update(digest, value);
          }
        }
      }
      return HexFormat.of().formatHex(digest.digest(), 0, BYTES);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }

  private static void update(MessageDigest digest, long value) {
    digest.update(ByteBuffer.allocate(Long.BYTES).putLong(value).flip());
  }
}
