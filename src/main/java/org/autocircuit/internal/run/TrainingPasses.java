package org.autocircuit.internal.run;

import java.util.List;
import java.util.OptionalInt;
import java.util.stream.DoubleStream;
import org.autocircuit.exception.NativeException;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMaskTraining;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.Patch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.jfr.GradientEvent;
import org.autocircuit.internal.jfr.WorkspaceEvent;
import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.internal.run.PassArguments.Size;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Passes forward and backward that end in a step of an optimiser of masks, in one native call. */
public final class TrainingPasses {

  /**
   * Says what a share costs: {@code linear * (share - target) + quadratic * (share - target)^2}.
   *
   * @param linear its first multiplier
   * @param quadratic its second multiplier
   * @param target where it costs nothing
   */
  public record Constraint(double linear, double quadratic, double target) {}

  /**
   * Says what a step goes down: the divergence from the full model, and what edges weigh.
   *
   * @param target how outputs are compared
   * @param fullModel the full model's outputs as that needs them
   * @param count noise of the masks that are counted
   * @param circuitIsPatched whether patched edges are the circuit, or all others
   * @param circuitSize number of edges that weigh nothing
   * @param edgeWeight of each of the others
   * @param sparsities of the share of edges that is not in the circuit, and of nodes; may be empty
   */
  public record Goal(
      Enum<?> target,
      Tensor fullModel,
      Noise.Seeded count,
      boolean circuitIsPatched,
      OptionalInt circuitSize,
      double edgeWeight,
      List<Constraint> sparsities) {}

  private final String name;
  private final OutputSlice slice;
  private final PassArguments arguments;
  private final PassHandle handle;

  TrainingPasses(String name, OutputSlice slice, PassArguments arguments, PassHandle handle) {
    this.name = name;
    this.slice = slice;
    this.arguments = arguments;
    this.handle = handle;
  }

  /**
   * Makes a step.
   *
   * @param context its masks are those that are trained
   * @return the five numbers that {@code bridge.h} describes
   */
  public double[] step(
      NativeMaskTraining training, ModelInput given, PatchContext context, Goal goal) {
    GradientEvent event = GradientEvent.begun();
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      PassHandle.hold(scope, context::use);
      scope.hold(training.use());
      ModelInput input = handle.behindPrefix(scope, given);
      Size size = arguments.input(input);
      Patch patch = arguments.patch(scope, context, size, true);
      double[] losses;
      try {
        losses =
            TensorArrays.doubles(
                NativeLibrary.trainMasks(
                    training.address(),
                    handle.address(),
                    PassHandle.tensors(input),
                    NativeCodes.of(slice),
                    patch.patchSrcOuts(),
                    patch.maskFn(),
                    patch.dropout(),
                    patch.seed(),
                    patch.step(),
                    goal.count.seed(),
                    goal.count.step(),
                    NativeCodes.of(goal.target),
                    goal.fullModel,
                    goal.circuitIsPatched,
                    goal.circuitSize.orElse(-1),
                    goal.edgeWeight,
                    constraints(goal.sparsities)));
      } catch (NativeException e) {
        throw handle.explained(e, List.of(input));
      }
      WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
      event.end(name, size.batch(), size.seq());
      return losses;
    }
  }

  private static Tensor constraints(List<Constraint> sparsities) {
    if (sparsities.isEmpty()) {
      return new Tensor();
    }
    double[] values =
        sparsities.stream()
            .flatMapToDouble(c -> DoubleStream.of(c.linear, c.quadratic, c.target))
            .toArray();
    return TensorArrays.of(values, ScalarType.Double, "cpu", sparsities.size(), 3);
  }
}
