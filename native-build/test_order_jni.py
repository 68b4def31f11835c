"""python3 -m unittest discover native-build: order_jni.py gives one source whatever order it got."""

import pathlib
import tempfile
import unittest

import order_jni

HEAD = """#include <jni.h>
static const char* JavaCPP_classNames[3] = {{
        "{0}",
        "{1}",
        "{2}" }};
static jclass JavaCPP_classes[3] = {{ NULL }};
{3}
static const char* JavaCPP_members[3][1] = {{
        {{ "{0}" }},
        {{ "{1}" }},
        {{ "{2}" }} }};
static int JavaCPP_memberOffsetSizes[3] = {{ {4} }};
extern "C" {{
JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM* vm, void* reserved) {{
    JavaCPP_getMethodID(env, {5}, "toString", "()V");
}}
{6}
}}
"""
FREE_A = "static void JavaCPP_a_A_deallocate(void *p) { delete (A*)p; }"
FREE_B = "static void JavaCPP_b_B_deallocateArray(void* p) { delete[] (B*)p; }"


def method(name, number):
    return f"""JNIEXPORT void JNICALL Java_{name}(JNIEnv* env, jclass cls) {{
    if (true) {{
        JavaCPP_createPointer(env, {number});
    }}
}}"""


SOURCE = HEAD.format("a/A", "b/B", "c/C", FREE_A + "\n" + FREE_B, "1, 2, 3", 2,
                     method("first", 0) + "\n" + method("second", 1))
SHUFFLED = HEAD.format("c/C", "a/A", "b/B", FREE_B + "\n" + FREE_A, "3, 1, 2", 0,
                       method("second", 2) + "\n" + method("first", 1))


class OrderTest(unittest.TestCase):
    def test_leaves_what_is_in_order(self):
        self.assertEqual(SOURCE, order_jni.order(SOURCE))

    def test_gives_one_source_for_another_order(self):
        self.assertEqual(SOURCE, order_jni.order(SHUFFLED))

    def test_refuses_an_array_without_an_entry_for_each_class(self):
        with self.assertRaisesRegex(ValueError, "memberOffsetSizes"):
            order_jni.order(SOURCE.replace("1, 2, 3", "1, 2"))

    def test_writes_only_what_changed(self):
        with tempfile.TemporaryDirectory() as folder:
            generated, ordered = pathlib.Path(folder, "in"), pathlib.Path(folder, "out")
            generated.mkdir()
            ordered.mkdir()
            (generated / "jni.cpp").write_text(SOURCE)
            order_jni.main(generated, ordered)
            before = (ordered / "jni.cpp").stat().st_mtime_ns
            (generated / "jni.cpp").write_text(SHUFFLED)
            order_jni.main(generated, ordered)
            self.assertEqual(SOURCE, (ordered / "jni.cpp").read_text())
            self.assertEqual(before, (ordered / "jni.cpp").stat().st_mtime_ns)


if __name__ == "__main__":
    unittest.main()
