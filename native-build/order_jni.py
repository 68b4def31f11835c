#!/usr/bin/env python3
"""Puts the JNI sources that JavaCPP generated into one order, so that two builds are equal.

JavaCPP writes methods in the order of Class.getDeclaredMethods, which differs
from one JVM to the next, and numbers classes and deallocators as it meets them.
Here methods and deallocators are sorted, and classes are numbered by name.

Usage: order_jni.py FOLDER_WITH_SOURCES FOLDER_TO_WRITE_TO
"""

import pathlib
import re
import sys

METHOD = re.compile(r"^JNIEXPORT [^\n]* JNICALL Java_[^\n]*\{\n.*?^\}\n", re.M | re.S)
DEALLOCATOR = re.compile(r"^static void JavaCPP_\w+_deallocate\w*\([^\n]*\n", re.M)
# One of the arrays with an entry for each class.
TABLE = re.compile(
    r"^(static [^\n]*\bJavaCPP_(?:classNames|members|offsets|memberOffsetSizes)\[\d+\][^\n{]*= \{)"
    r"(.*?)( \};)$", re.M | re.S)
CLASS_NUMBER = re.compile(r"(\bJavaCPP_\w+\(env, )(\d+)\b")
ENTRY = re.compile(r'"[^"]*"|\{[^{}]*\}|-?\d+')


def order(source):
    """Returns the source with methods, deallocators and classes in order."""
    source = renumber(source)
    for piece in (METHOD, DEALLOCATOR):
        ordered = iter(sorted(piece.findall(source)))
        source = piece.sub(lambda _: next(ordered), source)
    return source


def renumber(source):
    """Numbers classes in the order of their names."""
    tables = list(TABLE.finditer(source))
    names = ENTRY.findall(tables[0].group(2))
    by_name = sorted(range(len(names)), key=names.__getitem__)
    numbers = {old: new for new, old in enumerate(by_name)}

    def sort_table(table):
        entries = ENTRY.findall(table.group(2))
        if len(entries) != len(names):
            raise ValueError(f"{len(names)} classes, but not in: {table.group(1)}")
        separator = ",\n        " if "\n" in table.group(2) else ", "
        lead = separator[1:]
        return table.group(1) + lead + separator.join(entries[old] for old in by_name) + table.group(3)

    source = TABLE.sub(sort_table, source)
    return CLASS_NUMBER.sub(lambda call: call.group(1) + str(numbers[int(call.group(2))]), source)


def main(generated, ordered):
    """Writes what changed only, so that nothing is compiled without need."""
    for file in sorted(pathlib.Path(generated).glob("*.cpp")):
        target = pathlib.Path(ordered) / file.name
        text = order(file.read_text())
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
