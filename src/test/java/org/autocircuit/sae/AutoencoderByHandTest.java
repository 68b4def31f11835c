package org.autocircuit.sae;

import static org.assertj.core.api.Assertions.assertThat;
import static org.autocircuit.Close.assertClose;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.graph.Node;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/**
 * A block small enough to work out by hand. Attention adds nothing. Tokens 0 and 1 are embedded as
 * (2, 2) and (2, -2), which the MLP reads as (1, 1) and (1, -1); it puts out (3, 2) and (3, 0). The
 * autoencoder
 *
 * <pre>{@code
 * latents = relu([[1, 0], [0, 1], [1, -1]] (x - [1, 0]) + [0, -1, 0])
 * reconstruction = [[1, 0, 0.5], [0, 1, 0]] latents + [1, 0]
 * }</pre>
 *
 * makes latents (2, 1, 0) and (2, 0, 2) of them, reconstructions (3, 1) and (4, 0), and errors (0,
 * 1) and (-1, 0).
 */
@ExtendWith(NativeScope.class)
class AutoencoderByHandTest {

  private static final String STREAM = "blocks.0.hook_resid_post";

  private static final TransformerConfig CONFIG =
      TransformerConfig.builder()
          .nLayers(1)
          .dModel(2)
          .nHeads(1)
          .dMlp(2)
          .dVocab(2)
          .nCtx(4)
          .norm(Norm.rmsNorm(1e-15).withoutWeights())
          .activation(Activation.RELU)
          .biases(Biases.NONE)
          .build();

  private static PatchableModel model(boolean errorNodes) {
    Map<String, Tensor> weights = new LinkedHashMap<>();
    weights.put("embed.W_E", tensor(new double[] {2, 2, 2, -2}, 2, 2));
    weights.put("pos_embed.W_pos", tensor(new double[8], 4, 2));
    weights.put("blocks.0.attn.W_QKV", tensor(new double[12], 2, 6));
    weights.put("blocks.0.attn.W_O", tensor(new double[4], 2, 2));
    weights.put("blocks.0.mlp.W_in", tensor(new double[] {1, 0, 0, 1}, 2, 2));
    weights.put("blocks.0.mlp.W_out", tensor(new double[] {3, 0, 0, 2}, 2, 2));
    weights.put("unembed.W_U", tensor(new double[] {1, 0, 0, 1}, 2, 2));
    Map<String, Tensor> autoencoder = new LinkedHashMap<>();
    String prefix = "blocks.0.hook_mlp_out.";
    autoencoder.put(prefix + "encode_weight", tensor(new double[] {1, 0, 0, 1, 1, -1}, 3, 2));
    autoencoder.put(prefix + "latent_bias", tensor(new double[] {0, -1, 0}, 3));
    autoencoder.put(prefix + "decode_weight", tensor(new double[] {1, 0, 0.5, 0, 1, 0}, 2, 3));
    autoencoder.put(prefix + "bias", tensor(new double[] {1, 0}, 2));
    try (Model plain = Model.of(CONFIG, weights);
        Model sparse = plain.withAutoencoders(autoencoder, errorNodes)) {
      return PatchableModel.of(sparse, PatchableModelOptions.defaults());
    }
  }

  private static Tensor tensor(double[] values, long... shape) {
    return TensorArrays.of(values, ScalarType.Double, TestDevice.NAME, shape);
  }

  private static Tensor token(long token) {
    return TensorArrays.of(new long[] {token}, TestDevice.NAME, 1, 1);
  }

  private static void assertStream(Tensor stream, double... expected) {
    assertClose("stream", TensorArrays.doubles(stream), expected, 1e-12);
  }

  @Test
  void theReconstructionIsWhatTheStreamGains() {
    try (PatchableModel model = model(false)) {
      assertThat(model.graph().srcs())
          .extracting(Node::name)
          .containsExactly(
              "Resid Start", "A0.0", "MLP 0 Latent 0", "MLP 0 Latent 1", "MLP 0 Latent 2");
      String latents = "blocks.0.hook_mlp_out.latents";
      String outs = "blocks.0.hook_mlp_out.latent_outs";
      String before = "blocks.0.hook_mlp_out.wrapped_hook";
      String error = "blocks.0.hook_mlp_out.error";
      Tensor tokens = TensorArrays.of(new long[] {0, 1}, TestDevice.NAME, 2, 1);
      ForwardResult result =
          model.forward(ForwardRequest.of(tokens).withReads(latents, outs, before, error, STREAM));
      assertStream(result.read(before), 3, 2, 3, 0);
      assertStream(result.read(latents), 2, 1, 0, 2, 0, 2);
      assertStream(result.read(outs), 2, 0, 0, 1, 0, 0, 2, 0, 0, 0, 1, 0);
      assertStream(result.read(error), 0, 1, -1, 0);
      assertStream(result.read(STREAM), 2 + 3, 2 + 1, 2 + 4, -2);
    }
  }

  @Test
  void withErrorsTheStreamIsTheOldOneAndItsSourcesSumToIt() {
    try (PatchableModel model = model(true)) {
      assertThat(model.graph().srcs()).extracting(Node::name).endsWith("MLP 0 Error");
      ForwardResult result =
          model.forward(ForwardRequest.of(token(0)).withSourceOutputs().withReads(STREAM));
      assertStream(result.read(STREAM), 2 + 3, 2 + 2);
      Tensor sources = result.sourceOutputs().orElseThrow();
      assertStream(sources, 2, 2, 0, 0, 2, 0, 0, 1, 0, 0, 0, 1);
      // The rest is the autoencoder's bias, (1, 0).
      assertStream(sources.sum(0), 4, 4);
    }
  }

  @Test
  void edgesOfLatentsAndErrorsPatchAlone() {
    try (PatchableModel model = model(true);
        SourceActivations other = model.sourceAblations(token(1), BatchAblation.RESAMPLE)) {
      patches(model, other, "MLP 0 Latent 0->Resid End", 0, 0);
      patches(model, other, "MLP 0 Latent 1->Resid End", 0, -1);
      patches(model, other, "MLP 0 Latent 2->Resid End", 1, 0);
      patches(model, other, "MLP 0 Error->Resid End", -1, -1);
    }
  }

  private static void patches(
      PatchableModel model, SourceActivations other, String edge, double first, double second) {
    PatchContext context = PatchContext.of(other, Masks.ofNames(model.graph(), List.of(edge)));
    ForwardRequest request = ForwardRequest.of(token(0)).withContext(context).withReads(STREAM);
    assertStream(model.forward(request).read(STREAM), 5 + first, 4 + second);
  }
}
