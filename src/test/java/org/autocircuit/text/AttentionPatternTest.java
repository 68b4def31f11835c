package org.autocircuit.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.pass.PrefixCache;
import org.junit.jupiter.api.Test;

class AttentionPatternTest {

  private static final String PROMPT = "When Mary and John went to the store, John gave a drink to";

  @Test
  void rowsAreThoseOfTheHookPointAndAddUpToOne() {
    try (TextModel model = ExampleModel.open()) {
      List<AttentionPattern> patterns = model.attention(PROMPT, "A2.3", "A0.7", "A2.0");
      assertThat(patterns)
          .extracting(AttentionPattern::head)
          .containsExactly("A2.3", "A0.7", "A2.0");
      ActivationValues read =
          model.activations(PROMPT, "blocks.2.attn.hook_pattern").get("blocks.2.attn.hook_pattern");
      int seq = model.tokens(PROMPT).length;
      for (AttentionPattern pattern : patterns) {
        assertThat(pattern.tokens()).hasSize(seq).contains("Mary", "store");
        for (int query = 0; query < seq; query++) {
          float sum = 0;
          for (int key = 0; key < seq; key++) {
            float weight = pattern.get(query, key);
            sum += weight;
            assertThat(weight).isEqualTo(pattern.toArray()[query][key]);
            if (key > query) {
              assertThat(weight).isZero();
            }
            if (!pattern.head().equals("A0.7")) {
              int head = pattern.head().equals("A2.3") ? 3 : 0;
              assertThat(weight).isEqualTo(read.get(0, head, query, key));
            }
          }
          assertThat(sum).isEqualTo(1, within(1e-5f));
          assertThat(pattern.ofPrefix(query)).isZero();
        }
      }
      assertThat(patterns.get(0).toArray()[4]).isNotEqualTo(patterns.get(2).toArray()[4]);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.attention(PROMPT, "A2.0", "A2.9"))
          .withMessageMatching("unknown head 'A2.9'; did you mean 'A2.\\d'\\?");
    }
  }

  @Test
  void aResidualGraphHasTheSameHeads() {
    try (TextModel model = ExampleModel.open();
        TextModel residual =
            model.withOptions(PatchableModelOptions.defaults().withFactorized(false))) {
      assertThat(residual.attention(PROMPT, "A1.2").get(0).toArray())
          .isDeepEqualTo(model.attention(PROMPT, "A1.2").get(0).toArray());
    }
  }

  @Test
  void whatHeadsTakeOfAPrefixIsApart() {
    try (TextModel model = ExampleModel.open();
        PrefixCache prefix = model.model().prefixOf(new long[][] {{3, 4}});
        TextModel other = ExampleModel.open();
        TextModel after = TextModel.of(model.model().withPrefix(prefix), other.tokenizer())) {
      AttentionPattern pattern = after.attention("Mary went", "A1.2").get(0);
      int seq = pattern.tokens().size();
      for (int query = 0; query < seq; query++) {
        float sum = pattern.ofPrefix(query);
        assertThat(sum).isPositive();
        for (int key = 0; key < seq; key++) {
          sum += pattern.get(query, key);
        }
        assertThat(sum).isEqualTo(1, within(1e-5f));
      }
      assertThat(pattern.toArray()[0]).hasSize(seq);
    }
  }
}
