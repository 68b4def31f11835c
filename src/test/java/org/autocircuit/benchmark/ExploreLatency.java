package org.autocircuit.benchmark;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.explore.ExploreServer;
import org.autocircuit.explore.Scored;
import org.autocircuit.generate.Generator;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.prune.ScoreSign;
import org.autocircuit.report.Browser;
import org.autocircuit.text.ExampleFolder;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * Prints how long it takes from a click on an edge in a browser to the picture of the tokens that
 * the patched model says next, and from a move of the slider.
 *
 * <pre>
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.ExploreLatency
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.ExploreLatency \
 *     -Dbenchmark.arguments="gpt2-small"
 * </pre>
 *
 * With {@code gpt2-small} the model has that size and random weights. The time ends in the frame
 * after the one in which the table was changed.
 */
public final class ExploreLatency {

  private static final int ROUNDS = 100;

  /** Repeats a deed, and gives the milliseconds of each until its picture is there. */
  private static final String TIMES =
      """
      const [rounds, deed, done] = arguments;
      const next = document.getElementById('next');
      const times = [];
      const deeds = {
        click: i => {
          const edges = document.querySelectorAll('#graph .edge .hit');
          edges[i % edges.length].dispatchEvent(new MouseEvent('click', {bubbles: true}));
        },
        slider: i => {
          const slider = document.getElementById('size');
          slider.dispatchEvent(new KeyboardEvent('keydown',
            {key: i % 20 < 10 ? 'ArrowRight' : 'ArrowLeft', bubbles: true}));
        },
      };
      const one = i => new Promise(resolve => {
        const observer = new MutationObserver(() => {
          observer.disconnect();
          requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () => resolve(performance.now() - begin);
            channel.port2.postMessage(0);
          });
        });
        observer.observe(next, {attributes: true, attributeFilter: ['data-run']});
        const begin = performance.now();
        deeds[deed](i);
      });
      (async () => {
        for (let i = 0; i < rounds + 10; i++) {
          const time = await one(i);
          if (i >= 10) times.push(time);
          await new Promise(resolve => setTimeout(resolve, 30));
        }
        done(times);
      })();
      """;

  private ExploreLatency() {}

  /** Measures, and prints medians and the slowest tenth. */
  public static void main(String[] arguments) throws IOException {
    boolean large = List.of(arguments).contains(BenchmarkSize.GPT2_SMALL.label());
    Path downloads = Files.createTempDirectory("explore");
    try (TextModel model = large ? large() : ExampleModel.open();
        Generator generator = model.generator().build();
        ExploreServer server =
            ExploreServer.builder(
                    model, generator, ExampleModel.prompts(), "first", scored(model, large))
                .start();
        Browser browser = Browser.open(downloads)) {
      System.setProperty("sun.net.httpserver.nodelay", "true");
      browser.show(server.uri() + "#size=100", 1600, 1000, false);
      for (String base : List.of("model", "circuit")) {
        browser.show(server.uri() + "#size=100&base=" + base, 1600, 1000, false);
        print("click, " + base, browser.times(TIMES, ROUNDS, "click"));
      }
      print("slider", browser.times(TIMES, ROUNDS, "slider"));
    } finally {
      Files.delete(downloads);
    }
  }

  private static void print(String what, List<Double> times) {
    List<Double> sorted = times.stream().sorted().toList();
    System.out.println(
        String.format(
            Locale.ROOT,
            "%-15s median %.1f ms, 9 of 10 within %.1f ms, of %d",
            what,
            sorted.get(sorted.size() / 2),
            sorted.get(sorted.size() * 9 / 10),
            sorted.size()));
  }

  private static Scored scored(TextModel model, boolean large) {
    PruneScores scores =
        large ? RandomPruneScores.of(model.graph(), 1) : model.discover(ExampleModel.prompts());
    return new Scored("first", "logits", ScoreSign.SIGNED, "", scores);
  }

  private static TextModel large() {
    try (ExampleFolder folder = ExampleFolder.unpack()) {
      Tokenizer tokenizer = Tokenizer.load(folder.path());
      return TextModel.of(
          PatchableModel.of(
              RandomWeights.model(BenchmarkSize.GPT2_SMALL.config(), 1),
              PatchableModelOptions.defaults()),
          tokenizer);
    }
  }
}
