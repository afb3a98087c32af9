"""Do the tests notice a mistake? Breaks the package in one place at a time, and runs the tests that should see it.

    python tools/mutate.py --number 250 --workers 2

First all tests run once, to see which functions each of them calls. Then the mutations, drawn by a seed, are written
into a copy of the project one by one, and the tests that call the mutated function run, those of its own module first,
up to the first that fails. Where none does, the mutation has survived. A crash counts as a failure, and so does a test
that takes many times as long as it did. Where the tool itself fails, it says at what, and counts nothing.

Prints the survivors, writes build/mutants/report.json, and fails where fewer than 95% of the mutations die. Left out
are those that tools/equivalent_mutants.txt lists: they change nothing that a test could see, or should.
"""

import argparse
import builtins
import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import OrderedDict
from pathlib import Path

import mutations
import pytest
from mutations import mutations_of

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "mutants"
EQUIVALENT = ROOT / "tools" / "equivalent_mutants.txt"
REQUIRED = 0.95
# What the tests for one mutation may take together; the slowest of too many are left out. So what survives them
# may still be killed by the whole suite.
MOST_SECONDS = 120
CALLED = "l2l_called"  # in `builtins`, see `mutations.watched`
# These check the environment, notebooks and documents: in processes of their own, for minutes.
LEFT_OUT = {"test_environment.py", "test_notebooks.py", "test_docs.py", "test_mutations.py"}


class Watched:
    """A plugin that records which functions of the package each test calls, its seconds, and whether it passes."""

    def __init__(self, shard, shards):
        self._shard, self._shards, self.tests = shard, shards, {}

    def pytest_collection_modifyitems(self, items):
        items[:] = items[self._shard :: self._shards]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        called, start = set(), time.process_time()  # which a busy machine does not change
        setattr(builtins, CALLED, called)
        self.tests[item.nodeid] = {"passes": True}
        yield
        self.tests[item.nodeid].update(seconds=time.process_time() - start, called=sorted(called))

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.tests[report.nodeid]["passes"] = False


class Selected:
    """A plugin that runs tests in the order of a dict from their names to the seconds that they may take."""

    def __init__(self, seconds):
        self._seconds, self.failed = seconds, None

    def pytest_collection_modifyitems(self, items):
        by_name = {item.nodeid: item for item in items}
        items[:] = [by_name[name] for name in self._seconds if name in by_name]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        signal.alarm(int(60 + 20 * self._seconds[item.nodeid]))  # which ends the process
        yield
        signal.alarm(0)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed = report.nodeid


def in_parallel(copies, function):
    """`function(number, copy)` in a process for each copy; returns the results, which are of JSON types.

    Raises:
      RuntimeError: a process failed; the message has its traceback.
    """
    processes = []
    for i, copy in enumerate(copies):
        answer = copy.with_suffix(".json")
        answer.write_text(json.dumps({"failure": "%s: its process died" % copy}))
        processes.append(os.fork())
        if not processes[-1]:
            try:
                answer.write_text(json.dumps({"result": function(i, copy)}))
            except BaseException:
                traceback.print_exc()  # at once, and again when all have ended
                answer.write_text(json.dumps({"failure": traceback.format_exc()}))
            finally:
                os._exit(0)
    for process in processes:
        os.waitpid(process, 0)
    answers = [json.loads(copy.with_suffix(".json").read_text()) for copy in copies]
    failures = [answer["failure"] for answer in answers if "failure" in answer]
    if failures:
        raise RuntimeError("\n".join(failures))
    return [answer["result"] for answer in answers]


