package org.autocircuit.internal.jni;

import java.io.PrintStream;
import java.nio.charset.Charset;
import org.bytedeco.openblas.presets.openblas_nolapack;

/**
 * Lets JavaCPP check the version of OpenBLAS without its warning: the library is built and tested
 * with an OpenBLAS of the JavaCPP release before, since the one that the presets ask for was never
 * published. Another OpenBLAS than that, and every other warning, is still reported.
 */
final class OpenBlasVersion {

  /** The end of the one line that is not printed; its version is that of the pom. */
  private static final String EXPECTED = " and org.bytedeco:openblas:0.3.31-1.5.13 do not match.";

  private OpenBlasVersion() {}

  /** Initialises the class that checks, which happens once; JavaCPP has no switch for it. */
  static synchronized void check() {
    PrintStream before = System.err;
    PrintStream filtered = new Filtered(before);
    System.setErr(filtered);
    try {
      openblas_nolapack.blas_get_vendor();
    } finally {
      // Whoever set another stream meanwhile keeps it.
      if (System.err == filtered) {
        System.setErr(before);
      }
    }
  }

  /** Passes everything on but that line, also what other threads print meanwhile. */
  private static final class Filtered extends PrintStream {

    private final PrintStream target;

    Filtered(PrintStream target) {
      super(target, true, Charset.defaultCharset());
      this.target = target;
    }

    @Override
    public void println(String line) {
      if (line == null || !line.endsWith(EXPECTED)) {
        target.println(line);
      }
    }
  }
}
