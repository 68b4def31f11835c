package org.autocircuit.cli;

import picocli.CommandLine.IVersionProvider;

/** The version in the jar's manifest. */
final class Version implements IVersionProvider {

  @Override
  public String[] getVersion() {
    String version = Main.class.getPackage().getImplementationVersion();
    return new String[] {
      "autocircuit " + (version == null ? "(development build)" : version),
      "Java %s, %s"
          .formatted(System.getProperty("java.version"), System.getProperty("java.vm.name"))
    };
  }
}
