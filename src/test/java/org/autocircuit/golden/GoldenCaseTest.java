package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.TextNode;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class GoldenCaseTest {

  static List<GoldenCase> all() {
    return GoldenCase.all();
  }

  @ParameterizedTest
  @MethodSource("all")
  void promptsHaveTheShapesThatTheCaseStates(GoldenCase golden) {
    if (!golden.hasTensor("data/clean")) {
      assertThat(golden.unsupported()).isPresent();
      return;
    }
    GoldenTensor clean = golden.tensor("data/clean");
    long examples = 2L * golden.batch();
    if (golden.kind().equals("micro")) {
      assertThat(clean.isFloating()).isTrue();
      assertThat(clean.shape()).containsExactly(examples, golden.seq(), 2);
    } else {
      assertThat(clean.dtype()).isEqualTo("I64");
      assertThat(clean.shape()[0]).isEqualTo(examples);
      long vocabulary = golden.json().get("cfg").get("d_vocab").asLong();
      assertThat(Arrays.stream(clean.longs())).allMatch(token -> token >= 0 && token < vocabulary);
    }
    String weights = golden.kind().equals("micro") ? "blocks.0.weights" : "embed.W_E";
    assertThat(golden.tensor("weights/" + weights).dtype())
        .isEqualTo(golden.isDouble() ? "F64" : "F32");
    assertThat(golden.byModule("weights")).containsKey(weights);
    if (!golden.json().has("patchable_model_raises")) {
      assertThat(golden.ops()).isNotEmpty().allSatisfy(op -> assertThat(op.name()).isNotEmpty());
    }
  }

  @Test
  void numbersThatJsonLacks() {
    assertThat(GoldenCase.number(new TextNode("-inf"))).isEqualTo(Double.NEGATIVE_INFINITY);
    assertThat(GoldenCase.number(new TextNode("nan"))).isNaN();
    assertThatThrownBy(() -> GoldenCase.number(new TextNode("many")))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
