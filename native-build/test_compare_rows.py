"""python3 -m unittest discover native-build: what compare_rows.py says of printed tables."""

import contextlib
import io
import pathlib
import tempfile
import unittest

import compare_rows

TABLE = """processor

other: d_model 8, 2 heads, 3 sources, 2 x 2 tokens; 1 thread, 5 rounds
row {wrong:.3f} 1.0
4-layer: d_model 256, 8 heads, 37 sources, 8 x 16 tokens; 1 thread, 5 rounds
                                      ms   GFLOP/s x plain
sgemm, square                  {machine:9.3f}       9.9    1.00
row                            {row:9.3f}       9.9    1.00
circuit, 3 %, ZERO             {circuit:9.3f}         -    0.10
a row with a name of thirty ch {row:9.3f}       9.9    1.00
{more}"""


def compared(new, old, part="", more_new="", more_old=""):
    """Exit code and output; new and old: milliseconds of `row` by round."""
    with tempfile.TemporaryDirectory() as folder:
        for tree, values, more in (("new", new, more_new), ("old", old, more_old)):
            for i, value in enumerate(values):
                table = TABLE.format(
                    wrong=9 * value if tree == "new" else 1.0,
                    machine=9.0 if tree == "new" else 1.0,
                    row=value, circuit=1.0, more=more)
                pathlib.Path(folder, f"{tree}.{i + 1}").write_text(table, encoding="utf-8")
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = compare_rows.main(folder, len(new), "4-layer", part)
        return code, out.getvalue()


class CompareRows(unittest.TestCase):
    def test_equal_rows_pass_whatever_the_machine_did(self):
        code, text = compared([10, 20, 30], [10, 20, 30])
        self.assertEqual(code, 0)
        self.assertRegex(text, r"row +20\.000 +20\.000 +1\.000 +1\.000 to 1\.000\n")
        self.assertIn("4 rows, 0 slower", text)

    def test_six_per_cent_fail(self):
        code, text = compared([10.6, 21.2, 5.3], [10, 20, 5])
        self.assertEqual(code, 1)
        self.assertRegex(text, r"row .* 1\.060 .* SLOWER\n")
        self.assertRegex(text, r"thirty ch .* SLOWER\n")
        self.assertEqual(compared([10.4] * 3, [10] * 3)[0], 0)

    def test_noisy_rows_have_to_be_slower_to_fail(self):
        code, text = compared([7, 10.8, 14, 10.8, 7], [10] * 5)
        self.assertEqual(code, 0)
        self.assertRegex(text, r"row .* noisy\n")
        self.assertEqual(compared([7, 11.2, 15, 11.2, 7], [10] * 5)[0], 1)

    def test_rows_of_one_tree_are_listed(self):
        code, text = compared([1], [1], more_new="fresh 1.000 -\n", more_old="gone 1.000 -\n")
        self.assertEqual(code, 0)
        self.assertRegex(text, r"fresh +only in the new tree\ngone +only in the old tree\n")

    def test_a_part_of_the_names_chooses_rows(self):
        code, text = compared([20], [10], part="circuit")
        self.assertEqual(code, 0)
        self.assertIn("1 rows, 0 slower", text)
        self.assertEqual(compared([1], [1], part="nothing")[0], 1)


if __name__ == "__main__":
    unittest.main()
