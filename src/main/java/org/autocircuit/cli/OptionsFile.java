package org.autocircuit.cli;

import java.io.IOException;
import java.io.Reader;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.graph.NearestName;
import picocli.CommandLine;
import picocli.CommandLine.Model.ArgGroupSpec;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;

/**
 * Options from a properties file, put into the command line as if they had been typed: {@code
 * batch-size=8} for every command that has the option, {@code discover.method=exact} for one of
 * them. What is typed wins, with all that it excludes.
 */
final class OptionsFile {

  /** The option that names the file. */
  static final String NAME = "--options";

  /** Options that a file cannot set. */
  private static final Set<String> TYPED_ONLY = Set.of("options", "help", "version");

  /** One of several values of an option that can be repeated. */
  private static final Pattern NUMBERED = Pattern.compile("(.+)\\.(\\d+)");

  private final CommandLine commands;
  private final Path file;
  private final Map<String, String> properties = new TreeMap<>();

  private OptionsFile(CommandLine commands, Path file) {
    this.commands = commands;
    this.file = file;
    Properties read =
        new Properties() {
          @Override
          public synchronized Object put(Object key, Object value) {
            if (properties.put((String) key, (String) value) != null) {
              throw refused("sets '%s' twice".formatted(key));
            }
            return null;
          }
        };
    try (Reader reader = Files.newBufferedReader(file)) {
      read.load(reader);
    } catch (NoSuchFileException e) {
      throw refused("no such file");
    } catch (CharacterCodingException e) {
      throw refused("expected text in UTF-8");
    } catch (IOException | IllegalArgumentException e) {
      throw refused("cannot be read: " + e.getMessage());
    }
  }

  /**
   * Replaces the option by those of its file.
   *
   * @param probe a command line that is not used for anything else
   * @throws ParameterException if the file cannot be read, or says what no command knows
   */
  static String[] expand(CommandLine probe, String... arguments) {
    List<String> words = new ArrayList<>(List.of(arguments));
    int end = words.contains("--") ? words.indexOf("--") : words.size();
    int at = -1;
    int found = 0;
    for (int i = 0; i < end; i++) {
      if (words.get(i).equals(NAME) || words.get(i).startsWith(NAME + "=")) {
        at = i;
        found++;
      }
    }
    if (found != 1 || (words.get(at).equals(NAME) && at + 1 == words.size())) {
      return arguments; // nothing to do, or what the parser complains about
    }
    String name = words.remove(at);
    Path file = Path.of(name.equals(NAME) ? words.remove(at) : name.substring(NAME.length() + 1));
    for (CommandLine each : probe.getSubcommands().values()) {
      each.getCommandSpec().parser().collectErrors(true);
    }
    probe.getCommandSpec().parser().collectErrors(true);
    ParseResult typed = probe.parseArgs(words.toArray(String[]::new)).subcommand();
    OptionsFile options = new OptionsFile(probe, file);
    options.requireKnown();
    if (typed != null) {
      words.addAll(words.indexOf(typed.commandSpec().name()) + 1, options.words(typed));
    }
    return words.toArray(String[]::new);
  }

  /** Refuses properties that no command has an option for. */
  private void requireKnown() {
    Set<String> known = new TreeSet<>();
    commands
        .getSubcommands()
        .forEach(
            (command, line) ->
                options(line.getCommandSpec())
                    .forEach(
                        (name, option) -> {
                          known.add(name);
                          known.add(command + "." + name);
                        }));
    for (String key : properties.keySet()) {
      if (!known.contains(key) && !known.contains(unnumbered(key))) {
        throw refused(
            "'%s' is no option of any command; did you mean '%s'?"
                .formatted(key, NearestName.of(key, known)));
      }
    }
  }

  /** The options of a command that were not typed, as people type them. */
  private List<String> words(ParseResult typed) {
    CommandSpec command = typed.commandSpec();
    Set<OptionSpec> given = new HashSet<>(typed.matchedOptions());
    for (ArgGroupSpec group : command.argGroups()) {
      if (group.exclusive() && group.args().stream().anyMatch(given::contains)) {
        group.args().forEach(argument -> given.add((OptionSpec) argument));
      }
    }
    List<String> words = new ArrayList<>();
    options(command)
        .forEach(
            (name, option) -> {
              if (!given.contains(option)) {
                values(command.name(), name, option)
                    .forEach(value -> words.addAll(words(option, value)));
              }
            });
    return words;
  }

  /** The values of an option: those of the command itself, or those of all commands. */
  private List<String> values(String command, String name, OptionSpec option) {
    for (String key : List.of(command + "." + name, name)) {
      List<String> values = new ArrayList<>();
      if (properties.containsKey(key)) {
        values.add(properties.get(key));
      }
      Map<Integer, String> numbered = new TreeMap<>();
      properties.forEach(
          (property, value) -> {
            Matcher matcher = NUMBERED.matcher(property);
            if (matcher.matches() && matcher.group(1).equals(key)) {
              numbered.put(Integer.valueOf(matcher.group(2)), value);
            }
          });
      values.addAll(numbered.values());
      if (values.size() > 1 && !option.isMultiValue()) {
        throw refused("'%s' takes one value".formatted(key));
      }
      if (!values.isEmpty()) {
        return values;
      }
    }
    return List.of();
  }

  private List<String> words(OptionSpec option, String value) {
    String name = option.longestName();
    if (option.arity().max() > 0) {
      return List.of(name + "=" + value);
    }
    return switch (value.strip()) {
      case "true" -> List.of(name);
      case "false" -> List.of();
      default ->
          throw refused("%s: expected true or false, got '%s'".formatted(name.substring(2), value));
    };
  }

  private static Map<String, OptionSpec> options(CommandSpec command) {
    Map<String, OptionSpec> options = new TreeMap<>();
    for (OptionSpec option : command.options()) {
      Arrays.stream(option.names())
          .filter(name -> name.startsWith("--") && !TYPED_ONLY.contains(name.substring(2)))
          .forEach(name -> options.put(name.substring(2), option));
    }
    return options;
  }

  private static String unnumbered(String key) {
    Matcher numbered = NUMBERED.matcher(key);
    return numbered.matches() ? numbered.group(1) : key;
  }

  private ParameterException refused(String problem) {
    return new ParameterException(commands, "%s %s: %s".formatted(NAME, file, problem));
  }
}