def pytest_in(copy, files, plugin, *options):
    """Runs tests in the process that calls it, which must have TensorFlow already, and not yet the package."""
    os.chdir(str(copy))
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    output = os.open(str(copy.with_suffix(".txt")), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in [1, 2]:
        os.dup2(output, stream)
    try:
        return int(pytest.main(["-p", "no:cacheprovider", "-m", "not slow", *options, *files], plugins=[plugin]))
    finally:
        sys.stdout.flush()  # `os._exit`, which follows, does not


def compiles(source, what):
    """Raises RuntimeError, with what Python says, where it refuses a source."""
    try:
        compile(source, what, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise RuntimeError("%s: Python refuses the code, %s: %s" % (what, error, line)) from error


def last_of(copy):
    """The end of what the tests printed."""
    return copy.with_suffix(".txt").read_text(errors="replace")[-2000:]


def copied(number):
    """A copy of the project."""
    copy = BUILD / ("copy-%d" % number)
    shutil.rmtree(str(copy), ignore_errors=True)
    shutil.copytree(str(ROOT), str(copy), ignore=shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info"))
    return copy


def watched(copies, sources):
    """What each test calls, by its name, of those that pass; remembered for files that did not change."""
    common, kept_in, now = hashlib.sha1(), BUILD / "watched.json", {}
    kept = json.loads(kept_in.read_text()) if kept_in.exists() else {}
    tests = sorted((ROOT / "tests").rglob("*.py"))
    for path in [*map(ROOT.joinpath, sorted(sources)), *tests]:
        if not path.name.startswith("test_"):
            common.update(path.read_bytes())
    for path in tests:
        if path.name.startswith("test_") and path.name not in LEFT_OUT:
            digest, name = common.copy(), str(path.relative_to(ROOT))
            digest.update(path.read_bytes())
            same = kept.get(name, {}).get("digest") == digest.hexdigest()
            now[name] = kept[name] if same else {"digest": digest.hexdigest(), "tests": None}
    files = [name for name, one in now.items() if one["tests"] is None]
    if files:
        print("Looking at what the tests of %d files call, which takes some minutes" % len(files), flush=True)
        noted = {path: mutations.watched(path, source, CALLED) for path, source in sources.items()}
        for path, source in noted.items():
            compiles(source, "%s with notes of what is called" % path)

        def watch(i, copy):
            for path, source in noted.items():
                (copy / path).write_text(source)
            plugin = Watched(i, len(copies))
            code = pytest_in(copy, files, plugin)
            if code not in (0, 1, 5):  # all passed, some failed, none for this process
                raise RuntimeError("the tests cannot run without a mutation:\n%s" % last_of(copy))
            for path, source in sources.items():
                (copy / path).write_text(source)
            return plugin.tests

        for name in files:
            now[name]["tests"] = {}
        for result in in_parallel(copies, watch):
            for test, seen in result.items():
                now[test.split("::")[0]]["tests"][test] = seen
        kept_in.write_text(json.dumps(now))
    every = {test: seen for one in now.values() for test, seen in one["tests"].items()}
    failed = [test for test, seen in every.items() if not seen["passes"]]
    if failed:
        print("Left out, since they fail without a mutation: %s" % ", ".join(failed), flush=True)
    return {test: seen for test, seen in every.items() if seen["passes"]}


def tests_of(mutation, tests):
    """The tests to run for a mutation, in this order: their names and seconds."""
    room, name = os.path.split(os.path.relpath(mutation.path, "l2l"))
    own = os.path.join("tests", room, "test_" + name.replace("__", "")) + "::"  # of __init__.py: test_init.py
    chosen = {test for test, seen in tests.items() if [mutation.path, mutation.function] in seen["called"]}
    if not chosen:  # a statement of the module or of a class
        chosen = {test for test, seen in tests.items() if mutation.path in [path for path, _ in seen["called"]]}
    # A default is looked at without a call.
    chosen |= {test for test in tests if test.startswith((own, "tests/test_defaults.py"))}
    seconds, total = OrderedDict(), 0
    for _, one, test in sorted((not test.startswith(own), tests[test]["seconds"], test) for test in chosen):
        total += one
        if total < MOST_SECONDS:
            seconds[test] = one
    return seconds


def known_equivalents():
    """Those of the list: blocks of a heading, a line `- `, a line `+ ` and a reason; what `identity` gives of each."""
    blocks = [block.strip().split("\n") for block in EQUIVALENT.read_text().split("\n\n")]
    return {(lines[0], lines[1][2:], lines[2][2:]) for lines in blocks if len(lines) > 3 and lines[1].startswith("- ")}


def identity(mutation):
    """What a mutation is known by: module and function, and what it changes into what."""
    return ("%s %s" % (mutation.path, mutation.function)).strip(), mutation.before.strip(), mutation.after.strip()


def tried(mutation, copy, tests, number):
    """What kills a mutation: the name of a test, another word, or "" for nothing."""
    tests = tests_of(mutation, tests)
    if not tests:
        return ""
    place = copy / mutation.path
    whole = place.read_text()
    place.write_text(mutation.source)
    os.utime(str(place), (10**9 + number, 10**9 + number))  # Python knows compiled code by time and size of its source
    try:
        return failure_of(tests, copy)
    finally:
        place.write_text(whole)


def failure_of(tests, copy):
    """What fails when tests run in a copy, in a process of their own: the first test, another word, or "" for nothing.

    Raises:
      RuntimeError: they did not run.
    """
    killer = copy.with_suffix(".killer")
    killer.write_text("")
    pid = os.fork()
    if not pid:
        code = 70
        try:
            os.setsid()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(120)  # until the first test
            plugin = Selected(tests)
            code = pytest_in(copy, OrderedDict.fromkeys(test.split("::")[0] for test in tests), plugin, "-x")
            killer.write_text(plugin.failed or "")
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what a test started
    if os.WIFSIGNALED(status):
        return "signal %d" % os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    if code in (3, 5, 70):  # pytest failed, no test was found, an exception
        raise RuntimeError("the tests did not run, exit code %d:\n%s" % (code, last_of(copy)))
    # 4: on import of `conftest.py`
    return killer.read_text() or {0: "", 2: "on import", 4: "on import"}.get(code, "exit code %d" % code)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--number", type=int, default=250, help="how many mutations")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", default="", help="part of the paths of the modules to mutate")
    parser.add_argument("--workers", type=int, default=2, help="how many at a time")
    parser.add_argument("--again", action="store_true", help="only those that survived the last time")
    arguments = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    report = BUILD / "report.json"
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "l2l").rglob("*.py")}
    for path, source in sources.items():
        compiles(source, path)
    chosen = {path: source for path, source in sources.items() if arguments.only in path}
    made = [one for path, source in sorted(chosen.items()) for one in mutations_of(path, source)]
    equivalent = known_equivalents()
    for heading, before, after in sorted(equivalent - set(map(identity, made))):
        if heading.split(" ")[0] in chosen or not arguments.only:
            print("Listed as equivalent, but there is no such mutation: %s\n- %s\n+ %s" % (heading, before, after))
    made = [one for one in made if identity(one) not in equivalent]
    if arguments.again:
        outcomes = json.loads(report.read_text())["outcomes"]
        survivors = {tuple(one["what"]) for one in outcomes if not one["by"]}
        todo = [one for one in made if identity(one) in survivors]
    else:
        random.Random(arguments.seed).shuffle(made)
        todo = made[: arguments.number]
    for one in todo:
        compiles(one.source, "%s, line %d, %s -> %s" % (one.path, one.line, one.before, one.after))
    copies = [copied(i) for i in range(arguments.workers)]
    # All that takes long to import, once: every mutation gets a process that begins here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ["tensorflow", "matplotlib.pyplot", "hypothesis.extra.numpy", "tqdm"]:
            importlib.import_module(name)
    tests = watched(copies, sources)

    def try_all(i, copy):
        quickest = {test: seen["seconds"] for test, seen in tests.items()}
        quickest = dict(sorted(quickest.items(), key=lambda pair: pair[1])[:1])
        if not quickest or failure_of(quickest, copy):
            raise RuntimeError("no test passes without a mutation:\n%s" % last_of(copy))
        outcomes = []
        for number in range(i, len(todo), len(copies)):
            mutation, start = todo[number], time.time()
            by = tried(mutation, copy, tests, number)
            seconds = round(time.time() - start, 1)
            outcomes.append({"what": identity(mutation), "line": mutation.line, "by": by, "seconds": seconds})
            fate = by or "SURVIVES\n      - %s\n      + %s" % (mutation.before, mutation.after)
            print("%4d  %5.1f s  %s:%d  %s" % (number, seconds, mutation.path, mutation.line, fate), flush=True)
        return outcomes

    outcomes = [one for part in in_parallel(copies, try_all) for one in part]
    report.write_text(json.dumps({"seed": arguments.seed, "only": arguments.only, "outcomes": outcomes}, indent=1))
    survivors = [one for one in outcomes if not one["by"]]
    for one in survivors:
        print("\n%s, line %d\n- %s\n+ %s" % (one["what"][0], one["line"], *one["what"][1:]))
    killed = len(outcomes) - len(survivors)
    print("\n%d of %d mutations died, %.1f%%" % (killed, len(outcomes), 100 * killed / max(1, len(outcomes))))
    sys.exit(killed < REQUIRED * len(outcomes))


if __name__ == "__main__":
    main()
