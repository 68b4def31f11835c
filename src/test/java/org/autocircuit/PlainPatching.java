package org.autocircuit;

import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcModule;
import org.bytedeco.pytorch.Tensor;

/**
 * Edge patching as it is defined, one source at a time: a destination's input gains mask value
 * times (patched minus current output) of each of its sources.
 */
public final class PlainPatching implements PlainGpt2.Visitor {

  private final ModelGraph graph;
  private final Tensor patch;
  private final Tensor values;
  private final Tensor[] current;

  /**
   * Patches one pass.
   *
   * @param patch {@code [n_srcs, batch, seq, d_model]}
   * @param values {@code [n_masks]} or {@code [batch, n_masks]}, after the mask function
   */
  public PlainPatching(ModelGraph graph, Tensor patch, Tensor values) {
    this.graph = graph;
    this.patch = patch;
    this.values = values;
    this.current = new Tensor[graph.srcs().size()];
  }

  /** Output of a source in this pass {@code [batch, seq, d_model]}. */
  public Tensor output(int source) {
    return current[source];
  }

  @Override
  public Tensor visit(String hook, Tensor value) {
    Tensor x = value;
    for (DestModule module : graph.destModules()) {
      if (module.moduleName().equals(hook)) {
        x = mixed(module, value);
      }
    }
    for (SrcModule module : graph.srcModules()) {
      if (module.moduleName().equals(hook)) {
        for (int src = module.srcStart(); src < module.srcStop(); src++) {
          current[src] = x.dim() == 3 ? x : x.select(2, src - module.srcStart());
        }
      }
    }
    return x;
  }

  private Tensor mixed(DestModule module, Tensor value) {
    int n = module.nSrcs();
    // [batch or 1, seq or 1, rows or 1, n]
    Tensor masks =
        values
            .narrow(-1, module.offset(), module.size())
            .reshape(
                values.dim() == 2 ? values.size(0) : 1,
                Math.max(1, module.seqLen()),
                Math.max(1, module.rows()),
                n);
    Tensor x = value.dim() == 3 ? value.unsqueeze(2) : value;
    for (int i = 0; i < n; i++) {
      int src = module.inStart() + i;
      Tensor difference = patch.select(0, src).sub(current[src]).unsqueeze(2);
      x = x.add(masks.select(3, i).unsqueeze(3).mul(difference));
    }
    return value.dim() == 3 ? x.squeeze(2) : x;
  }
}
