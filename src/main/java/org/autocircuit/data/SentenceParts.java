package org.autocircuit.data;

import java.util.List;

/**
 * The words and templates of {@link IndirectObjectSentences}. Every object begins with a consonant,
 * so that "a" is right before it; no word belongs to two of the lists.
 */
final class SentenceParts {
  static final List<String> NAMES =
      List.of(
          "Mary", "John", "Anna", "Tom", "Alice", "Bob", "Carol", "David", "Emma", "Frank", "Grace",
          "Henry", "Irene", "Jack", "Kate", "Leo", "Laura", "Mark", "Nina", "Oscar", "Paula",
          "Peter", "Rachel", "Simon", "Sarah", "Steve", "Tina", "Victor", "Wendy", "Adam", "Bella",
          "Carl", "Diana", "Eric", "Fiona", "George", "Helen", "Ivan", "Julia", "Kevin", "Linda",
          "Martin", "Nora", "Oliver", "Rose", "Ryan", "Sophie", "Thomas");

  static final List<String> PLACES =
      List.of(
          "store",
          "park",
          "school",
          "office",
          "garden",
          "library",
          "station",
          "market",
          "beach",
          "museum",
          "kitchen",
          "restaurant",
          "hospital",
          "church",
          "theater",
          "farm",
          "harbor",
          "cafe",
          "gym",
          "hotel");

  static final List<String> OBJECTS =
      List.of(
          "drink",
          "book",
          "ring",
          "ball",
          "letter",
          "key",
          "basketball",
          "computer",
          "necklace",
          "snack",
          "bone",
          "flower",
          "ticket",
          "map",
          "coat",
          "lamp",
          "cup",
          "pen",
          "phone",
          "present",
          "hat",
          "camera",
          "guitar",
          "kite");

  static final List<String> VERBS =
      List.of(
          "gave", "handed", "passed", "offered", "sent", "showed", "lent", "brought", "sold",
          "threw");

  /** Templates whose names, place, verb and object stand at the same positions. */
  static final List<String> ALIGNED_TEMPLATES =
      List.of(
          "When [A] and [B] went to the [PLACE], [S] [VERB] a [OBJECT] to",
          "After [A] and [B] arrived at the [PLACE], [S] [VERB] a [OBJECT] to",
          "While [A] and [B] waited at the [PLACE], [S] [VERB] a [OBJECT] to",
          "Because [A] and [B] stayed near the [PLACE], [S] [VERB] a [OBJECT] to",
          "Once [A] and [B] came to the [PLACE], [S] [VERB] a [OBJECT] to",
          "As [A] and [B] walked past the [PLACE], [S] [VERB] a [OBJECT] to",
          "Before [A] and [B] drove to the [PLACE], [S] [VERB] a [OBJECT] to",
          "Since [A] and [B] met at the [PLACE], [S] [VERB] a [OBJECT] to");

  static final List<String> OTHER_TEMPLATES =
      List.of(
          "Then, [A] and [B] went to the [PLACE] and [S] [VERB] a [OBJECT] to",
          "Then [A] and [B] had a long argument, and afterwards [S] [VERB] a [OBJECT] to",
          "After the party [A] and [B] were tired, so [S] [VERB] a [OBJECT] to",
          "[A] and [B] were working at the [PLACE] when [S] [VERB] a [OBJECT] to",
          "[A] and [B] went to the [PLACE]. [S] [VERB] a [OBJECT] to",
          "Friends [A] and [B] found a [OBJECT] at the [PLACE]. [S] [VERB] it to",
          "The [PLACE] was closed, so [A] and [B] went home, and [S] [VERB] a [OBJECT] to",
          "One day [A] and [B] were at the [PLACE] and [S] [VERB] a [OBJECT] to",
          "While [A] spoke with [B] at the [PLACE], [S] [VERB] a [OBJECT] to",
          "[A] met [B] at the [PLACE]. Later [S] [VERB] a [OBJECT] to",
          "Yesterday [A] and [B] cleaned the [PLACE] and then [S] [VERB] a [OBJECT] to",
          "[A] saw [B] near the [PLACE], and [S] [VERB] a [OBJECT] to",
          "In the [PLACE], [A] and [B] talked for hours. [S] [VERB] a [OBJECT] to",
          "When [A] and [B] got a [OBJECT] at the [PLACE], [S] wanted to give it to",
          "After [A] and [B] found a [OBJECT], [S] decided to give it to",
          "[A] and [B] had fun at the [PLACE]. In the evening [S] [VERB] a [OBJECT] to");

  /** Subjects with what they do: singular noun and verb, plural noun and verb. */
  static final List<List<String>> ACTIVITIES =
      List.of(
          List.of("dog", "barks", "dogs", "bark"),
          List.of("bird", "sings", "birds", "sing"),
          List.of("horse", "gallops", "horses", "gallop"),
          List.of("teacher", "teaches", "teachers", "teach"),
          List.of("baker", "bakes", "bakers", "bake"),
          List.of("painter", "paints", "painters", "paint"),
          List.of("driver", "drives", "drivers", "drive"),
          List.of("dancer", "dances", "dancers", "dance"));

  /** Sequences that go round in a circle. */
  static final List<List<String>> CYCLES =
      List.of(
          List.of("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
          List.of(
              "January",
              "February",
              "March",
              "April",
              "May",
              "June",
              "July",
              "August",
              "September",
              "October",
              "November",
              "December"),
          List.of(
              "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
              "eleven", "twelve"));

  /** The labels of an aligned template's positions, one per token. */
  static final List<String> ALIGNED_LABELS =
      List.of(
          "conjunction",
          "name 1",
          "and",
          "name 2",
          "verb",
          "preposition",
          "the",
          "place",
          ",",
          "subject",
          "gave",
          "a",
          "object",
          "to");

  private SentenceParts() {}
}
