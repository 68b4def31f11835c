package org.autocircuit.data;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.util.List;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;

class SeededShuffleTest {

  @Test
  void givesPythonsOrder() throws IOException {
    JsonNode table = new ObjectMapper().readTree(getClass().getResourceAsStream("shuffle.json"));
    assertThat(table).hasSizeGreaterThan(5);
    for (JsonNode row : table) {
      int[] expected =
          StreamSupport.stream(row.get("order").spliterator(), false)
              .mapToInt(JsonNode::intValue)
              .toArray();
      assertThat(SeededShuffle.order(row.get("n").intValue(), row.get("seed").longValue()))
          .as("n %s, seed %s", row.get("n"), row.get("seed"))
          .isEqualTo(expected);
    }
  }

  @Test
  void takesLongSeedsTheSignAside() {
    // python3 -c "import random; random.seed(2**40 + 3); x = list(range(6)); random.shuffle(x);
    // print(x)"
    assertThat(SeededShuffle.order(6, (1L << 40) + 3)).containsExactly(3, 5, 2, 4, 0, 1);
    assertThat(SeededShuffle.order(9, -5)).isEqualTo(SeededShuffle.order(9, 5));
  }

  @Test
  void movesEveryElementOnce() {
    assertThat(SeededShuffle.order(0, 1)).isEmpty();
    assertThat(SeededShuffle.shuffled(List.of("a"), 1)).containsExactly("a");
    assertThat(SeededShuffle.order(1000, 3)).doesNotHaveDuplicates().hasSize(1000);
  }
}
