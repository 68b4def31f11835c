package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.List;

/** Maps of invented numbers. */
public final class ExampleMaps {

  private ExampleMaps() {}

  /** A map whose shares go from -0.2 to 1.2; the difference of clean and corrupt is 8. */
  public static PatchMap of(
      ActivationSite site,
      PatchDirection direction,
      int blocks,
      int heads,
      int positions,
      double error) {
    List<String> rows = new ArrayList<>();
    int perBlock = site == ActivationSite.HEADS ? heads : 1;
    for (int block = 0; block < blocks; block++) {
      for (int i = 0; i < perBlock; i++) {
        rows.add(site.name(block, i));
      }
    }
    int columns = Math.max(positions, 1);
    double[][] shares = new double[rows.size()][columns];
    double[][] errors = new double[rows.size()][columns];
    for (int row = 0; row < shares.length; row++) {
      for (int column = 0; column < columns; column++) {
        shares[row][column] = (row * 7 + column * 5) % 15 / 10.0 - 0.2;
        errors[row][column] = 0.05;
      }
    }
    return new PatchMap(
        "logit difference", site, direction, positions > 0, 30, 4, -4, error, rows, shares, errors);
  }
}
