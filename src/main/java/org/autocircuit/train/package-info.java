/**
 * Training of small models from nothing, to have something real to find circuits in. The trained
 * model that comes with the library was made here.
 *
 * <p>Trains a smaller model than the one that comes with the library, and saves it:
 *
 * <pre>{@code
 * TrainingOptions options = TrainingOptions.DEFAULT.withSeed(7);
 * try (IndirectObjectTraining training =
 *     new IndirectObjectTraining(IndirectObjectTraining.config(2, 4, 32), options)) {
 *   training.run((step, loss, cooling, scores) -> System.out.println(step + " " + loss));
 *   training.save(Path.of("small"));
 * }
 * }</pre>
 */
package org.autocircuit.train;
