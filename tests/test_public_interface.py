"""Names and signatures that users write change on purpose alone; docs/compatibility.md says how long they stay."""

import difflib

import public_interface
import pytest

import l2l


def test_names_and_signatures_are_those_that_were_promised():
    """If this fails on purpose: `make refresh-interface`, and a line in CHANGELOG.md."""
    promised, found = public_interface.PATH.read_text(), public_interface.interface()
    changes = difflib.unified_diff(promised.splitlines(), found.splitlines(), "promised", "found", n=0, lineterm="")
    assert found == promised, "\n".join(changes)


def test_the_text_has_every_name_once_and_says_what_a_user_may_write():
    lines = public_interface.PATH.read_text().splitlines()
    heads = [line.partition("(")[0] for line in lines if not line.startswith(" ")]
    assert len(heads) == len(set(heads)) > len(l2l.__all__)
    assert {"l2l." + name for name in l2l.__all__} - set(heads) == {"l2l.datasets", "l2l.testing"}
    assert "l2l.rmsprop(learning_rate=0.1, *, decay=0.99, epsilon=1e-05)" in lines
    assert "l2l.testing.check_problem(problem, *, steps=4)" in lines
    assert " at 0x" not in "\n".join(lines)
    trainer = lines[lines.index(next(line for line in lines if line.startswith("l2l.Trainer("))) :]
    assert (
        "    .run(self, meta_iterations=None, *, until=None, callbacks=())" in trainer[:20]
        and "    .history" in trainer[:20]
    )
    problem = lines.index("l2l.Problem()")
    assert "    .observe(self, draw, t, data)" in lines[problem : problem + 15]
    (network,) = [i for i, line in enumerate(lines) if line.startswith("l2l.ConvNet(")]
    own = ["    .logits(self, x, inputs)", "    .shapes(self)"]  # all else is listed with `Classification`
    assert lines[network + 1 : network + 3] == own and lines[network + 3].startswith("l2l.")


@pytest.mark.parametrize("place", public_interface.PLACES)
def test_completion_shows_the_library_only(place):
    module = l2l
    for part in place.split(".")[1:]:
        module = getattr(module, part)
    rooms = public_interface.ROOMS if place == "l2l" else []
    assert dir(module) == sorted([*module.__all__, *rooms])
    assert [name for name in dir(module) if not hasattr(module, name)] == []
