"""Tensors that are computed together: packed, unpacked and summed, compared with NumPy one by one."""

import numpy as np
import pytest
import tensorflow as tf

from l2l.optimizers.sheets import sheets_of

SHAPES = [[3, 2], [], [8, 1], [0], [2, 1, 4], [5000], [1, 7]]


def test_tensors_of_similar_size_lie_together_and_large_ones_alone():
    """Up to 1, 8, 64, 512 and 4,096 coordinates."""
    sizes = [1, 8, 2, 9, 64, 65, 0, 512, 513, 4096, 4097, 4097, 5000]
    sheets = sheets_of([[size] for size in sizes], 0)
    found = [[sizes[i] for i in sheet.members] for sheet in sheets]
    assert found == [[1, 0], [8, 2], [9, 64], [65, 512], [513, 4096], [4097], [4097], [5000]]
    assert all(sheet.shapes == [[sizes[i]] for i in sheet.members] for sheet in sheets)


@pytest.mark.parametrize("draws", [0, 1])
def test_a_sheet_does_what_each_of_its_tensors_would_do(run, draws):
    random, batch = np.random.RandomState(0), [3][:draws]
    values = [random.normal(size=batch + shape).astype(np.float32) for shape in SHAPES]
    tensors = list(map(tf.constant, values))
    sheets = sheets_of(SHAPES, draws)
    assert [sheet.members for sheet in sheets] == [[0, 2, 4, 6], [1, 3], [5]]
    for sheet in sheets:
        packed = sheet.pack(tensors)
        number = tf.constant(random.normal(size=batch + [len(sheet.members)]).astype(np.float32))
        spread = sheet.spread(number, packed)
        per_tensor = [sheet.sum(packed), sheet.mean(packed), sheet.norm(packed)]
        found, back, spread, product, numbers, per_tensor = run(
            [packed, sheet.unpack(packed), spread, sheet.unpack(packed * spread), number, per_tensor]
        )
        own, axes = [values[i] for i in sheet.members], tuple(range(draws, found.ndim))[1:]
        sizes = [one[0].size if draws else one.size for one in own]
        alone = len(own) == 1
        assert list(found.shape) == batch + [len(own)] + (SHAPES[sheet.members[0]] if alone else [max(sizes)])
        assert list(spread.shape) == batch + [len(own)] + [1] * len(axes)
        for i, (one, again, times) in enumerate(zip(own, back, product)):
            np.testing.assert_array_equal(again, one)
            np.testing.assert_array_equal(times, one * numbers[..., i].reshape(batch + [1] * (one.ndim - draws)))
            row = found[..., i, :].reshape(batch + [-1])
            np.testing.assert_array_equal(row[..., : sizes[i]], one.reshape(batch + [sizes[i]]))
            assert not row[..., sizes[i] :].any()
            flat = one.reshape(batch + [sizes[i]]).astype(np.float64)
            mean = flat.sum(-1) / max(sizes[i], 1)
            for of_sheet, expected in zip(per_tensor, [flat.sum(-1), mean, np.sqrt(np.square(flat).sum(-1))]):
                np.testing.assert_allclose(of_sheet[..., i], expected, rtol=1e-4, atol=1e-5)
