#!/usr/bin/env python3
"""Runs a notebook's code cells in order in one namespace, without Jupyter; figures are drawn by matplotlib's Agg.

    scripts/notebook.py NOTEBOOK           runs it in the working directory
    scripts/notebook.py NOTEBOOK --write   and puts what the cells gave into the file
"""

import ast
import base64
import contextlib
import io
import json
import sys
import traceback


def _lines(text):
    return text.splitlines(keepends=True)


def _figures():
    """The figures that a cell left open, as outputs; closes them."""
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        figure, image = plt.figure(number), io.BytesIO()
        figure.savefig(image, format="png", dpi=70, bbox_inches="tight", metadata={"Software": None})
        text = f"<Figure size {figure.get_size_inches()[0]:g} x {figure.get_size_inches()[1]:g} inches>"
        yield {"output_type": "display_data", "data": {"image/png": base64.b64encode(image.getvalue()).decode(), "text/plain": [text]}, "metadata": {}}
    plt.close("all")


def run_cell(source, namespace, name):
    """The outputs that Jupyter would show."""
    body = ast.parse(source, name).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";") else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), name, "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
    outputs = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        outputs.append({"output_type": "execute_result", "data": {"text/plain": _lines(repr(value))}, "metadata": {}})
    return outputs + list(_figures())


def run(notebook, namespace):
    """Runs the notebook, a dictionary, and fills in counts and outputs."""
    import matplotlib

    matplotlib.use("Agg")
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        count += 1
        cell["outputs"] = run_cell("".join(cell["source"]), namespace, f"cell {count}")
        cell["execution_count"] = count
        for output in cell["outputs"]:
            if output["output_type"] == "execute_result":
                output["execution_count"] = count
    return notebook


def main(path, write):
    with open(path) as file:
        notebook = json.load(file)
    try:
        run(notebook, {"__name__": "__main__"})
    except Exception:
        traceback.print_exc()
        return 1
    if write:
        with open(path, "w") as file:
            file.write(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--write"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], len(sys.argv) == 3))
