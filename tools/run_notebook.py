"""Runs a notebook from top to bottom and leaves it, executed, with an HTML page of it, in a folder.

    python tools/run_notebook.py notebooks/episode_1.ipynb build/episode_1

Progress lines appear in the terminal while it runs, and not in the notebook. The notebook
finds the folder in the environment variable L2L_OUTPUT; what its last cell shows is printed.
"""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from notebook_page import page


class TerminalClient(NotebookClient):
    """A notebook client that shows progress lines in the terminal, and keeps them out of the notebook."""

    def process_message(self, message, cell, cell_index):
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stderr":
            sys.stderr.write(content["text"])
            sys.stderr.flush()
            # tqdm starts each state of its line with a carriage return, and ends the last with a bare newline.
            content["text"] = re.sub(r"\r[^\r\n]*", "", content["text"])
            if not content["text"].strip():
                return None
        return super().process_message(message, cell, cell_index)


def announce(cell, cell_index):
    """Says in the terminal which section begins."""
    if cell.cell_type == "markdown":
        for line in cell.source.splitlines():
            if line.startswith("#"):
                print(line.lstrip("# "), file=sys.stderr, flush=True)


def run(path, folder):
    """Executes the notebook at `path`; writes it and its page into `folder`, even if a cell fails.

    The folder is emptied first, and so are the notebook's outputs: what is there afterwards is of this run.
    """
    shutil.rmtree(str(folder), ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["L2L_OUTPUT"] = str(folder.resolve())
    os.environ["L2L_PROGRESS"] = "text"
    notebook = nbformat.read(str(path), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = TerminalClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=announce,
    )
    try:
        client.execute()
    finally:
        nbformat.write(notebook, str(folder / path.name))
        back = os.path.relpath(str(path.parent.resolve()), str(folder.resolve()))
        (folder / path.with_suffix(".html").name).write_text(page(notebook, back), encoding="utf-8")
    return notebook


def shown_last(notebook):
    """The text that the last cell with any prints or shows, an empty line after each table; figures have none."""
    for cell in reversed(notebook.cells):
        if cell.cell_type == "code":
            text = "".join(map(_text, cell.outputs)).rstrip("\n")
            if text:
                return text
    return ""


def _text(output):
    if output.get("name") == "stdout":
        return output["text"]
    data = output.get("data", {})
    return data["text/plain"] + "\n\n" if "text/plain" in data and "image/png" not in data else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        notebook = run(arguments.notebook, arguments.folder)
    except CellExecutionError as error:
        sys.exit(re.sub(r"\x1b\[[0-9;]*m", "", str(error)))  # without colours, which a file would keep as codes
    except (KeyboardInterrupt, AssertionError):  # nbclient asserts that a kernel runs when Ctrl-C comes early
        print("\nInterrupted. The cells that were finished are in %s" % arguments.folder, file=sys.stderr)
        sys.exit(130)
    # A kernel goes on where a result cannot be shown, such as a figure that cannot be drawn.
    failed = [one for cell in notebook.cells for one in cell.get("outputs", []) if one.output_type == "error"]
    if failed:
        sys.exit("a cell's result cannot be shown: %s: %s" % (failed[0].ename, failed[0].evalue))
    print(shown_last(notebook))
    print("In %s: %s" % (arguments.folder, ", ".join(sorted(path.name for path in arguments.folder.iterdir()))))


if __name__ == "__main__":
    main()
